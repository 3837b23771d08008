"""Medication statements and prescriptions → active drugs; the drug of a draft order.

What is prescribed stands in the resource, in a contained Medication, or in a Medication of the same Bundle. A drug counts as
active by its status, its intent and the end of its period; one without a status is not known to be active and doesn't count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import msgspec

from cds_service.decode import Gathered
from cds_service.dose import daily_dose_mg
from cds_service.facts import Drug
from cds_service.fhir import Dosage, Period, Ratio, Reference, Resource, bare_id, first, listed, pairs, texts
from cds_service.read_problems import is_denied
from cds_service.when import ended, when

if TYPE_CHECKING:
    from cds_service.terminology import Terminology

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[list[Dosage], Ratio | None]).decode
_WHEN_NEEDED = re.compile(r"\b(?:p\.?r\.?n\b|(?:as|when|if) (?:needed|required|necessary))", re.IGNORECASE)
_STATEMENTS = frozenset({"MedicationStatement"})
_PRESCRIPTIONS = frozenset({"MedicationRequest", "MedicationOrder"})
# An intent to give the drug. The others (proposal, plan, option) are somebody's idea; DSTU2 has no intent.
_ORDERED = frozenset({None, "order", "original-order", "reflex-order", "filler-order", "instance-order"})


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


def read_drugs(gathered: Gathered, source: str, targets: Targets, now: datetime, terminology: Terminology) -> Iterator[Drug]:
    """The active drugs of one source; what is stopped, on hold, ended, not taken or not to be given is not among them."""
    for resource in gathered.resources:
        if resource.status == "active" and _is_active(resource, now):
            yield read_drug(resource, source, targets, terminology)


def read_drug(resource: Resource, source: str, targets: Targets, terminology: Terminology, *, ordered: bool = False) -> Drug:
    """What a medication statement, a prescription or a draft order is about.

    The dose is read of what is `ordered`, and of what is taken where its class says so (`taken_dose`).
    """
    codings, names, strength = _medication(resource, targets)
    dosages = listed(resource.dosageInstruction) or listed(resource.dosage)
    route_texts: list[str] = []
    route_codings: list[tuple[str, str]] = []
    for dosage in dosages:
        if dosage.route is not None:
            route_texts += texts(dosage.route)
            route_codings += pairs(dosage.route)
    route = terminology.route(route_codings, tuple(route_texts)) if route_texts or route_codings else ""
    recognised = terminology.drug(codings, names, route)
    reasons, reason_sets, reason_stated, reason_unread = _reasons(resource, dosages, targets, terminology)
    dosed = recognised.classes if ordered else recognised.classes & terminology.dosed
    return Drug(
        text=names[0] if names else "",
        classes=recognised.classes,
        ingredients=recognised.ingredients,
        recognised_by=recognised.by,
        code=recognised.code,
        code_disagrees=recognised.disagrees,
        identified=bool(codings) or any(name.strip() for name in names),
        route=recognised.route,
        started=when(_started(resource, dosages)),
        reasons=reasons,
        reason_sets=reason_sets,
        reason_stated=reason_stated,
        reason_unread=reason_unread,
        daily_dose_mg=_daily_dose(_encode((dosages, strength)), "\n".join(names)) if dosed else None,
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


def _is_active(resource: Resource, now: datetime) -> bool:
    kind = resource.resourceType
    if kind in _PRESCRIPTIONS:
        if resource.doNotPerform or resource.intent not in _ORDERED or ended(resource.dateEnded, now):
            return False
        bounds = [_bounds(dosage) for dosage in listed(resource.dosageInstruction)]
        return not bounds or not all(bound is not None and ended(bound.end, now) for bound in bounds)
    if kind in _STATEMENTS:
        period = resource.effectivePeriod
        return not (resource.wasNotTaken or resource.taken == "n" or (period is not None and ended(period.end, now)))
    return False


def _bounds(dosage: Dosage) -> Period | None:
    return dosage.timing.repeat.boundsPeriod if dosage.timing is not None and dosage.timing.repeat is not None else None


def _started(resource: Resource, dosages: list[Dosage]) -> str | None:
    """When the therapy started, else when it was ordered or stated."""
    if resource.effectivePeriod is not None and resource.effectivePeriod.start:
        return resource.effectivePeriod.start
    if resource.effectiveDateTime:
        return resource.effectiveDateTime
    starts = [bounds.start for dosage in dosages if (bounds := _bounds(dosage)) is not None and bounds.start]
    return starts[0] if starts else resource.authoredOn or resource.dateWritten or resource.dateAsserted


def _medication(resource: Resource, targets: Targets) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...], Ratio | None]:
    """Codings, texts and the strength of its single ingredient, wherever they stand."""
    concept, reference = resource.medicationCodeableConcept, resource.medicationReference
    codings, names = pairs(concept), texts(concept)
    if reference is None:
        return codings, names, None
    medication = _referenced(resource, reference, targets)
    strength = None
    if medication is not None:
        ingredients = listed(medication.ingredient)
        if medication.product is not None:
            ingredients = [*ingredients, *(medication.product.ingredient or ())]
        concepts = [first(medication.code)]
        if not pairs(concepts[0]):
            concepts += [ingredient.itemCodeableConcept for ingredient in ingredients]
        codings += tuple(pair for one in concepts for pair in pairs(one))
        names += tuple(text for one in concepts for text in texts(one))
        if not names:
            items = (ingredient.itemReference or ingredient.item for ingredient in ingredients)
            names += tuple(item.display for item in items if item is not None and item.display)
        if len(ingredients) == 1:
            strength = ingredients[0].strength or ingredients[0].amount
    if reference.display and reference.display not in names:
        names += (reference.display,)
    return codings, names, strength


def _referenced(resource: Resource, reference: Reference, targets: Targets) -> Resource | None:
    key = bare_id(reference.reference)
    if reference.reference and reference.reference.startswith("#"):
        return next((one for one in listed(resource.contained) if one.id and one.id.removeprefix("#") == key), None)
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
    unread = False
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
            names = texts(concept)
            said += names
            sets |= terminology.problem(pairs(concept), names).sets
    # "As needed for sleep" is a reason too; a reference that leads to nothing that could be read still is one.
    stated = bool(said or listed(resource.reasonReference) or resource.reasonForUseReference)
    stated = stated or any(concept is not None and pairs(concept) for concept in concepts)
    stated = stated or any(dosage.asNeededCodeableConcept is not None for dosage in dosages)
    if resource.note is not None:
        said += [resource.note] if isinstance(resource.note, str) else [note.text for note in listed(resource.note) if note.text]
    for dosage in dosages:
        said += [text for text in (dosage.text, dosage.patientInstruction) if text]
        if dosage.additionalInstruction is not None:
            said += [text for one in listed(dosage.additionalInstruction) for text in texts(one)]
        if dosage.asNeededCodeableConcept is not None:
            said += texts(dosage.asNeededCodeableConcept)
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
