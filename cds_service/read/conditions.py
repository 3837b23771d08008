"""Conditions, pregnancy observations and allergies → problems and allergies that some card knows.

A differential diagnosis is a question and doesn't count; an unconfirmed or provisional one counts, because the exclusions that
hang on problems (encephalopathy, seizures, long QT) are there for safety. So does one with an unknown status: only what denies a
condition, or calls it past, takes it away.

What is not understood is never absent. A condition with a name is read by its name, whatever its code. Without a name, a code
of ICD-10 or SNOMED CT that is in no set is another disease; a code of any other system (ICD-9, national, local, none) could be
anything: the problem is `unclear`, so that what asks for a problem is unknown, and it is counted for the site to map. The same
holds of an allergy by a code in no table (only "no known allergy" is understood), and of a condition with a modifier extension,
which may turn its meaning round: then what it would be is unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from cds_service.criteria.facts import Allergy, Problem, Unread, When
from cds_service.fhir.dates import when
from cds_service.fhir.resources import CodeableConcept, Resource, first, listed, pairs, texts
from cds_service.read.lab_identity import meaning_of, status_of
from cds_service.read.labs import effective_of
from cds_service.read.lookup_budget import Budget
from cds_service.terminology.problem_names import READ

if TYPE_CHECKING:
    from cds_service.terminology.terminology import Terminology

_NOT_TRUE = frozenset({"refuted", "entered-in-error", "differential"})
_OVER = frozenset({"inactive", "remission", "resolved"})
_ALLERGY_OVER = frozenset({"inactive", "resolved", "refuted", "entered-in-error"})  # DSTU2 has all of them in one status
_UNDATED = When(datetime.min.replace(tzinfo=UTC), "")
_PREGNANT, _PREGNANT_20_WEEKS = "pregnancy", "pregnancy_20_weeks"
_PREGNANCIES = frozenset({_PREGNANT, _PREGNANT_20_WEEKS})

# How sure an ICD-10-GM diagnosis is stands in an extension of its coding: A excluded, Z past; V suspected and G confirmed count.
_SURENESS = "diagnosesicherheit"
_LETTERS_AGAINST = frozenset({"A", "Z"})

EXERCISE = "exercise_cramp"  # the text pattern that tells an exercise cramp from other cramps of the same code
NONE = "no_allergy"  # the text pattern that says that an allergy is not there
MODIFIED = "a problem carries a modifier that is not understood"
_ALL_NAMES = 30_000  # characters of the different names of one problem list that are looked at; 300 cost up to 3 ms
TOO_LONG = "a problem has a name that is too long to be read"
TOO_MANY = "there are too many names of problems to be read"
UNNAMED = "a problem has a code that is not understood and no name"
UNNAMED_ALLERGY = "an allergy has a code that is not understood and no name"


def read_problems(conditions: Iterable[Resource], now: datetime, terminology: Terminology, source: str) -> Iterator[Problem]:
    """Read the present conditions that belong to a problem set, and those that may belong to one (`unclear`)."""
    budget = Budget(_ALL_NAMES)
    for condition in conditions:
        if condition.resourceType != "Condition" or is_denied(condition) or _is_over(condition, now):
            continue
        concept = first(condition.code)
        codings, names = pairs(concept), texts(concept)
        looked_up = budget.covers(names)
        found = terminology.problem(codings, names if looked_up else ())
        sets = _by_date(found.sets, found.week, condition, now, terminology) if _PREGNANCIES & found.sets else found.sets
        if sets:
            unclear = MODIFIED if condition.modifierExtension else ""
        elif found.sets or terminology.tabled(codings) or not (unclear := _why_unclear(codings, names, looked_up)):
            continue
        yield Problem(
            sets=sets,
            text=next((name for name in names if not name.isspace()), "")
            or ", ".join(terminology.problem_names[one] for one in sorted(sets)[:1]),
            onset=when(_onset(condition)),
            code=found.code or "|".join(codings[0] if unclear and codings else ()),
            reference=f"Condition/{condition.id}" if condition.id else "",
            source=source,
            patterns=frozenset({EXERCISE} if any(terminology.matches(EXERCISE, name) for name in names) else ()),
            unclear=unclear,
        )


def _why_unclear(codings: Collection[tuple[str, str]], names: Collection[str], looked_up: bool) -> str:
    """Why a condition in no table may be one of the sets; "" where its name says that it is another disease."""
    if not looked_up:
        return TOO_MANY
    if any(len(name) > READ for name in names):
        return TOO_LONG
    return "" if not codings or any(not name.isspace() for name in names) else UNNAMED


def unread_codes(found: Iterable[Problem | Allergy]) -> Iterator[Unread]:
    """Return the codes without a name that are not understood, so that a site can map them."""
    for one in found:
        if one.unclear in (UNNAMED, UNNAMED_ALLERGY):
            system, _, code = one.code.partition("|")
            yield Unread("problem" if isinstance(one, Problem) else "allergy", system, code, one.source)


def _by_date(
    sets: frozenset[str], week: int | None, condition: Resource, now: datetime, terminology: Terminology
) -> frozenset[str]:
    """The sets of a recorded pregnancy today: its weeks have gone on since, and it may be over.

    It counts for `pregnancy_holds` from its onset, else from when it was recorded. A code of a week counts from the later of both
    dates, because its onset may be that of the pregnancy. One without a date counts as it stands.
    """
    sets |= {_PREGNANT}
    dates = [at.start for at in (when(_onset(condition)), when(_recorded(condition))) if at is not None]
    if not dates:
        return sets
    days = (now - (dates[0] if week is None else max(dates))).days + 7 * (week or 0)
    if days > terminology.engineering.pregnancy_holds.span.days:
        return sets - _PREGNANCIES
    return sets if week is None else sets | terminology.reached_by_week(days // 7)


def read_pregnancy(observations: Iterable[Resource], now: datetime, terminology: Terminology, source: str) -> Iterator[Problem]:
    """Pregnancy, where the newest pregnancy status says so and is recent enough; one without a date counts as now."""
    statuses: list[tuple[datetime, bool, Resource]] = []
    for observation in observations:
        if observation.valueCodeableConcept is None or status_of(observation) == "denied":
            continue
        meaning = meaning_of(observation, terminology)
        measured = meaning.coding.code.analyte if meaning.coding is not None else meaning.named
        if measured != "pregnancy_status":
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
    """Allergies and intolerances to a drug of some class that are neither refuted nor over, and those that can't be told."""
    for allergy in allergies:
        if allergy.resourceType != "AllergyIntolerance" or _is_allergy_over(allergy):
            continue
        reactions = listed(allergy.reaction)
        concepts = [first(allergy.code), allergy.substance, *(reaction.substance for reaction in reactions)]
        codings = tuple(pair for concept in concepts for pair in pairs(concept))
        names = tuple(text for concept in concepts for text in texts(concept))
        classes = terminology.classes_for_allergy(codings, tuple(one for one in names if not terminology.matches(NONE, one)))
        unclear = ""
        if classes and allergy.modifierExtension:
            unclear = "an allergy carries a modifier that is not understood"
        elif not classes:
            if "no_known_allergy" in terminology.problem_sets(codings) or any(not name.isspace() for name in names):
                continue
            unclear = UNNAMED_ALLERGY
        felt = [text for reaction in reactions for one in listed(reaction.manifestation) for text in texts(one)[:1]]
        yield Allergy(
            classes=classes,
            text=next((name for name in names if not name.isspace()), "")
            or ", ".join(terminology.class_display(one) for one in sorted(classes)[:1]),
            reaction=", ".join(felt),
            code="|".join(codings[0]) if unclear and codings else "",
            reference=f"AllergyIntolerance/{allergy.id}" if allergy.id else "",
            source=source,
            unclear=unclear,
        )


