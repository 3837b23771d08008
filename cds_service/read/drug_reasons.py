"""Read the reasons for a drug: stated reasons, referenced conditions, notes and dosages."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from cds_service.fhir.resources import CodeableConcept, Dosage, Reference, Resource, first, listed, pairs, texts
from cds_service.read.condition_status import is_denied
from cds_service.read.reference_targets import Targets, may_be_condition

if TYPE_CHECKING:
    from cds_service.terminology.terminology import Terminology


_NONE: frozenset[str] = frozenset()


class Reasons(msgspec.Struct, frozen=True, gc=False):
    """The reasons for a drug. Their texts are not kept, because a note may name people."""

    patterns: frozenset[str]  # the text patterns that any text about the drug matches
    sets: frozenset[str]  # the problem sets that the reasons belong to
    stated: bool  # whether any reason was given, "as needed for sleep" too
    unread: bool  # whether one is a condition that could not be read


class _Reason(NamedTuple):
    """The content of a reference to a reason."""

    display: str | None = None
    concept: CodeableConcept | None = None  # of the condition
    unread: bool = False


class _Stated(msgspec.Struct):
    """The reasons that a resource states, apart from notes and dosages."""

    names: list[str] = []
    concepts: list[CodeableConcept] = []  # those in the resource, then those of conditions
    given: bool = False
    unread: bool = False


def read_reasons(resource: Resource, dosages: list[Dosage], targets: Targets, terminology: Terminology) -> Reasons:
    """Return the reasons of a medication statement, a prescription or a draft order."""
    stated = _stated(resource, targets)
    said = stated.names + _written(resource, dosages)
    sets = _NONE
    for concept in stated.concepts:
        sets |= terminology.problem(pairs(concept), texts(concept)).sets
    for dosage in dosages:
        stated.given |= dosage.asNeededCodeableConcept is not None
    # A word stands between the texts, so that no pattern reads two of them as one phrase.
    patterns = terminology.reasons_in("\nx\n".join(said)) if said else _NONE
    return Reasons(patterns, sets, stated.given, stated.unread)


def texts_about(resource: Resource, dosages: list[Dosage], targets: Targets) -> list[str]:
    """Return every text about a drug that may name its reason."""
    return _stated(resource, targets).names + _written(resource, dosages)


def _stated(resource: Resource, targets: Targets) -> _Stated:
    """Collect the reasons of all versions of FHIR, each where it was sent: most drugs have none."""
    stated = _Stated()
    for sent in (resource.reasonCode, resource.reasonCodeableConcept, resource.reasonForUseCodeableConcept):
        stated.concepts += listed(sent)
    for reference in (*listed(resource.reasonReference), *listed(resource.reasonForUseReference)):
        reason = _referenced(resource, reference, targets)
        stated.given = True
        stated.unread |= reason.unread
        if reason.display:
            stated.names.append(reason.display)
        stated.concepts += listed(reason.concept)
    for concept in stated.concepts:
        stated.names += (names := texts(concept))
        stated.given |= bool(names or pairs(concept))
    return stated


def _written(resource: Resource, dosages: list[Dosage]) -> list[str]:
    """Return the notes and the words of the dosages."""
    note = resource.note
    said: list[str | None] = [note] if isinstance(note, str) else [one.text for one in listed(note)]
    for dosage in dosages:
        said += (dosage.text, dosage.patientInstruction)
        for concept in listed(dosage.additionalInstruction):
            said += texts(concept)
        said += texts(dosage.asNeededCodeableConcept)
    return list(filter(None, said))


def _referenced(resource: Resource, reference: Reference, targets: Targets) -> _Reason:
    condition = targets.condition(resource.contained, reference)
    if condition is None or condition.modifierExtension:
        return _Reason(reference.display, unread=not reference.display and may_be_condition(reference))
    return _Reason() if is_denied(condition) else _Reason(reference.display, first(condition.code))
