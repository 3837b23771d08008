"""Conditions, pregnancy observations and allergies → problems and allergies that some card knows.

A differential diagnosis is a question and doesn't count; an unconfirmed or provisional one counts, because the exclusions that
hang on problems (encephalopathy, seizures, long QT) are there for safety.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cds_service.facts import Allergy, Problem, When
from cds_service.fhir import CodeableConcept, Resource, first, listed, pairs, status_code, texts
from cds_service.lab_identity import lab_coding, status_of
from cds_service.read_labs import effective_of
from cds_service.when import when

if TYPE_CHECKING:
    from cds_service.terminology import Terminology

_ACTIVE = frozenset({"active", "recurrence", "relapse"})
_NOT_TRUE = frozenset({"refuted", "entered-in-error", "differential"})
_ALLERGY_OVER = frozenset({"inactive", "resolved", "refuted", "entered-in-error"})  # DSTU2 has all of them in one status
_UNDATED = When(datetime.min.replace(tzinfo=UTC), "")


EXERCISE = "exercise_cramp"  # the text pattern that tells an exercise cramp from other cramps of the same code


def read_problems(conditions: Iterable[Resource], terminology: Terminology, source: str) -> Iterator[Problem]:
    """The active conditions that belong to a problem set; one with a text but no code counts where the text says cramps."""
    for condition in conditions:
        if not _is_active(condition):
            continue
        concept = first(condition.code)
        codings = pairs(concept)
        sets = terminology.problem_sets(codings)
        if not codings and any(terminology.matches("cramp_reason", name) for name in texts(concept)):
            sets = frozenset({"muscle_cramp"})
        if sets:
            names = texts(concept)
            known = next((coding for coding in codings if terminology.problem_sets((coding,))), None)
            yield Problem(
                sets=sets,
                text=names[0] if names else "",
                onset=when(_onset(condition)),
                code="|".join(known or ()),
                reference=f"Condition/{condition.id}" if condition.id else "",
                source=source,
                patterns=frozenset({EXERCISE} if any(terminology.matches(EXERCISE, name) for name in names) else ()),
            )


def read_pregnancy(observations: Iterable[Resource], now: datetime, terminology: Terminology, source: str) -> Iterator[Problem]:
    """Pregnancy, where the newest pregnancy status says so and is recent enough; one without a date counts as now."""
    statuses: list[tuple[datetime, bool, Resource]] = []
    for observation in observations:
        if observation.valueCodeableConcept is None or status_of(observation) == "denied":
            continue
        found = lab_coding(observation, terminology)
        if found is None or found[1].analyte != "pregnancy_status":
            continue
        said = terminology.problem_sets(pairs(observation.valueCodeableConcept))
        if "pregnancy" in said or "not_pregnant" in said:
            statuses.append(((effective_of(observation) or _UNDATED).start, "pregnancy" in said, observation))
    if not statuses:
        return
    start, pregnant, observation = max(statuses, key=lambda status: status[:2])
    if pregnant and (start == _UNDATED.start or now - start <= terminology.engineering.pregnancy_holds.span):
        yield Problem(
            sets=frozenset({"pregnancy"}),
            text=next(iter(texts(observation.valueCodeableConcept)), ""),
            onset=effective_of(observation),
            code="|".join(pairs(observation.valueCodeableConcept)[0]),
            reference=f"Observation/{observation.id}" if observation.id else "",
            source=source,
        )


def read_allergies(allergies: Iterable[Resource], terminology: Terminology, source: str) -> Iterator[Allergy]:
    """Allergies and intolerances to a drug of some class that are neither refuted nor over."""
    for allergy in allergies:
        states = (allergy.status, status_code(allergy.clinicalStatus), status_code(allergy.verificationStatus))
        if not _ALLERGY_OVER.isdisjoint(states):
            continue
        reactions = listed(allergy.reaction)
        concepts = [first(allergy.code), allergy.substance, *(reaction.substance for reaction in reactions)]
        codings = tuple(pair for concept in concepts for pair in pairs(concept))
        names = tuple(text for concept in concepts for text in texts(concept))
        classes = terminology.classes_for_allergy(codings, names)
        if classes:
            felt = [text for reaction in reactions for one in listed(reaction.manifestation) for text in texts(one)[:1]]
            yield Allergy(
                classes=classes,
                text=names[0] if names else "",
                reaction=", ".join(felt),
                reference=f"AllergyIntolerance/{allergy.id}" if allergy.id else "",
                source=source,
            )


def unnamed(resources: Iterable[Resource]) -> int:
    """How many conditions and allergies that may hold have neither a code nor a name, so that nobody knows what they are."""
    return sum(not _says_what(one) and _may_hold(one) for one in resources)


def _says_what(resource: Resource) -> bool:
    return _is_named(first(resource.code)) or any(
        _is_named(concept) for concept in (resource.substance, *(one.substance for one in listed(resource.reaction)))
    )


def _is_named(concept: CodeableConcept | None) -> bool:
    if concept is None:
        return False
    if concept.text and not concept.text.isspace():  # as nearly always
        return True
    return bool(pairs(concept)) or any(not text.isspace() for text in texts(concept))


def _may_hold(resource: Resource) -> bool:
    if resource.resourceType == "AllergyIntolerance":
        states = (resource.status, status_code(resource.clinicalStatus), status_code(resource.verificationStatus))
        return _ALLERGY_OVER.isdisjoint(states)
    return _is_active(resource)


def _is_active(condition: Resource) -> bool:
    if condition.resourceType != "Condition" or status_code(condition.verificationStatus) in _NOT_TRUE:
        return False
    clinical = status_code(condition.clinicalStatus)
    if clinical:
        return clinical in _ACTIVE
    over = (condition.abatementDateTime, condition.abatementPeriod, condition.abatementString, condition.abatementBoolean)
    return not any(over)


def _onset(condition: Resource) -> str | None:
    if condition.onsetDateTime:
        return condition.onsetDateTime
    if condition.onsetPeriod is not None and condition.onsetPeriod.start:
        return condition.onsetPeriod.start
    return condition.recordedDate or condition.assertedDate or condition.dateRecorded
