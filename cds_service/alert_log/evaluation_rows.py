"""Make the rows of a call's decisions for the alert log: outcome, truths, evidence, missing data.

Members of each row stand in alphabetical order, as they are written in the order in which they are defined. A row leaves out what
it does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.criteria.facts import Allergy, Drug, Facts, Lab, Order, Patient, Problem, When
from cds_service.criteria.findings import Cause, Evidence, Truth
from cds_service.criteria.lab import LabCriterion
from cds_service.decide.decision import Decision, Outcome
from cds_service.knowledge.knowledge import Card

_WORDS = {truth: truth.name.lower() for truth in Truth}
_NOT_FIRED = Outcome.NOT_FIRED  # as a module name, because looking a member up in its enumeration is slow

_encoder = msgspec.json.Encoder(order="deterministic")

Text: TypeAlias = str | UnsetType
Number: TypeAlias = int | UnsetType


class TruthsRow(msgspec.Struct, gc=False):
    """The truths of the criteria that were evaluated for the patient, or for one order."""

    card: str
    criteria: dict[str, str]
    order_key: str  # "" for the patient


class EvidenceRow(msgspec.Struct, kw_only=True, gc=False, rename={"classes": "class"}):
    """One datum with its code, time and place, and the criteria that used it."""

    action: Text = UNSET
    age_s: Number = UNSET
    analyte: Text = UNSET
    by: Text = UNSET
    classes: list[str] | UnsetType = UNSET
    code: Text = UNSET
    criteria: list[str] | UnsetType = UNSET
    drug: Text = UNSET
    effective: Text = UNSET
    mg_per_day: Text = UNSET
    onset: Text = UNSET
    order_key: Text = UNSET
    path: Text = UNSET  # FHIRPath
    reaction: Text = UNSET
    ref: Text = UNSET  # hashed reference of the resource
    reported: Text = UNSET
    route: Text = UNSET
    source: Text = UNSET
    text: Text = UNSET
    unit: Text = UNSET
    value: Text = UNSET


class UnknownRow(msgspec.Struct, kw_only=True, gc=False):
    """A criterion that was unknown, and why; of a result that must be recent, how recent and how old the newest one was."""

    allowed_days: int | UnsetType = UNSET
    cause: Cause
    found_age_s: Number = UNSET
    name: str
    note: str


class DecisionRow(msgspec.Struct, kw_only=True, gc=False):
    """One decision; evidence of cards that did not fire stands in the call's facts."""

    applies: bool
    card: str
    error: Text = UNSET
    evidence: list[EvidenceRow] | UnsetType = UNSET
    gave_way_to: Text = UNSET
    hash: str
    missing: list[UnknownRow] | UnsetType = UNSET
    order_key: Text = UNSET
    outcome: Outcome
    reason: Text = UNSET
    repeats: Text = UNSET
    row: Number = UNSET
    version: str


def evaluations_json(decisions: Sequence[Decision], hashed: Pseudonyms, facts: Facts) -> bytes:
    """Return the truths of all criteria, then one row for each decision, as a body holds them.

    Equal decisions give equal bytes. `facts`: that the decisions are made of.
    """
    described = _Described(hashed, facts)
    return _encoder.encode((*_truths(decisions, hashed), *(_row(decision, hashed, described) for decision in decisions)))


def applies(decision: Decision) -> bool:
    """Say whether the card was about this call: not where it is about orders and there was none of its kind."""
    if decision.outcome is _NOT_FIRED:
        return decision.order is not None or not decision.card.file.for_each
    return decision.outcome is not Outcome.NOT_APPLICABLE


def _truths(decisions: Iterable[Decision], hashed: Pseudonyms) -> list[TruthsRow]:
    """Return the truth of each evaluated criterion: one entry for the patient and one for each order.

    Their `card` is "*", because cards share criteria. A criterion that stands in neither was not needed for the decision.
    """
    of_cards = {id(one.findings): one.findings for one in decisions}
    distinct = {id(findings): findings for one in of_cards.values() for findings in (one.for_patient, one)}
    return [
        TruthsRow(
            card="*",
            criteria={name: _WORDS[finding.truth] for name, finding in findings.own()},
            order_key=hashed.order(findings.order) if findings.order is not None else "",
        )
        for findings in distinct.values()
    ]


@lru_cache(maxsize=1000)  # far more than there are cards
def _row_of_silent(card: Card) -> msgspec.Raw:
    """Return the encoded row of a card that did not fire for the patient.

    It is the same in every call, and most rows are like this one.
    """
    file = card.file
    row = DecisionRow(applies=not file.for_each, card=card.id, hash=card.hash[:16], outcome=_NOT_FIRED, version=file.version)
    return msgspec.Raw(_encoder.encode(row))


