"""Read conditions and pregnancy observations into the problems of the problem sets.

A differential diagnosis doesn't count. An unconfirmed or provisional diagnosis counts, because criteria that exclude by problems
(encephalopathy, seizures, long QT) are there for safety. So does one with an unknown status: only a status that denies a
condition, or calls it past, removes it.

A condition that is not understood is never taken for absent. A condition with a name is read by its name, whatever its code.
Without a name, a code of ICD-10 or SNOMED CT in no set is another disease; a code of any other system (ICD-9, national, local,
none) could be anything: the problem is `unclear`, so that a criterion about a problem is unknown, and the code is noted for the
site to map. A condition with a modifier extension, which may reverse its meaning, is `unclear` too, for its own sets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cds_service.criteria.facts import Allergy, Problem, Unread, When
from cds_service.fhir.dates import when
from cds_service.fhir.resources import CodeableConcept, Resource, first, listed, pairs, texts
from cds_service.read.allergies import UNNAMED_ALLERGY
from cds_service.read.condition_status import is_allergy_over, is_denied, is_over, onset_of, recorded_of
from cds_service.read.lab_details import effective_of
from cds_service.read.lab_identity import meaning_of, status_of
from cds_service.read.lookup_budget import Budget
from cds_service.terminology.problem_names import READ

if TYPE_CHECKING:
    from cds_service.terminology.terminology import Terminology

_UNDATED = When(datetime.min.replace(tzinfo=UTC), "")
_PREGNANT, _PREGNANT_20_WEEKS = "pregnancy", "pregnancy_20_weeks"
_PREGNANCIES = frozenset({_PREGNANT, _PREGNANT_20_WEEKS})

EXERCISE = "exercise_cramp"  # the text pattern for exercise cramps, which share their code with other cramps
MODIFIED = "a problem carries a modifier that is not understood"
_ALL_NAMES = 30_000  # characters of the different names of one problem list that are looked up; 300 cost up to 3 ms
TOO_LONG = "a problem has a name that is too long to be read"
TOO_MANY = "there are too many names of problems to be read"
UNNAMED = "a problem has a code that is not understood and no name"


def read_problems(conditions: Iterable[Resource], now: datetime, terminology: Terminology, source: str) -> Iterator[Problem]:
    """Read the present conditions that belong to a problem set, and those that may belong to one (`unclear`)."""
    budget = Budget(_ALL_NAMES)
    for condition in conditions:
        if condition.resourceType != "Condition" or is_denied(condition) or is_over(condition, now):
            continue
        concept = first(condition.code)
        codings, names = pairs(concept), texts(concept)
        looked_up = budget.covers(names)
        found = terminology.problem(codings, names if looked_up else ())
        sets = _by_date(found.sets, found.week, condition, now, terminology) if _PREGNANCIES & found.sets else found.sets
        if sets:
            unclear = MODIFIED if condition.modifierExtension else ""
        elif found.sets or not (unclear := _why_unclear(codings, names, looked_up)) or terminology.tabled(codings):
            continue
        yield Problem(
            sets=sets,
            text=next((name for name in names if not name.isspace()), "")
            or ", ".join(terminology.problem_names[one] for one in sorted(sets)[:1]),
            onset=when(onset_of(condition)),
            code=found.code or "|".join(codings[0] if unclear and codings else ()),
            reference=f"Condition/{condition.id}" if condition.id else "",
            source=source,
            patterns=frozenset({EXERCISE} if any(terminology.matches(EXERCISE, name) for name in names) else ()),
            unclear=unclear,
        )


def _why_unclear(codings: Collection[tuple[str, str]], names: Collection[str], looked_up: bool) -> str:
    """Return why a condition in no table may be in a set; "" where its name proves another disease."""
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
    """Return the sets of a recorded pregnancy at `now`: weeks have passed since, and it may be over.

    It counts for `pregnancy_holds` from its onset, else from when it was recorded. A code of a week counts from the later of both
    dates, because its onset may be that of the pregnancy. One without a date counts as recorded.
    """
    sets |= {_PREGNANT}
    dates = [at.start for at in (when(onset_of(condition)), when(recorded_of(condition))) if at is not None]
    if not dates:
        return sets
    days = (now - (dates[0] if week is None else max(dates))).days + 7 * (week or 0)
    if days > terminology.engineering.pregnancy_holds.span.days:
        return sets - _PREGNANCIES
    return sets if week is None else sets | terminology.reached_by_week(days // 7)


def read_pregnancy(observations: Iterable[Resource], now: datetime, terminology: Terminology, source: str) -> Iterator[Problem]:
    """Read pregnancy from the newest pregnancy status, where it is recent; one without a date counts as now."""
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


def unnamed(resources: Iterable[Resource]) -> int:
    """Count the conditions and allergies that may be present and have neither a code nor a name."""
    return sum(one.resourceType != "Medication" and not _says_what(one) and _may_hold(one) for one in resources)


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
            return not is_allergy_over(resource)
        case "Condition":
            return not (is_denied(resource) or is_over(resource, None))
    return False
