"""Make the rows of a call's decisions for the alert log: outcome, truths, evidence, missing data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.criteria.facts import Allergy, Drug, Facts, Lab, Order, Patient, Problem, When
from cds_service.criteria.findings import Evidence, Truth
from cds_service.criteria.lab import LabCriterion
from cds_service.decide.decision import Decision, Outcome
from cds_service.knowledge.knowledge import Card

_WORDS = {truth: truth.name.lower() for truth in Truth}
_NOT_FIRED = Outcome.NOT_FIRED  # as a module name, because looking a member up in its enumeration is slow

_encoder = msgspec.json.Encoder(decimal_format="string", order="deterministic")

Row = dict[str, Any]


def evaluations_json(decisions: Sequence[Decision], hashed: Pseudonyms, facts: Facts) -> bytes:
    """Return `evaluation_rows` as a body holds them: equal decisions give equal bytes."""
    return _encoder.encode(evaluation_rows(decisions, hashed, facts))


def evaluation_rows(decisions: Sequence[Decision], hashed: Pseudonyms, facts: Facts) -> list[Row | msgspec.Raw]:
    """Return the truths of all criteria, then one row for each decision, ready for JSON with sorted members.

    `facts`: that the decisions are made of.
    """
    described = _Described(hashed, facts)
    return _truths(decisions, hashed) + [_row(decision, hashed, described) for decision in decisions]


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


def _row(decision: Decision, hashed: Pseudonyms, described: _Described) -> Row | msgspec.Raw:
    """Return the row of one decision; evidence of cards that did not fire stands in the call's facts."""
    card = decision.card
    if decision.outcome is _NOT_FIRED and decision.order is None and not decision.unknown:
        return _row_of_silent(card.id, card.file.version, card.hash, not card.file.for_each)
    row: Row = {
        "card": card.id,
        "version": card.file.version,
        "hash": card.hash[:16],
        "outcome": decision.outcome,
        "applies": applies(decision),
    }
    if decision.outcome not in (Outcome.NOT_FIRED, Outcome.NOT_APPLICABLE):
        row["evidence"] = _evidence(decision, described)
    if decision.unknown:
        row["missing"] = [described.missing(decision, name) for name in decision.unknown]
    if decision.order is not None:
        row["order_key"] = hashed.order(decision.order)
    if decision.row >= 0:
        row["row"] = decision.row
    for field in ("reason", "gave_way_to", "repeats", "error"):
        if value := getattr(decision, field):
            row[field] = value
    return row


def _evidence(decision: Decision, described: _Described) -> list[Row]:
    """Return each piece of evidence once, with the criteria that used it."""
    used: dict[int, tuple[Evidence, list[str]]] = {}
    groups = decision.card.groups
    for name, finding in decision.findings.evaluated(decision.card.criteria):
        if finding.evidence and name not in groups:
            for item in finding.evidence:
                used.setdefault(id(item), (item, []))[1].append(name)
    return [{"criteria": names, **described.evidence(item)} for item, names in used.values()]


@lru_cache(maxsize=10_000)  # more than there are pairs
def _lab_of(card: Card, name: str) -> LabCriterion | None:
    """Return the criterion if it is one of a laboratory result, of a group the first such member; None for others."""
    members = (card.criteria[one] for one in card.members[name])
    return next((one for one in members if isinstance(one, LabCriterion)), None)


class _Described:
    """Describe evidence, and what was missing, with the age of each datum in seconds at the evaluation."""

    def __init__(self, hashed: Pseudonyms, facts: Facts) -> None:
        self._hashed = hashed
        self._facts = facts
        self._known: dict[int, Row] = {}  # by identity: several criteria and cards use the same result

    def evidence(self, item: Evidence) -> Row:
        """Return a datum with its code, time and place."""
        known = self._known.get(id(item))
        if known is None:
            known = self._known[id(item)] = self._describe(item)
        return known

    def missing(self, decision: Decision, name: str) -> Row:
        """Return what was unknown and why; of a result that must be recent, how recent and how old the newest one was."""
        finding = decision.findings[name]
        row: Row = {"name": name, "cause": finding.cause, "note": finding.note}
        if (lab := _lab_of(decision.card, name)) is not None:
            row["allowed_days"] = lab.within_days
            series = self._facts.labs.get(lab.analyte)
            if series is not None and series.results:
                row["found_age_s"] = self._age(series.results[0].effective)
        return row

    def _describe(self, item: Evidence) -> Row:
        match item:
            case Lab():
                return {
                    "analyte": item.analyte,
                    "value": str(item.value),
                    "unit": item.canonical_unit,
                    "reported": f"{item.comparator}{item.reported_value} {item.reported_unit}",
                    **self._time("effective", item.effective),
                    "code": item.code,
                    **self._place(item, "value"),
                }
            case Drug():
                return {**self._drug(item), **self._place(item, "medication")}
            case Order():
                path = f"context.draftOrders.entry.resource.ofType({item.resource_type})"
                row: Row = {"order_key": self._hashed.order(item), "action": item.action, "source": "draftOrders", "path": path}
                if item.drug is not None:
                    row |= self._drug(item.drug)
                    if item.drug.daily_dose_mg is not None:
                        row["mg_per_day"] = str(item.drug.daily_dose_mg)
                return row
            case Problem():
                row = {"text": item.text, "code": item.code, **self._time("onset", item.onset)}
                return {**row, **self._place(item, "code")}
            case Allergy():
                row = {"text": item.text, "code": item.code, "reaction": item.reaction}
                return {**row, **self._place(item, "code")}
            case Patient():
                return {"source": "patient", "path": self._path("patient", "Patient")}

    def _drug(self, drug: Drug) -> Row:
        row: Row = {"drug": drug.text, "code": drug.code, "by": drug.recognised_by, "class": sorted(drug.classes)}
        if drug.route:
            row["route"] = drug.route
        return row | self._time("effective", drug.started)

    def _time(self, name: str, when: When | None) -> Row:
        """Return a date as it was sent, with its age, counted from the first instant that it can mean."""
        return {} if when is None else {name: when.text, "age_s": self._age(when)}

    def _age(self, when: When) -> int:
        return int((self._facts.now - when.start).total_seconds())

    def _place(self, item: Lab | Drug | Problem | Allergy, element: str) -> Row:
        """Return the resource's hashed reference, its source, and the FHIRPath of the element; `ref` says which resource."""
        kind = item.reference.partition("/")[0] or "Resource"
        path = f"{self._path(item.source, kind)}.{element}"
        return {"ref": self._hashed("resource", item.reference), "source": item.source, "path": path}

    def _path(self, source: str, kind: str) -> str:
        known = self._facts.sources.get(source)
        place = f"{known.origin if known is not None else 'context'}.{source}"  # draft orders are no source
        return place if kind == "Patient" else f"{place}.entry.resource.ofType({kind})"
