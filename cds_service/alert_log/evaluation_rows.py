"""Make the rows of a call's decisions for the alert log: outcome, truths, evidence, missing data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.criteria.facts import Allergy, Drug, Lab, Order, Patient, Problem, When
from cds_service.criteria.findings import Evidence, Truth
from cds_service.decide.decision import Decision, Outcome

_WORDS = {truth: truth.name.lower() for truth in Truth}
_NOT_FIRED = Outcome.NOT_FIRED  # as a module name, because looking a member up in its enumeration is slow

Row = dict[str, Any]


def evaluation_rows(decisions: Sequence[Decision], hashed: Pseudonyms, now: datetime) -> list[Row | msgspec.Raw]:
    """Return the truths of all criteria, then one row for each decision, ready for JSON with sorted members.

    `now`: of the facts, for ages.
    """
    described: dict[int, Row] = {}  # evidence by identity: several criteria and cards use the same result
    return _truths(decisions, hashed) + [_row(decision, hashed, described, now) for decision in decisions]


def applies(decision: Decision) -> bool:
    """Say whether the card was about this call: not where it is about orders and there was none of its kind."""
    if decision.outcome is _NOT_FIRED:
        return decision.order is not None or not decision.card.file.for_each
    return decision.outcome is not Outcome.NOT_APPLICABLE


def _truths(decisions: Iterable[Decision], hashed: Pseudonyms) -> list[Row]:
    """Return the truth of each evaluated criterion: one entry for the patient and one for each order.

    Their `card` is "*", because cards share criteria. A criterion that stands in neither was not needed for the decision.
    """
    distinct = {id(findings): findings for one in decisions for findings in (one.findings.for_patient, one.findings)}
    return [
        {
            "card": "*",
            "order_key": hashed.order(findings.order) if findings.order is not None else "",
            "criteria": {name: _WORDS[finding.truth] for name, finding in findings.own()},
        }
        for findings in distinct.values()
    ]


@lru_cache(maxsize=1000)  # far more than there are cards
def _row_of_silent(card: str, version: str, content_hash: str, applied: bool) -> msgspec.Raw:
    """Return the encoded row of a card that did not fire for the patient.

    It is the same in every call, and most rows are like this one.
    """
    row = {"card": card, "version": version, "hash": content_hash[:16], "outcome": _NOT_FIRED, "applies": applied}
    return msgspec.Raw(msgspec.json.encode(row, order="deterministic"))


def _row(decision: Decision, hashed: Pseudonyms, described: dict[int, Row], now: datetime) -> Row | msgspec.Raw:
    """Return the row of one decision; evidence of cards that did not fire stands in the call's facts."""
    card = decision.card
    if decision.outcome is _NOT_FIRED and decision.order is None and not decision.unknown:
        return _row_of_silent(card.id, card.file.version, card.hash, not card.file.for_each)
    findings = decision.findings
    row: Row = {
        "card": card.id,
        "version": card.file.version,
        "hash": card.hash[:16],
        "outcome": decision.outcome,
        "applies": applies(decision),
    }
    if decision.outcome not in (Outcome.NOT_FIRED, Outcome.NOT_APPLICABLE):
        row["evidence"] = _evidence(decision, hashed, described, now)
    if decision.unknown:
        row["missing"] = [{"name": name, "cause": findings[name].cause, "note": findings[name].note} for name in decision.unknown]
    if decision.order is not None:
        row["order_key"] = hashed.order(decision.order)
    if decision.row >= 0:
        row["row"] = decision.row
    for field in ("reason", "gave_way_to", "repeats", "error"):
        if value := getattr(decision, field):
            row[field] = value
    return row


def _evidence(decision: Decision, hashed: Pseudonyms, described: dict[int, Row], now: datetime) -> list[Row]:
    """Return each piece of evidence once, with the criteria that used it."""
    used: dict[int, tuple[Evidence, list[str]]] = {}
    groups = decision.card.groups
    for name, finding in decision.findings.evaluated(decision.card.criteria):
        if finding.evidence and name not in groups:
            for item in finding.evidence:
                used.setdefault(id(item), (item, []))[1].append(name)
    return [
        {"criteria": names, **(described.get(key) or described.setdefault(key, _described(item, hashed, now)))}
        for key, (item, names) in used.items()
    ]


def _described(item: Evidence, hashed: Pseudonyms, now: datetime) -> Row:
    match item:
        case Lab():
            return {
                "analyte": item.analyte,
                "value": str(item.value),
                "unit": item.canonical_unit,
                "reported": f"{item.comparator}{item.reported_value} {item.reported_unit}",
                **_time("effective", item.effective, now),
                "code": item.code,
                "ref": hashed("resource", item.reference),
                "source": item.source,
            }
        case Drug():
            return {**_drug(item, now), "ref": hashed("resource", item.reference), "source": item.source}
        case Order():
            row: Row = {"order_key": hashed.order(item), "action": item.action, "source": "draftOrders"}
            if item.drug is not None:
                row |= _drug(item.drug, now)
                if item.drug.daily_dose_mg is not None:
                    row["mg_per_day"] = str(item.drug.daily_dose_mg)
            return row
        case Problem():
            ref = hashed("resource", item.reference)
            return {"text": item.text, "code": item.code, **_time("onset", item.onset, now), "ref": ref, "source": item.source}
        case Allergy():
            ref = hashed("resource", item.reference)
            return {"text": item.text, "code": item.code, "reaction": item.reaction, "ref": ref, "source": item.source}
        case Patient():
            return {"source": "patient"}


def _drug(drug: Drug, now: datetime) -> Row:
    row: Row = {"drug": drug.text, "code": drug.code, "by": drug.recognised_by, "class": sorted(drug.classes)}
    if drug.route:
        row["route"] = drug.route
    return row | _time("effective", drug.started, now)


def _time(name: str, when: When | None, now: datetime) -> Row:
    """Return a date as it was sent, and its age in seconds at the evaluation, counted from the first instant it can mean."""
    return {} if when is None else {name: when.text, "age_s": int((now - when.start).total_seconds())}
