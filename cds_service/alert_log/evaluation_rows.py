"""Make the rows of a call's decisions for the alert log: outcome, truths, evidence, missing data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.criteria.facts import Allergy, Drug, Lab, Order, Patient, Problem
from cds_service.criteria.findings import Evidence, Truth
from cds_service.decide.decision import Decision, Outcome

_WORDS = {truth: truth.name.lower() for truth in Truth}
_NOT_FIRED = Outcome.NOT_FIRED  # as a module name, because looking a member up in its enumeration is slow

Row = dict[str, Any]


def evaluation_rows(decisions: Sequence[Decision], hashed: Pseudonyms) -> list[Row | msgspec.Raw]:
    """Return the truths of all criteria, then one row for each decision, ready for JSON with sorted members."""
    described: dict[int, Row] = {}  # evidence by identity: several criteria and cards use the same result
    return _truths(decisions, hashed) + [_row(decision, hashed, described) for decision in decisions]


def _truths(decisions: Iterable[Decision], hashed: Pseudonyms) -> list[Row]:
    """Return the truth of each evaluated criterion: one entry for the patient and one for each order.

    Their `card` is "*", because cards share criteria. A criterion that stands in neither was not needed for the decision.
    """
    distinct = {id(findings): findings for one in decisions for findings in (one.findings.for_patient, one.findings)}
    return [
        {
            "card": "*",
            "order_key": hashed("order", findings.order.key) if findings.order is not None else "",
            "criteria": {name: _WORDS[finding.truth] for name, finding in findings.own()},
        }
        for findings in distinct.values()
    ]


@lru_cache(maxsize=1000)  # far more than there are cards
def _row_of_silent(card: str, version: str, content_hash: str) -> msgspec.Raw:
    """Return the encoded row of a card that did not fire for the patient.

    It is the same in every call, and most rows are like this one.
    """
    row = {"card": card, "version": version, "hash": content_hash[:16], "outcome": _NOT_FIRED}
    return msgspec.Raw(msgspec.json.encode(row, order="deterministic"))


def _row(decision: Decision, hashed: Pseudonyms, described: dict[int, Row]) -> Row | msgspec.Raw:
    """Return the row of one decision; evidence of cards that did not fire stands in the call's facts."""
    card = decision.card
    if decision.outcome is _NOT_FIRED and decision.order is None and not decision.unknown:
        return _row_of_silent(card.id, card.file.version, card.hash)
    findings = decision.findings
    row: Row = {
        "card": card.id,
        "version": card.file.version,
        "hash": card.hash[:16],
        "outcome": decision.outcome,
    }
    if decision.outcome not in (Outcome.NOT_FIRED, Outcome.NOT_APPLICABLE):
        row["evidence"] = _evidence(decision, hashed, described)
    if decision.unknown:
        row["missing"] = [{"name": name, "cause": findings[name].cause, "note": findings[name].note} for name in decision.unknown]
    if decision.order is not None:
        row["order_key"] = hashed("order", decision.order.key)
    if decision.row >= 0:
        row["row"] = decision.row
    for field in ("reason", "gave_way_to", "repeats", "error"):
        if value := getattr(decision, field):
            row[field] = value
    return row


def _evidence(decision: Decision, hashed: Pseudonyms, described: dict[int, Row]) -> list[Row]:
    """Return each piece of evidence once, with the criteria that used it."""
    used: dict[int, tuple[Evidence, list[str]]] = {}
    groups = decision.card.groups
    for name, finding in decision.findings.evaluated(decision.card.criteria):
        if finding.evidence and name not in groups:
            for item in finding.evidence:
                used.setdefault(id(item), (item, []))[1].append(name)
    return [
        {"criteria": names, **(described.get(key) or described.setdefault(key, _described(item, hashed)))}
        for key, (item, names) in used.items()
    ]


def _described(item: Evidence, hashed: Pseudonyms) -> Row:
    match item:
        case Lab():
            return {
                "analyte": item.analyte,
                "value": str(item.value),
                "unit": item.canonical_unit,
                "reported": f"{item.comparator}{item.reported_value} {item.reported_unit}",
                "effective": item.effective.text,
                "code": item.code,
                "ref": hashed("resource", item.reference),
                "source": item.source,
            }
        case Drug():
            ref = hashed("resource", item.reference)
            return {"drug": item.text, "code": item.code, "by": item.recognised_by, "ref": ref, "source": item.source}
        case Order():
            row: Row = {"order_key": hashed("order", item.key), "action": item.action}
            if item.drug is not None:
                row |= {"drug": item.drug.text, "code": item.drug.code, "by": item.drug.recognised_by}
                if item.drug.daily_dose_mg is not None:
                    row["mg_per_day"] = str(item.drug.daily_dose_mg)
            return row
        case Problem() | Allergy():
            return {"text": item.text, "ref": hashed("resource", item.reference), "source": item.source}
        case Patient():
            return {"source": "patient"}
