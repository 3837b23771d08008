"""Make the facts that the log keeps of a call for a replay, with keyed hashes for ids."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date

import msgspec

from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.criteria.facts import Drug, Facts, Lab, LabSeries, Order, Patient, PriorCard, Unread
from cds_service.fhir.resources import bare_id

MAX_UNREAD = 50  # codes of one call
NOT_A_CODE = "not a code"
_CODE = re.compile(r"[A-Za-z0-9._:|/-]{0,64}")
_SYSTEM = re.compile(r"[A-Za-z0-9._:|/#~-]{0,200}")
_UNIT = re.compile(r"[A-Za-z0-9._:|/%*^\[\]{}()\u00b5\u03bc-]{0,32}")

_change = msgspec.structs.replace


def kept_facts(facts: Facts, hashed: Pseudonyms) -> Facts:
    """Return the facts with hashed references, without JSON of orders and without drugs that no card can use."""
    return _change(
        facts,
        patient=_patient(facts, hashed),
        labs={name: _series(series, hashed) for name, series in facts.labs.items()},
        drugs=tuple(_drug(drug, hashed) for drug in facts.drugs if _can_matter(drug)),
        problems=tuple(_change(problem, reference=hashed("resource", problem.reference)) for problem in facts.problems),
        allergies=tuple(
            _change(allergy, reference=hashed("resource", allergy.reference))
            for allergy in facts.allergies
            if allergy.classes or allergy.unclear
        ),
        orders=tuple(_order(order, facts.drugs, hashed) for order in facts.orders),
        unread=kept_codes(facts.unread),
        prior_cards=_prior_cards(facts, hashed) if facts.prior_cards else (),
    )


def kept_codes(unread: Iterable[Unread]) -> tuple[Unread, ...]:
    """Return each code once, at most MAX_UNREAD; a text that may be about a person becomes NOT_A_CODE."""
    kept: dict[Unread, None] = {}
    for one in unread:
        system = one.system if _SYSTEM.fullmatch(one.system) else NOT_A_CODE
        code = one.code if (_UNIT if one.kind == "unit" else _CODE).fullmatch(one.code) else NOT_A_CODE
        kept[_change(one, system=system, code=code)] = None
        if len(kept) == MAX_UNREAD:
            break
    return tuple(kept)


def _patient(facts: Facts, hashed: Pseudonyms) -> Patient:
    """Replace the date of birth by 1 January of the year that gives the same age."""
    age = facts.age_years
    return _change(
        facts.patient,
        id=hashed("patient", facts.patient.id),
        reference="",
        birth_date=None if age is None else date(facts.now.year - age, 1, 1),
    )


def _series(series: LabSeries, hashed: Pseudonyms) -> LabSeries:
    """Keep the newest results and drop the laboratory's own words."""
    return _change(
        series,
        results=tuple(_change(lab, reference=hashed("resource", lab.reference)) for lab in _newest(series.results)),
        unusable=tuple(_change(bad, reference="", words="") for bad in series.unusable),
    )


def _newest(results: tuple[Lab, ...]) -> tuple[Lab, ...]:
    """Return the three newest results, or more where the first that is not preliminary comes later."""
    decides = next((position for position, lab in enumerate(results) if not lab.preliminary), len(results))
    return results[: max(3, decides + 1)]


def _can_matter(drug: Drug) -> bool:
    return bool(drug.classes or drug.reasons or drug.reason_sets) or not drug.identified


def _drug(drug: Drug, hashed: Pseudonyms) -> Drug:
    return _change(drug, reference=hashed("resource", drug.reference))


def _prior_cards(facts: Facts, hashed: Pseudonyms) -> tuple[PriorCard, ...]:
    keys = {order.reference: hashed.order(order) for order in facts.orders if order.reference}
    return tuple(_change(prior, order=keys.get(prior.order, "")) for prior in facts.prior_cards)


def _order(order: Order, drugs: Iterable[Drug], hashed: Pseudonyms) -> Order:
    key = hashed.order(order)
    return _change(
        order,
        reference=key if order.reference else "",
        key=key,
        replaces=hashed("resource", _replaced(order, drugs)),
        drug=_drug(order.drug, hashed) if order.drug is not None else None,
        raw=b"",
    )


def _replaced(order: Order, drugs: Iterable[Drug]) -> str:
    """Return the reference of the replaced drug, spelled as the drug's own, so that both hashes are equal."""
    wanted = bare_id(order.replaces)
    return next((drug.reference for drug in drugs if wanted and bare_id(drug.reference) == wanted), order.replaces)
