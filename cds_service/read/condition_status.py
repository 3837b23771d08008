"""Tell whether a condition or an allergy is denied or past, and when a condition began."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cds_service.fhir.dates import when
from cds_service.fhir.resources import CodeableConcept, Resource, first, listed
from cds_service.short_cache import short_cache

_NOT_TRUE = frozenset({"refuted", "entered-in-error", "differential"})
_OVER = frozenset({"inactive", "remission", "resolved"})
_ALLERGY_OVER = frozenset({"inactive", "resolved", "refuted", "entered-in-error"})  # DSTU2 has all of them in one status

# ICD-10-GM states the certainty of a diagnosis in an extension of its coding: A excluded, Z past; V suspected, G confirmed.
_CERTAINTY = "diagnosesicherheit"
_LETTERS_AGAINST = frozenset({"A", "Z"})


def is_denied(condition: Resource) -> bool:
    """Tell whether a condition is refuted, entered in error, only a differential diagnosis, excluded or past."""
    if _says(condition.verificationStatus, _NOT_TRUE):
        return True
    concept = first(condition.code)
    for coding in listed(concept.coding) if concept is not None else ():
        if coding.extension is not None and not _LETTERS_AGAINST.isdisjoint(_letters(coding.extension)):
            return True
    return False


def reduced_certainty(extensions: object) -> list[dict[str, str]] | None:
    """Return an extension with the letter against a diagnosis; None where there is none."""
    against = sorted(_LETTERS_AGAINST.intersection(_letters(extensions)))
    return [{"url": _CERTAINTY, "valueCode": letter} for letter in against] or None


def _letters(extensions: object) -> Iterator[str]:
    """Yield the letters of German extensions for the certainty of a diagnosis."""
    for one in extensions if isinstance(extensions, list) else [extensions]:
        if isinstance(one, dict) and _CERTAINTY in str(one.get("url", "")).lower():
            value = next((one[key] for key in one if key.startswith("value")), None)
            letter = value.get("code") if isinstance(value, dict) else value
            yield str(letter).strip().upper()


def _says(status: CodeableConcept | str | None, states: frozenset[str]) -> bool:
    """Tell whether a status is one of `states`, by a code or in words."""
    if status is None or isinstance(status, str):
        return status is not None and _spelt(status) in states
    for coding in listed(status.coding):
        if _spelt(str(coding.code)) in states or (coding.display is not None and _spelt(coding.display) in states):
            return True
    return status.text is not None and _spelt(status.text) in states


@short_cache(1024)
def _spelt(status: str) -> str:
    """Return a status as FHIR spells it: "Entered in Error" is "entered-in-error"."""
    return status.strip().lower().replace(" ", "-").replace("_", "-")


def is_allergy_over(allergy: Resource) -> bool:
    """Tell whether an allergy is refuted, entered in error or past."""
    states = (allergy.status, allergy.clinicalStatus, allergy.verificationStatus)
    return any(_says(state, _ALLERGY_OVER) for state in states)


def is_over(condition: Resource, now: datetime | None) -> bool:
    """Tell whether a condition is past at `now`; with None any end date counts.

    An unknown status counts as present, so that a misspelt one suppresses nothing.
    """
    status = condition.clinicalStatus
    if status and (isinstance(status, str) or status.coding or status.text):
        return _says(status, _OVER)
    if condition.abatementDateTime and now is not None:
        end = when(condition.abatementDateTime)
        return end is None or end.start <= now
    over = (condition.abatementDateTime, condition.abatementPeriod, condition.abatementString, condition.abatementBoolean)
    return any(over)


def onset_of(condition: Resource) -> str | None:
    """Return the onset of a condition, else the date on which it was recorded, as sent."""
    if condition.onsetDateTime:
        return condition.onsetDateTime
    if condition.onsetPeriod is not None and condition.onsetPeriod.start:
        return condition.onsetPeriod.start
    return recorded_of(condition)


def recorded_of(condition: Resource) -> str | None:
    """Return the date on which a condition was recorded, as sent."""
    return condition.recordedDate or condition.assertedDate or condition.dateRecorded
