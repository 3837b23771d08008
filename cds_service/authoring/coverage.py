"""Measure how much of the knowledge its cases exercise.

What no case shows could be wrong unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from cds_service.authoring.cases import Run
from cds_service.criteria.findings import Truth, conditions, hold
from cds_service.criteria.kind import MET_OR_UNMET
from cds_service.criteria.kinds import Criterion
from cds_service.decide.decision import Outcome
from cds_service.knowledge.knowledge import Knowledge

CLOSE = Decimal("0.1")  # "just beside" a threshold: within a tenth of it


class Coverage:
    """Collect what runs of cases have shown, and report what is missing."""

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
                    if (value := criterion.compared(finding, run.evaluation.facts, decision.order)) is not None:
                        self._values.setdefault(name, set()).add((value, finding.truth))
                self._outcomes.setdefault(card.id, set()).add("fired" if decision.outcome is Outcome.FIRED else "silent")
                if decision.outcome is Outcome.FIRED:
                    self._rows.add((card.id, decision.row))
                    for position, item in enumerate(card.file.detail):
                        if hold(conditions(item.when, item.unless), decision.findings):
                            self._paragraphs.add((card.id, position))
                    for suggestion in card.file.suggestions:
                        if hold(conditions(suggestion.when, suggestion.unless), decision.findings):
                            self._suggestions.add((card.id, suggestion.id))

    def missing(self) -> Iterator[str]:
        """Yield a sentence for each thing that no case has shown."""
        used = {name: criterion for card in self._knowledge.cards for name, criterion in card.criteria.items()}
        for name, criterion in used.items():
            shown = self._truths.get(name, set())
            for truth in _to_show(criterion, used):
                if truth not in shown:
                    yield f"criterion {name} is never {truth.name.lower()}"
            for threshold in criterion.limits:
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


def _to_show(criterion: Criterion, used: Mapping[str, Criterion]) -> tuple[Truth, ...]:
    """Return the truths that cases must show.

    A group is never unknown where none of its members is.
    """
    if criterion.children and not any(Truth.UNKNOWN in used[name].truths_in_cases for name in criterion.children):
        return MET_OR_UNMET
    return criterion.truths_in_cases
