"""Prepare what criteria find and cards decide in a chart without any facts.

Most criteria of an ordinary call look for something that its chart does not have, such as a drug that the patient does not take.
Each of them finds what it finds in an empty chart, and a card that looks at such criteria only decides what it decides there.
Both are evaluated once, by the code that evaluates a call. `Kind.looks_for` says what else a criterion can look at.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, NamedTuple

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.fact_index import FactIndex, Trait
from cds_service.criteria.facts import SOURCES, Facts, Patient, Source, SourceState
from cds_service.criteria.findings import Finding
from cds_service.decide.decision import NOT_FIRED
from cds_service.decide.one_card import judge_safely
from cds_service.knowledge.knowledge import Knowledge

_EMPTY = Source(SourceState.EMPTY, "prefetch")
_ANY_DAY = datetime(2000, 1, 1, tzinfo=UTC)  # nothing in an empty chart has a date


class Silent(NamedTuple):
    """How a card that does not fire in an empty chart came to that."""

    findings: dict[str, Finding]  # of all criteria that it looked at, by name
    unknown: tuple[str, ...]  # see `Decision.unknown`


class EmptyChart:
    """The findings and decisions of one hook in one country.

    Attributes:
        findings: those of criteria without members, by name.
        silent: the cards that do not fire, by id.
    """

    def __init__(self, knowledge: Knowledge, hook: str, jurisdiction: Literal["US", "GB"]) -> None:
        """Evaluate all criteria and cards of the hook. One that raises is evaluated in each call, where that is counted."""
        raised: set[str] = set()

        def note(name: str, _: Exception) -> None:
            raised.add(name)

        facts = Facts(_ANY_DAY, hook, jurisdiction, Patient(""), dict.fromkeys((*SOURCES, "orders"), _EMPTY))
        index = FactIndex(facts)

        def evaluator() -> Evaluator:
            return Evaluator(index, knowledge.criteria, knowledge.per_order, note)

        whole = evaluator()
        self.findings = {name: whole[name] for name, criterion in knowledge.criteria.items() if not criterion.children}
        self.silent: dict[str, Silent] = {}
        for card in knowledge.cards_at(hook):
            own = evaluator()
            decision = judge_safely(card, own, None, hook, note)
            if decision.outcome is NOT_FIRED:
                self.silent[card.id] = Silent(dict(own), decision.unknown)
        self._always = frozenset(
            name for name, criterion in knowledge.criteria.items() if name in raised or criterion.looks_for is None
        )
        looking: dict[Trait, set[str]] = {}
        for name, criterion in knowledge.criteria.items():
            for trait in criterion.looks_for or ():
                looking.setdefault(trait, set()).add(name)
        self._looking = {trait: frozenset(names) for trait, names in looking.items()}

    def to_look(self, traits: Iterable[Trait]) -> frozenset[str]:
        """Return the names of criteria without members that may find another than here, in facts with these traits."""
        looking = self._looking
        return self._always.union(*[looking[trait] for trait in traits if trait in looking])


@lru_cache(maxsize=12)  # three hooks, and in tests several knowledges
def empty_chart(knowledge: Knowledge, hook: str, jurisdiction: Literal["US", "GB"]) -> EmptyChart:
    """Return the prepared empty chart."""
    return EmptyChart(knowledge, hook, jurisdiction)