def unnamed(resources: Iterable[Resource]) -> int:
    """Count the conditions and allergies that may be present and have neither a code nor a name."""
    return sum(one.resourceType != "Medication" and not _says_what(one) and _may_hold(one) for one in resources)


def is_denied(condition: Resource) -> bool:
    """Whether a condition is said not to be: refuted, entered in error, only a differential diagnosis, excluded, or past."""
    if _says(condition.verificationStatus, _NOT_TRUE):
        return True
    concept = first(condition.code)
    for coding in listed(concept.coding) if concept is not None else ():
        if coding.extension is not None and not _LETTERS_AGAINST.isdisjoint(_letters(coding.extension)):
            return True
    return False


def _letters(extensions: object) -> Iterator[str]:
    """The letters of German extensions for how sure a diagnosis is."""
    for one in extensions if isinstance(extensions, list) else [extensions]:
        if isinstance(one, dict) and _SURENESS in str(one.get("url", "")).lower():
            value = next((one[key] for key in one if key.startswith("value")), None)
            letter = value.get("code") if isinstance(value, dict) else value
            yield str(letter).strip().upper()


def _says(status: CodeableConcept | str | None, states: frozenset[str]) -> bool:
    """Whether a status says one of `states`, by a code or in words."""
    if status is None or isinstance(status, str):
        return status is not None and _spelt(status) in states
    for coding in listed(status.coding):
        if _spelt(str(coding.code)) in states or (coding.display is not None and _spelt(coding.display) in states):
            return True
    return status.text is not None and _spelt(status.text) in states


@lru_cache(maxsize=1024)
def _spelt(status: str) -> str:
    """A status as FHIR spells it: "Entered in Error" is "entered-in-error"."""
    return status.strip().lower().replace(" ", "-").replace("_", "-")


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
    match resource.resourceType:
        case "AllergyIntolerance":
            return not _is_allergy_over(resource)
        case "Condition":
            return not (is_denied(resource) or _is_over(resource, None))
    return False


def _is_allergy_over(allergy: Resource) -> bool:
    states = (allergy.status, allergy.clinicalStatus, allergy.verificationStatus)
    return any(_says(state, _ALLERGY_OVER) for state in states)


def _is_over(condition: Resource, now: datetime | None) -> bool:
    """Whether a condition is past. A status that says neither counts as present, so that a misspelt one silences nothing."""
    status = condition.clinicalStatus
    if status and (isinstance(status, str) or status.coding or status.text):
        return _says(status, _OVER)
    if condition.abatementDateTime and now is not None:
        end = when(condition.abatementDateTime)
        return end is None or end.start <= now
    over = (condition.abatementDateTime, condition.abatementPeriod, condition.abatementString, condition.abatementBoolean)
    return any(over)


def _onset(condition: Resource) -> str | None:
    if condition.onsetDateTime:
        return condition.onsetDateTime
    if condition.onsetPeriod is not None and condition.onsetPeriod.start:
        return condition.onsetPeriod.start
    return _recorded(condition)


def _recorded(condition: Resource) -> str | None:
    return condition.recordedDate or condition.assertedDate or condition.dateRecorded
