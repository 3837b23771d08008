"""Read the details of a result: when it was taken, haemolysis, and the laboratory's own limits."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING

from cds_service.criteria.facts import When
from cds_service.fhir.dates import when
from cds_service.fhir.resources import CodeableConcept, Quantity, Resource, listed, pairs, texts
from cds_service.terminology.units import canonical, is_number, unit_of

if TYPE_CHECKING:
    from cds_service.terminology.lab_terms import Analyte
    from cds_service.terminology.terminology import Terminology

_LOW, _HIGH = attrgetter("low"), attrgetter("high")


def effective_of(observation: Resource) -> When | None:
    """Return when the sample was taken: the effective time, else when the result was issued.

    Of a period its end, else its start. None where no time was sent or it can't be read; an unreadable effective time is not
    replaced by another.
    """
    text = observation.effectiveDateTime or observation.effectiveInstant
    if not text and (period := observation.effectivePeriod) is not None:
        text = period.end or period.start
    return when(text or observation.issued)


def reference_of(observation: Resource) -> str:
    """Return "Observation/id"; "" without an id."""
    return f"Observation/{observation.id}" if observation.id else ""


def is_haemolysed(observation: Resource, terminology: Terminology) -> bool:
    """Tell whether a note, a comment, the interpretation or the specimen's condition says haemolysed (HL7 v2-0493: HEM)."""
    said = texts_on(observation)
    concepts: list[CodeableConcept] = []
    if observation.interpretation is not None:
        concepts += listed(observation.interpretation)
    if observation.dataAbsentReason is not None:
        concepts.append(observation.dataAbsentReason)
    if observation.contained is not None:
        concepts += [condition for specimen in listed(observation.contained) for condition in listed(specimen.condition)]
    for concept in concepts:
        if any(code == "HEM" for _, code in pairs(concept)):
            return True
        said += texts(concept)
    return bool(said) and any(terminology.matches("haemolysis", text) for text in said)


def texts_on(observation: Resource) -> list[str]:
    """Return the notes and comments on a result."""
    said: list[str | None] = []
    if observation.note is not None:
        said += [observation.note] if isinstance(observation.note, str) else [note.text for note in listed(observation.note)]
    if observation.comment is not None or observation.comments is not None:
        said += [observation.comment, observation.comments]
    return [text for text in said if text]


def limits_of(
    observation: Resource, unit: str, analyte: Analyte, terminology: Terminology
) -> tuple[Decimal | None, Decimal | None]:
    """Return the laboratory's own (low, high) limits in the canonical unit; None where it sent none.

    A limit without a unit is in `unit`, that of the result.
    """
    ranges = listed(observation.referenceRange)
    return _limit(map(_LOW, ranges), unit, analyte, terminology), _limit(map(_HIGH, ranges), unit, analyte, terminology)


def _limit(ends: Iterable[Quantity | None], unit: str, analyte: Analyte, terminology: Terminology) -> Decimal | None:
    """Return the first end with a usable number, in the canonical unit; None where its unit is unreliable."""
    for end in ends:
        if end is not None and end.value is not None and is_number(end.value):
            own = unit_of(end, analyte, terminology)
            return None if own is None else canonical(end.value, own or unit, analyte)
    return None
