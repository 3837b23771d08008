"""Medication statements and prescriptions → active drugs; the drug of a draft order.

What is prescribed stands in the resource, in a contained Medication, or in a Medication of any Bundle of the call; where neither
its code nor its text is recognised, in its ingredients. A drug is taken unless its status, its intent or the end of its period
denies it: one whose status is missing or not understood is taken, and unconfirmed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from cds_service.budget import Budget
from cds_service.criteria.facts import Drug, Route, Unread
from cds_service.decode import Gathered
from cds_service.dose import daily_dose_mg
from cds_service.drug_names import Recognition
from cds_service.fhir import Dosage, Ingredient, Period, Ratio, Reference, Resource, bare_id, first, listed, pairs, texts
from cds_service.read_problems import is_denied
from cds_service.when import ended, when

if TYPE_CHECKING:
    from cds_service.engineering import Engineering
    from cds_service.terminology import Terminology

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[list[Dosage], Ratio | None]).decode
_WHEN_NEEDED = re.compile(r"\b(?:p\.?r\.?n\b|(?:as|when|if) (?:needed|required|necessary))", re.IGNORECASE)
_PRESCRIPTIONS = frozenset({"MedicationRequest", "MedicationOrder"})
# Somebody's idea. All other intents are ways to give the drug: a plan that is active is what a patient takes at home (athena).
_IDEAS = frozenset({"proposal", "option"})
# What denies that a drug is taken, in R4, STU3 and DSTU2, and as EHRs say it in other words. All else is no denial.
DENIED = frozenset(
    {
        "abandoned", "aborted", "cancelled", "canceled", "declined", "deleted", "discontinued", "draft", "ended",
        "entered-in-error", "expired", "held", "inactive", "intended", "not-done", "not-given", "not-taken", "not-taking",
        "nullified", "obsolete", "on-hold", "preparation", "rejected", "replaced", "revoked", "stopped", "superseded",
        "suspended", "void", "voided",
    }
)  # fmt: skip
_EVENTS = frozenset({"MedicationDispense", "MedicationAdministration"})  # that tell of a therapy
_GIVEN = frozenset({"completed", "in-progress"})  # of a dispense or an administration
_DAYS = frozenset({"", "d", "day", "days"})
_ALL_WORDS = 60_000  # characters of the different names and dosages of what is taken that are looked at; 300 cost up to 2 ms
_MOST_INGREDIENTS = 50  # of one medication
_MOST_DAYS = 10_000  # a supply beyond that is an error of the sender


class Targets:
    """What a reference in a medication can lead to: Medications of any source, Conditions of the problem list."""

    def __init__(self, sources: Iterable[Gathered]) -> None:
        self._sources = list(sources)

    @cached_property
    def medications(self) -> Mapping[str, Resource]:
        """Medications by bare id."""
        return self._index("Medication")

    @cached_property
    def conditions(self) -> Mapping[str, Resource]:
        """Conditions by bare id."""
        return self._index("Condition")

    def _index(self, resource_type: str) -> Mapping[str, Resource]:
        found: dict[str, Resource] = {}
        for source in self._sources:
            found.update((key, one) for key, one in source.by_url.items() if one.resourceType == resource_type)
            found.update((one.id, one) for one in source.resources if one.resourceType == resource_type and one.id)
        return found


def read_drugs(
    gathered: Gathered, source: str, targets: Targets, now: datetime, terminology: Terminology, unread: list[Unread]
) -> Iterator[Drug]:
    """The drugs of one source that are taken. What was not understood, a status or the code of a drug, is added to `unread`."""
    budget = Budget(_ALL_WORDS)
    for resource in gathered.resources:
        if resource.resourceType in ("Medication", None):
            continue
        status = "active" if resource.status == "active" else status_of(resource)
        if _is_over(resource, status, now, terminology.engineering):
            continue
        confirmed = status == "active" or (resource.resourceType in _EVENTS and status in _GIVEN)
        if not (confirmed or status in ("", "unknown", "completed")):
            unread.append(Unread("status", "", resource.status or "", source))
        yield read_drug(resource, source, targets, terminology, unread, confirmed=confirmed, budget=budget)


def status_of(resource: Resource) -> str:
    """The status as FHIR writes it, however it was spelt: "Entered in Error" is "entered-in-error"; "" where there is none."""
    return _spelt(resource.status or "")


@lru_cache(maxsize=256)
def _spelt(status: str) -> str:
    return "-".join(status.lower().replace("_", " ").replace("-", " ").split())


def read_drug(
    resource: Resource,
    source: str,
    targets: Targets,
    terminology: Terminology,
    unread: list[Unread],
    *,
    ordered: bool = False,
    confirmed: bool = True,
    budget: Budget | None = None,
) -> Drug:
    """What a medication statement, a prescription or a draft order is about.

    The dose is read of what is `ordered`, and of what is taken where its class says so (`taken_dose`). The codes of a drug that
    can't be told are added to `unread`. Words that the `budget` does not cover are not looked up, only codes.
    """
    product = _product(resource, targets)
    dosages = listed(resource.dosageInstruction) or listed(resource.dosage)
    if budget is not None and not budget.covers((*product.names, *(one.text for one in dosages if one.text))):
        product, dosages = product._replace(names=(), ingredients=[]), []
    names = product.names
    route_texts: list[str] = []
    route_codings: list[tuple[str, str]] = []
    for dosage in dosages:
        if dosage.route is not None:
            route_texts += texts(dosage.route)
            route_codings += pairs(dosage.route)
    route = terminology.route(route_codings, tuple(route_texts)) if route_texts or route_codings else ""
    recognised = terminology.drug(product.codings, names, route)
    codings = product.codings
    if not recognised.by and product.ingredients:
        recognised, codings, names = _by_ingredients(resource, product, targets, terminology, recognised, route)
    if not recognised.classes.isdisjoint(terminology.routed) and (sig := "\n".join(d.text for d in dosages if d.text)):
        recognised = terminology.drug(codings, names, route, sig)
    if not recognised.identified:
        unread += [Unread("drug", system, code, source) for system, code in codings]
    reasons, reason_sets, reason_stated, reason_unread = _reasons(resource, dosages, targets, terminology)
    dosed = recognised.classes if ordered else recognised.classes & terminology.dosed
    return Drug(
        text=next((name for name in names if not name.isspace()), ""),
        classes=recognised.classes,
        ingredients=recognised.ingredients,
        recognised_by=recognised.by,
        code=recognised.code,
        code_disagrees=recognised.disagrees,
        identified=recognised.identified,
        confirmed=confirmed,
        route=recognised.route,
        started=when(_started(resource, dosages)),
        reasons=reasons,
        reason_sets=reason_sets,
        reason_stated=reason_stated,
        reason_unread=reason_unread,
        daily_dose_mg=_daily_dose(_encode((dosages, product.strength)), "\n".join(names)) if dosed else None,
        reference=f"{resource.resourceType}/{resource.id}" if resource.id else "",
        source=source,
        as_needed=_as_needed(dosages) if dosed else None,
    )


def _as_needed(dosages: list[Dosage]) -> bool | None:
    """Whether it is taken as needed; None where no dosage tells."""
    if any(one.asNeededBoolean or one.asNeededCodeableConcept is not None for one in dosages):
        return True
    said = [text for one in dosages for text in (one.text, one.patientInstruction) if text]
    if any(_WHEN_NEEDED.search(text) for text in said):
        return True
    return False if said or any(one.timing is not None for one in dosages) else None


@lru_cache(maxsize=4096)
def _daily_dose(sig: bytes, names: str) -> Decimal | None:
    """The daily dose of dosages and a strength in MessagePack; cached, because reading takes long and few are different."""
    dosages, strength = _decode(sig)
    return daily_dose_mg(dosages, names, strength)


def _is_over(resource: Resource, status: str, now: datetime, engineering: Engineering) -> bool:
    """Whether a resource denies that its drug is taken now."""
    kind = resource.resourceType
    if status in DENIED:
        return True
    if kind in _EVENTS:
        return _was_given_too_long_ago(resource, now, engineering)
    if kind in _PRESCRIPTIONS:
        if resource.doNotPerform or (resource.intent or "").strip().lower() in _IDEAS or ended(resource.dateEnded, now):
            return True
        ends = [bound.end if (bound := _bounds(one)) is not None else None for one in listed(resource.dosageInstruction)]
    else:
        if resource.wasNotTaken or (resource.taken or "").strip().lower() == "n":
            return True
        ends = [resource.effectivePeriod.end if resource.effectivePeriod is not None else None]
    if status == "completed":  # what is completed and goes on contradicts itself
        return not any(end is not None and not ended(end, now) for end in ends)
    return bool(ends) and all(end is not None and ended(end, now) for end in ends)


def _was_given_too_long_ago(resource: Resource, now: datetime, engineering: Engineering) -> bool:
    """Whether a drug that was handed out is used up by now, or one that was given has not been given again."""
    if resource.notGiven or resource.wasNotGiven:
        return True
    if resource.resourceType == "MedicationDispense":
        given = when(resource.whenHandedOver or resource.whenPrepared)
        supply, counts = resource.daysSupply, engineering.dispense_counts.span
        if supply is not None and supply.value is not None and (supply.code or supply.unit or "").lower() in _DAYS:
            counts = timedelta(days=min(max(float(supply.value), 0), _MOST_DAYS))
    else:
        period = resource.effectivePeriod or resource.effectiveTimePeriod
        moment = resource.effectiveDateTime or resource.effectiveTimeDateTime
        given = when(moment or (period.end or period.start if period is not None else None))
        counts = engineering.administration_counts.span
    return given is not None and now - given.start > counts + (timedelta() if given.has_time else timedelta(days=1))


def _bounds(dosage: Dosage) -> Period | None:
    return dosage.timing.repeat.boundsPeriod if dosage.timing is not None and dosage.timing.repeat is not None else None


def _started(resource: Resource, dosages: list[Dosage]) -> str | None:
    """When the therapy started, else when it was ordered or stated."""
    if resource.effectivePeriod is not None and resource.effectivePeriod.start:
        return resource.effectivePeriod.start
    if moment := resource.effectiveDateTime or resource.effectiveTimeDateTime or resource.whenHandedOver or resource.whenPrepared:
        return moment
    starts = [bounds.start for dosage in dosages if (bounds := _bounds(dosage)) is not None and bounds.start]
    return starts[0] if starts else resource.authoredOn or resource.dateWritten or resource.dateAsserted


class _Product(NamedTuple):
    """What was said of a medication: codings and texts of the whole, what it is made of, and the strength of a single one."""

    codings: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    ingredients: list[Ingredient]
    strength: Ratio | None
    medication: Resource | None


def _product(resource: Resource, targets: Targets) -> _Product:
    concept, reference = resource.medicationCodeableConcept, resource.medicationReference
    codings, names = pairs(concept), texts(concept)
    if reference is None:
        return _Product(codings, names, [], None, None)
    medication = _referenced(resource.contained, reference, targets)
    strength = None
    ingredients: list[Ingredient] = []
    if medication is not None:
        codings += pairs(code := first(medication.code))
        names += texts(code)
        ingredients = listed(medication.ingredient)
        if medication.product is not None:
            ingredients = [*ingredients, *(medication.product.ingredient or ())]
        if len(ingredients) == 1:
            strength = ingredients[0].strength or ingredients[0].amount
    if reference.display and reference.display not in names:
        names += (reference.display,)
    return _Product(codings, names, ingredients, strength, medication)


def _by_ingredients(
    resource: Resource, product: _Product, targets: Targets, terminology: Terminology, whole: Recognition, route: Route
) -> tuple[Recognition, tuple[tuple[str, str], ...], tuple[str, ...]]:
    """The recognition of a medication by all that it is made of, with the codings and names that led to it.

    An ingredient is a concept or a reference, followed once, to a Medication or Substance. `whole` is what its own code and text
    gave: none of our drugs. Each ingredient is read on its own, because what speaks against one does not against another.
    """
    codings, names = product.codings, product.names
    found: list[Recognition] = []
    contained = [*listed(product.medication.contained if product.medication is not None else None), *listed(resource.contained)]
    for ingredient in product.ingredients[:_MOST_INGREDIENTS]:
        if ingredient.isActive is False:
            continue
        concept, reference = ingredient.itemCodeableConcept, ingredient.itemReference or ingredient.item
        own, called = pairs(concept), texts(concept)
        if reference is not None:
            target = _referenced(contained, reference, targets)
            code = first(target.code) if target is not None else None
            own += pairs(code)
            called += texts(code) + ((reference.display,) if reference.display else ())
        codings, names = codings + own, names + called
        found.append(terminology.drug(own, called, route))
    ours = [one for one in found if one.by]
    if not ours:
        every = bool(found) and len(product.ingredients) <= _MOST_INGREDIENTS
        known = whole.identified or (every and all(one.identified for one in found))
        return msgspec.structs.replace(whole, identified=known), codings, names
    return (
        Recognition(
            classes=frozenset().union(*(one.classes for one in ours)),
            ingredients=tuple(dict.fromkeys(name for one in ours for name in one.ingredients)),
            by=ours[0].by,
            code=ours[0].code,
            route=whole.route or ours[0].route,
            disagrees=next((one.disagrees for one in ours if one.disagrees), ""),
        ),
        codings,
        names,
    )


def _referenced(contained: list[Resource] | Resource | None, reference: Reference, targets: Targets) -> Resource | None:
    key = bare_id(reference.reference)
    if reference.reference and reference.reference.startswith("#"):
        return next((one for one in listed(contained) if one.id and one.id.removeprefix("#") == key), None)
    return targets.medications.get(key) if key else None


def _reasons(
    resource: Resource, dosages: list[Dosage], targets: Targets, terminology: Terminology
) -> tuple[frozenset[str], frozenset[str], bool, bool]:
    """What a drug is for: the text patterns that anything said about it matches, the sets that its reasons belong to, whether a
    reason was stated at all, and whether one is a condition that could not be read.

    The texts themselves go no further: a note may name people.
    """
    said: list[str] = []
    sets: frozenset[str] = frozenset()
    unread = coded = False
    concepts = [*listed(resource.reasonCode), resource.reasonCodeableConcept, resource.reasonForUseCodeableConcept]
    for reference in (*listed(resource.reasonReference), resource.reasonForUseReference):
        if reference is not None:
            condition = _condition(resource, reference, targets)
            if condition is None or condition.modifierExtension:
                said += [reference.display] if reference.display else []
                unread = unread or (not reference.display and _may_be_condition(reference))
            elif not is_denied(condition):
                said += [reference.display] if reference.display else []
                concepts.append(first(condition.code))
    for concept in concepts:
        if concept is not None:
            codings, names = pairs(concept), texts(concept)
            coded = coded or bool(codings)
            said += names
            sets |= terminology.problem(codings, names).sets
    # "As needed for sleep" is a reason too; a reference that leads to nothing that could be read still is one.
    stated = bool(said or coded or resource.reasonReference or resource.reasonForUseReference)
    if resource.note is not None:
        said += [resource.note] if isinstance(resource.note, str) else [note.text for note in listed(resource.note) if note.text]
    for dosage in dosages:
        said += [text for text in (dosage.text, dosage.patientInstruction) if text]
        if dosage.additionalInstruction is not None:
            said += [text for one in listed(dosage.additionalInstruction) for text in texts(one)]
        if dosage.asNeededCodeableConcept is not None:
            said += texts(dosage.asNeededCodeableConcept)
            stated = True
    # A word stands between the texts, so that no pattern reads two of them as one phrase.
    return (terminology.reasons_in("\nx\n".join(said)) if said else frozenset()), sets, stated, unread


def _condition(resource: Resource, reference: Reference, targets: Targets) -> Resource | None:
    """The condition that a reason refers to: a contained one, or one of any source; None where it is not at hand."""
    key = bare_id(reference.reference)
    if reference.reference and reference.reference.startswith("#"):
        contained = (one for one in listed(resource.contained) if one.id and one.id.removeprefix("#") == key)
        return next((one for one in contained if one.resourceType == "Condition"), None)
    return targets.conditions.get(key) if key and _may_be_condition(reference) else None


def _may_be_condition(reference: Reference) -> bool:
    """Whether a reference can lead to a condition; one that names another type, as an Observation, is no reason that is read."""
    before, _, _ = (reference.reference or "").partition("/_history")[0].rpartition("/")
    return before.rpartition("/")[2] in ("", "Condition")
