"""Read the reasons for a drug: stated reasons, referenced conditions, notes and dosages."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cds_service.fhir.resources import CodeableConcept, Dosage, Reference, Resource, first, listed, pairs, texts
from cds_service.read.condition_status import is_denied
from cds_service.read.reference_targets import Targets, may_be_condition

if TYPE_CHECKING:
    from cds_service.terminology.terminology import Terminology


_NONE: frozenset[str] = frozenset()


class Reasons(NamedTuple):
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


def read_reasons(resource: Resource, dosages: list[Dosage], targets: Targets, terminology: Terminology) -> Reasons:
    """Return the reasons of a medication statement, a prescription or a draft order."""
    referenced = [_referenced(resource, reference, targets) for reference in _references(resource)]
    concepts = _concepts(resource, referenced)
    coded = [(pairs(concept), texts(concept)) for concept in concepts]
    given = _given(referenced, concepts)
    stated = bool(given or referenced) or any(codings for codings, _ in coded)
    stated = stated or any(dosage.asNeededCodeableConcept is not None for dosage in dosages)
    said = [*given, *_written(resource, dosages)]
    return Reasons(
        # A word stands between the texts, so that no pattern reads two of them as one phrase.
        patterns=terminology.reasons_in("\nx\n".join(said)) if said else _NONE,
        sets=_NONE.union(*[terminology.problem(codings, names).sets for codings, names in coded]),
        stated=stated,
        unread=any(reason.unread for reason in referenced),
    )


def texts_about(resource: Resource, dosages: list[Dosage], targets: Targets) -> list[str]:
    """Return every text about a drug that may name its reason."""
    referenced = [_referenced(resource, reference, targets) for reference in _references(resource)]
    return [*_given(referenced, _concepts(resource, referenced)), *_written(resource, dosages)]


def _given(referenced: list[_Reason], concepts: list[CodeableConcept]) -> list[str]:
    """Return the names of the reasons."""
    given = [reason.display for reason in referenced if reason.display]
    return given + [name for concept in concepts for name in texts(concept)]


def _written(resource: Resource, dosages: list[Dosage]) -> list[str]:
    """Return the notes and the words of the dosages."""
    return [*_notes(resource), *(text for dosage in dosages for text in _texts(dosage))]


def _references(resource: Resource) -> list[Reference]:
    references = listed(resource.reasonReference)
    other = resource.reasonForUseReference
    return references if other is None else [*references, other]


def _concepts(resource: Resource, referenced: list[_Reason]) -> list[CodeableConcept]:
    """Return the reasons in codes and words: those in the resource, then those of conditions."""
    concepts = [*listed(resource.reasonCode)]
    others = (resource.reasonCodeableConcept, resource.reasonForUseCodeableConcept, *[reason.concept for reason in referenced])
    return concepts + [one for one in others if one is not None]


def _referenced(resource: Resource, reference: Reference, targets: Targets) -> _Reason:
    condition = targets.condition(resource.contained, reference)
    if condition is None or condition.modifierExtension:
        return _Reason(reference.display, unread=not reference.display and may_be_condition(reference))
    return _Reason() if is_denied(condition) else _Reason(reference.display, first(condition.code))


def _notes(resource: Resource) -> list[str]:
    if isinstance(resource.note, str):
        return [resource.note]
    return [note.text for note in listed(resource.note) if note.text]


def _texts(dosage: Dosage) -> list[str]:
    """Return every text of a dosage."""
    said = [text for text in (dosage.text, dosage.patientInstruction) if text]
    for concept in listed(dosage.additionalInstruction):
        said += texts(concept)
    return [*said, *texts(dosage.asNeededCodeableConcept)]
