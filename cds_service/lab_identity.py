"""What an Observation is: which analyte, of which specimen, how far it is confirmed, and whether it is called critical."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cds_service.fhir import CodeableConcept, Coding, Resource, first, listed, pairs, texts

if TYPE_CHECKING:
    from cds_service.lab_terms import LabCode
    from cds_service.terminology import Terminology

_CONFIRMED = frozenset({"final", "amended", "corrected", "appended"})  # the last is said of reports
_DENIED = frozenset({"entered-in-error", "cancelled"})
_KNOWN_STATUSES = _CONFIRMED | _DENIED | {"registered", "preliminary", "partial", "unknown", ""}  # of Observations and reports


def status_of(observation: Resource) -> Literal["confirmed", "preliminary", "unconfirmed", "denied"]:
    """How far a result holds: only a status that denies it makes it none.

    One that is missing, unknown or misspelt leaves it unconfirmed.
    """
    status = observation.status
    if status in _CONFIRMED:  # as nearly always
        return "confirmed"
    status = _plain(status)
    if status in _CONFIRMED:
        return "confirmed"
    if status in _DENIED or (status == "registered" and not _has_value(observation)):
        return "denied"
    return "preliminary" if status in ("preliminary", "partial") else "unconfirmed"


def strange_status(observation: Resource) -> str:
    """A status as it was sent that FHIR does not know; "" where it knows it or there is none."""
    status = observation.status or ""
    return status if _plain(status) not in _KNOWN_STATUSES else ""


def lab_coding(observation: Resource, terminology: Terminology) -> tuple[Coding, LabCode] | None:
    """The first coding of an Observation that is a code of a known analyte, and what that measures.

    A code that is never read as an analyte's decides for the whole Observation (`LabCode.role` is "never").
    """
    concept = first(observation.code)
    found: tuple[Coding, LabCode] | None = None
    if concept is not None:
        for coding in listed(concept.coding):
            known = terminology.lab(coding.system, str(coding.code)) if coding.code is not None else None
            if known is not None and (found is None or known.role == "never"):
                found = coding, known
    return found


def coding_of(observation: Resource, analyte: str, terminology: Terminology) -> tuple[Coding, LabCode] | None:
    """The coding of an Observation that is a code of this analyte."""
    concept = first(observation.code)
    for coding in listed(concept.coding) if concept is not None else ():
        known = terminology.lab(coding.system, str(coding.code)) if coding.code is not None else None
        if known is not None and known.analyte == analyte:
            return coding, known
    return None


def named_otherwise(observation: Resource, analyte: str, terminology: Terminology) -> str | None:
    """What its name says that a result is, where that is not what its code says; None where they agree or it has no name."""
    concept = first(observation.code)
    meaning = terminology.lab_names.meaning
    if concept is None or (concept.text and meaning(concept.text) == analyte):  # as nearly always
        return None
    named = {said for name in texts(concept) if (said := meaning(name))}
    return None if not named or analyte in named else min(named)


def specimen_of(observation: Resource, terminology: Terminology) -> Literal["blood", "other", ""]:
    """What the specimen, the names of the result and of what holds it say: another specimen before blood."""
    names = [one.display for one in listed(observation.specimen) if one.display]
    for held in listed(observation.contained):
        if held.resourceType == "Specimen" and isinstance(held.type, CodeableConcept):
            names += texts(held.type)
    said = {terminology.lab_names.specimen(name) for name in (*names, *texts(first(observation.code)))}
    return "other" if "other" in said else "blood" if "blood" in said else ""


def flag_of(observation: Resource, terminology: Terminology) -> Literal["", "low", "high", "either"]:
    """The side on which the laboratory calls a result critical."""
    for concept in listed(observation.interpretation):
        for _, code in pairs(concept):
            if flag := terminology.lab_names.flag(code):
                return flag
        for text in texts(concept):
            if terminology.matches("critical_result", text):
                return "either"
    return ""


def _plain(status: str | None) -> str:
    return (status or "").strip().lower().replace("_", "-").replace(" ", "-").replace("canceled", "cancelled")


def _has_value(observation: Resource) -> bool:
    return any(
        one is not None
        for one in (
            observation.valueQuantity,
            observation.valueString,
            observation.valueCodeableConcept,
            observation.valueInteger,
            observation.valueRange,
            observation.valueRatio,
            observation.valueSampledData,
        )
    )