def _row(decision: Decision, hashed: Pseudonyms, described: _Described) -> DecisionRow | msgspec.Raw:
    card = decision.card
    if decision.outcome is _NOT_FIRED and decision.order is None and not decision.unknown:
        return _row_of_silent(card)
    concerned = decision.outcome not in (Outcome.NOT_FIRED, Outcome.NOT_APPLICABLE)
    return DecisionRow(
        applies=applies(decision),
        card=card.id,
        error=decision.error or UNSET,
        evidence=_evidence(decision, described) if concerned else UNSET,
        gave_way_to=decision.gave_way_to or UNSET,
        hash=card.hash[:16],
        missing=[described.missing(decision, name) for name in decision.unknown] or UNSET,
        order_key=hashed.order(decision.order) if decision.order is not None else UNSET,
        outcome=decision.outcome,
        reason=decision.reason or UNSET,
        repeats=decision.repeats or UNSET,
        row=decision.row if decision.row >= 0 else UNSET,
        version=card.file.version,
    )


def _evidence(decision: Decision, described: _Described) -> list[EvidenceRow]:
    """Return each piece of evidence once, with the criteria that used it."""
    used: dict[int, tuple[Evidence, list[str]]] = {}
    groups = decision.card.groups
    for name, finding in decision.findings.evaluated(decision.card.criteria):
        if finding.evidence and name not in groups:
            for item in finding.evidence:
                used.setdefault(id(item), (item, []))[1].append(name)
    return [msgspec.structs.replace(described.evidence(item), criteria=names) for item, names in used.values()]


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
        self._known: dict[int, EvidenceRow] = {}  # by identity: several criteria and cards use the same result

    def evidence(self, item: Evidence) -> EvidenceRow:
        """Return a datum without the criteria that used it."""
        known = self._known.get(id(item))
        if known is None:
            known = self._known[id(item)] = self._describe(item)
        return known

    def missing(self, decision: Decision, name: str) -> UnknownRow:
        """Return what was unknown and why."""
        finding = decision.findings[name]
        row = UnknownRow(name=name, cause=finding.cause, note=finding.note)
        if (lab := _lab_of(decision.card, name)) is not None:
            row.allowed_days = lab.within_days
            series = self._facts.labs.get(lab.analyte)
            if series is not None and series.results:
                row.found_age_s = self._age(series.results[0].effective)
        return row

    def _describe(self, item: Evidence) -> EvidenceRow:
        match item:
            case Lab():
                return EvidenceRow(
                    age_s=self._age(item.effective),
                    analyte=item.analyte,
                    code=item.code,
                    effective=item.effective.text,
                    path=self._path(item, "value"),
                    ref=self._hashed("resource", item.reference),
                    reported=f"{item.comparator}{item.reported_value} {item.reported_unit}",
                    source=item.source,
                    unit=item.canonical_unit,
                    value=str(item.value),
                )
            case Drug():
                row = self._drug(item)
                row.path = self._path(item, "medication")
                row.ref = self._hashed("resource", item.reference)
                row.source = item.source
                return row
            case Order():
                row = self._drug(item.drug) if item.drug is not None else EvidenceRow()
                row.action = item.action
                row.order_key = self._hashed.order(item)
                row.path = f"context.draftOrders.entry.resource.ofType({item.resource_type})"
                row.source = "draftOrders"
                if item.drug is not None and item.drug.daily_dose_mg is not None:
                    row.mg_per_day = str(item.drug.daily_dose_mg)
                return row
            case Problem() | Allergy():
                row = EvidenceRow(
                    code=item.code,
                    path=self._path(item, "code"),
                    ref=self._hashed("resource", item.reference),
                    source=item.source,
                    text=item.text,
                )
                if isinstance(item, Allergy):
                    row.reaction = item.reaction
                elif item.onset is not None:
                    row.onset, row.age_s = item.onset.text, self._age(item.onset)
                return row
            case Patient():
                return EvidenceRow(path=self._place("patient"), source="patient")

    def _drug(self, drug: Drug) -> EvidenceRow:
        row = EvidenceRow(
            by=drug.recognised_by,
            classes=sorted(drug.classes),
            code=drug.code,
            drug=drug.text,
            route=drug.route or UNSET,
        )
        if drug.started is not None:
            row.effective, row.age_s = drug.started.text, self._age(drug.started)
        return row

    def _age(self, when: When) -> int:
        """Return the age of a date, counted from the first instant that it can mean."""
        return int((self._facts.now - when.start).total_seconds())

    def _path(self, item: Lab | Drug | Problem | Allergy, element: str) -> str:
        """Return the FHIRPath of an element; the row's `ref` says of which resource."""
        kind = item.reference.partition("/")[0] or "Resource"
        place = self._place(item.source)
        return f"{place}.{element}" if kind == "Patient" else f"{place}.entry.resource.ofType({kind}).{element}"

    def _place(self, source: str) -> str:
        known = self._facts.sources.get(source)
        return f"{known.origin if known is not None else 'context'}.{source}"  # draft orders are no source
