"""Read medication statements, prescriptions and draft orders into drugs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

from cds_service.criteria.facts import Drug, Route, Unread
from cds_service.fhir.dates import when
from cds_service.fhir.gathered import Gathered
from cds_service.fhir.resources import Dosage, Ratio, Resource, listed, pairs, texts
from cds_service.read.daily_dose import daily_dose_mg
from cds_service.read.drug_product import product_of, recognise
from cds_service.read.drug_reasons import read_reasons
from cds_service.read.drug_status import bounds_of, is_confirmed, is_over, leaves_open
from cds_service.read.lookup_budget import Budget
from cds_service.read.reference_targets import Targets
from cds_service.short_cache import short_cache

if TYPE_CHECKING:
    from cds_service.terminology.terminology import Terminology

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[list[Dosage], Ratio | None]).decode
WHEN_NEEDED = re.compile(r"\b(?:p\.?r\.?n\b|(?:as|when|if) (?:needed|required|necessary))", re.IGNORECASE)
_TEXT = attrgetter("text")
_ALL_WORDS = 60_000  # characters of the different names and dosages of one list that are looked up; 300 cost up to 2 ms


def read_drugs(
    gathered: Gathered, source: str, targets: Targets, now: datetime, terminology: Terminology, unread: list[Unread]
) -> Iterator[Drug]:
    """Read the active drugs of one source at `now`.

    A status or a drug code that is not understood is added to `unread`.
    """
    budget = Budget(_ALL_WORDS)
    for resource in gathered.resources:
        if resource.resourceType in ("Medication", None) or is_over(resource, now, terminology.engineering):
            continue
        confirmed = is_confirmed(resource)
        if not (confirmed or leaves_open(resource)):
            unread.append(Unread("status", "", resource.status or "", source))
        yield read_drug(resource, source, targets, terminology, unread, confirmed=confirmed, budget=budget)


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
    """Read the drug of a medication statement, a prescription or a draft order.

    The dose is read where the drug is `ordered`, and of an active medication where its class says so (`taken_dose`). The codes of
    a drug that could not be identified are added to `unread`. Words beyond the `budget` are not looked up, only codes.
    """
    product = product_of(resource, targets)
    dosages = listed(resource.dosageInstruction) or listed(resource.dosage)
    if budget is not None and not budget.covers((*product.names, *_sigs(dosages))):
        product, dosages = msgspec.structs.replace(product, names=(), ingredients=[]), []
    route = _route(dosages, terminology)
    looked_up = recognise(resource, product, route, targets, terminology)
    recognised, codings, names = looked_up.drug, looked_up.codings, looked_up.names
    if not recognised.classes.isdisjoint(terminology.routed) and (sig := "\n".join(_sigs(dosages))):
        recognised = terminology.drug(codings, names, route, sig)
    if not recognised.identified:
        unread += [Unread("drug", system, code, source) for system, code in codings]
    reasons = read_reasons(resource, dosages, targets, terminology)
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
        reasons=reasons.patterns,
        reason_sets=reasons.sets,
        reason_stated=reasons.stated,
        reason_unread=reasons.unread,
        daily_dose_mg=_daily_dose(_encode((dosages, product.strength)), "\n".join(names)) if dosed else None,
        reference=f"{resource.resourceType}/{resource.id}" if resource.id else "",
        source=source,
        as_needed=_as_needed(dosages) if dosed else None,
    )


def _route(dosages: list[Dosage], terminology: Terminology) -> Route:
    """Return the route that the dosages state; "" for none or an unknown one."""
    codings: tuple[tuple[str, str], ...] = ()
    names: tuple[str, ...] = ()
    for dosage in dosages:
        codings += pairs(dosage.route)
        names += texts(dosage.route)
    return terminology.route(codings, names) if codings or names else ""


def _sigs(dosages: list[Dosage]) -> list[str]:
    """Return the texts of the dosages."""
    return list(filter(None, map(_TEXT, dosages)))


def _as_needed(dosages: list[Dosage]) -> bool | None:
    """Tell whether it is taken as needed; None where no dosage tells."""
    if any(one.asNeededBoolean or one.asNeededCodeableConcept is not None for one in dosages):
        return True
    said = [text for one in dosages for text in (one.text, one.patientInstruction) if text]
    if any(WHEN_NEEDED.search(text) for text in said):
        return True
    return False if said or any(one.timing is not None for one in dosages) else None


@short_cache(4096)
def _daily_dose(sig: bytes, names: str) -> Decimal | None:
    """Read the daily dose of (dosages, strength) in MessagePack; cached, because reading is slow and few differ."""
    dosages, strength = _decode(sig)
    return daily_dose_mg(dosages, names, strength)


def _started(resource: Resource, dosages: list[Dosage]) -> str | None:
    """Return when the therapy started, else when it was ordered or stated, as sent."""
    if resource.effectivePeriod is not None and resource.effectivePeriod.start:
        return resource.effectivePeriod.start
    if moment := resource.effectiveDateTime or resource.effectiveTimeDateTime or resource.whenHandedOver or resource.whenPrepared:
        return moment
    starts = [bounds.start for dosage in dosages if (bounds := bounds_of(dosage)) is not None and bounds.start]
    return starts[0] if starts else resource.authoredOn or resource.dateWritten or resource.dateAsserted
