"""Identify the analyte and specimen of an Observation, its standing and critical flag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cds_service.fhir.resources import CodeableConcept, Resource, first, listed, pairs, texts

if TYPE_CHECKING:
    from cds_service.terminology.lab_meaning import LabMeaning
    from cds_service.terminology.terminology import Terminology

Standing = Literal["confirmed", "preliminary", "unconfirmed", "denied"]
_CONFIRMED = frozenset({"final", "amended", "corrected", "appended"})  # `appended` is a status of reports
_DENIED = frozenset({"entered-in-error", "cancelled"})
_KNOWN_STATUSES = _CONFIRMED | _DENIED | {"registered", "preliminary", "partial", "unknown", ""}  # of Observations and reports


def status_of(observation: Resource) -> Standing:
    """Return the standing of a result; a missing, unknown or misspelt status means unconfirmed.

    Only a status that denies a result removes it.
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


def unknown_status(observation: Resource) -> str:
    """Return the status as sent where FHIR has no such status, else ""."""
    status = observation.status or ""
    return status if _plain(status) not in _KNOWN_STATUSES else ""


def meaning_of(observation: Resource, terminology: Terminology) -> LabMeaning:
    """Return what the codes and names of an Observation measure."""
    concept = first(observation.code)
    if concept is None:
        return terminology.lab_meaning(None, ())
    return terminology.lab_meaning(concept.text, tuple([(one.system, one.code, one.display) for one in listed(concept.coding)]))


def specimen_of(observation: Resource, terminology: Terminology) -> Literal["blood", "other", ""]:
    """Return the specimen by the reference, contained Specimen and names; another wins over blood."""
    names = [one.display for one in listed(observation.specimen) if one.display]
    for held in listed(observation.contained):
        if held.resourceType == "Specimen" and isinstance(held.type, CodeableConcept):
            names += texts(held.type)
    said = {terminology.lab_names.specimen(name) for name in (*names, *texts(first(observation.code)))}
    return "other" if "other" in said else "blood" if "blood" in said else ""


def flag_of(observation: Resource, terminology: Terminology) -> Literal["", "low", "high", "either"]:
    """Return the side on which the laboratory calls a result critical; "" where it does not."""
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
