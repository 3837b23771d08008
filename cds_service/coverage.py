"""How much of the knowledge its cases exercise: what no case has ever shown could be wrong without anybody noticing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from cds_service.cases import Run
from cds_service.criteria.facts import Facts, Lab, Order
from cds_service.criteria.findings import Finding, Truth
from cds_service.criteria.kinds import (
    AgeCriterion,
    Composite,
    Criterion,
    DoseCriterion,
    HookCriterion,
    JurisdictionCriterion,
    LabCriterion,
    ReasonCriterion,
)
from cds_service.decision import Outcome
from cds_service.knowledge import Knowledge
from cds_service.present import holds

CLOSE = Decimal("0.1")  # "just beside" a threshold: within a tenth of it


class Coverage:
    """Collects what runs of cases have shown, and tells what is missing."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        self._truths: dict[str, set[Truth]] = {}
        self._values: dict[str, set[tuple[Decimal, Truth]]] = {}
        self._rows: set[tuple[str, int]] = set()
        self._paragraphs: set[tuple[str, int]] = set()
        self._suggestions: set[tuple[str, str]] = set()
        self._outcomes: dict[str, set[str]] = {}

    def add(self, runs: Iterable[Run]) -> None:
        for run in runs:
            if run.evaluation is None:
                continue
            for decision in run.decisions:
                card = decision.card
                for name, criterion in card.criteria.items():
                    finding = decision.findings[name]
                    self._truths.setdefault(name, set()).add(finding.truth)
                    if (value := _value(criterion, finding, run.evaluation.facts, decision.order)) is not None:
                        self._values.setdefault(name, set()).add((value, finding.truth))
                self._outcomes.setdefault(card.id, set()).add("fired" if decision.outcome is Outcome.FIRED else "silent")
                if decision.outcome is Outcome.FIRED:
                    self._rows.add((card.id, decision.row))
                    for position, item in enumerate(card.file.detail):
                        if holds(decision.findings, item.when, item.unless):
                            self._paragraphs.add((card.id, position))
                    for suggestion in card.file.suggestions:
                        if holds(decision.findings, suggestion.when, suggestion.unless):
                            self._suggestions.add((card.id, suggestion.id))

    def missing(self) -> Iterator[str]:
        """What no case has shown, a sentence each."""
        used = {name: criterion for card in self._knowledge.cards for name, criterion in card.criteria.items()}
        for name, criterion in used.items():
            seen = self._truths.get(name, set())
            for truth in _possible(criterion, used):
                if truth not in seen:
                    yield f"criterion {name} is never {truth.name.lower()}"
            for threshold in _thresholds(criterion):
                values = self._values.get(name, set())
                at = {truth for value, truth in values if value == threshold}
                beside = {truth for value, truth in values if value != threshold and abs(value - threshold) <= CLOSE * threshold}
                if not at:
                    yield f"threshold {threshold} of {name} is never hit exactly"
                elif not any(one is not other for one in at for other in beside):
                    yield f"threshold {threshold} of {name} is never just missed on the other side"
        for card in self._knowledge.cards:
            yield from (
                f"{card.id} is never {wanted}" for wanted in ("fired", "silent") if wanted not in self._outcomes.get(card.id, ())
            )
            yield from (
                f"{card.id}: row {row} is never reached"
                for row in range(len(card.file.table))
                if (card.id, row) not in self._rows
            )
            for position, item in enumerate(card.file.detail):
                if (card.id, position) not in self._paragraphs:
                    yield f"{card.id}: paragraph {position} is never shown ({item.text[:40]}...)"
            for suggestion in card.file.suggestions:
                if (card.id, suggestion.id) not in self._suggestions:
                    yield f"{card.id}: suggestion {suggestion.id} is never offered"


def _possible(criterion: Criterion, used: dict[str, Criterion]) -> list[Truth]:
    """The truths that a criterion can have: some never lack data."""
    if isinstance(criterion, HookCriterion | JurisdictionCriterion | ReasonCriterion):
        return [Truth.MET, Truth.UNMET]
    if isinstance(criterion, Composite) and all(
        isinstance(used[name], HookCriterion | JurisdictionCriterion | ReasonCriterion) for name in criterion.children
    ):
        return [Truth.MET, Truth.UNMET]
    if isinstance(criterion, LabCriterion) and criterion.at_least == 0:
        return [Truth.MET, Truth.UNKNOWN]  # "is known"
    return list(Truth)


def _thresholds(criterion: Criterion) -> list[Decimal]:
    limits: tuple[Decimal | None, ...]
    match criterion:
        case LabCriterion():
            limits = (criterion.below, criterion.at_most, criterion.above, criterion.at_least)
        case DoseCriterion():
            limits = (criterion.above, criterion.at_least)
        case AgeCriterion():
            limits = tuple(None if limit is None else Decimal(limit) for limit in (criterion.below, criterion.at_least))
        case _:
            return []
    return [limit for limit in limits if limit]


def _value(criterion: Criterion, finding: Finding, facts: Facts, order: Order | None) -> Decimal | None:
    """The number that a criterion compared."""
    match criterion:
        case LabCriterion():
            return next((item.value for item in finding.evidence if isinstance(item, Lab)), None)
        case AgeCriterion():
            return None if facts.age_years is None else Decimal(facts.age_years)
        case DoseCriterion():
            return order.drug.daily_dose_mg if order is not None and order.drug is not None else None
        case _:
            return None
