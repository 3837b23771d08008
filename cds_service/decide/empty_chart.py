"""Prepare what criteria find and cards decide in a chart without any facts.

Most criteria of an ordinary call look for something that its chart does not have, such as a drug that the patient does not take.
Each of them finds what it finds in an empty chart, and a card that looks at such criteria only decides what it decides there.
Both are evaluated once, by the code that evaluates a call. `Kind.looks_for` says what else a criterion can look at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache, reduce
from operator import or_
from typing import Literal

import msgspec

from cds_service.criteria.evaluator import Evaluator, Prepared
from cds_service.criteria.fact_index import FactIndex, Trait
from cds_service.criteria.facts import SOURCES, Facts, Patient, Source, SourceState
from cds_service.criteria.findings import Finding
from cds_service.decide.decision import NOT_FIRED
from cds_service.decide.one_card import judge_safely
from cds_service.knowledge.knowledge import Knowledge

_EMPTY = Source(SourceState.EMPTY, "prefetch")
_ALWAYS = 1  # the bit that all facts have: of criteria that do not say what they look for, and of those that raise
_ANY_DAY = datetime(2000, 1, 1, tzinfo=UTC)  # nothing in an empty chart has a date


class Silent(msgspec.Struct, frozen=True):
    """How a card that does not fire in an empty chart came to that."""

    findings: Mapping[str, Finding]  # of all criteria that it looked at, by name
    looks_for: int  # traits, as bits; those of all these criteria
    unknown: tuple[str, ...]  # see `Decision.unknown`


class EmptyChart:
    """The findings and decisions of one hook in one country.

    Attributes:
        prepared: the findings of criteria, by name.
        silent: the cards that do not fire, by id.
    """

    def __init__(self, knowledge: Knowledge, hook: str, jurisdiction: Literal["US", "GB"]) -> None:
        """Evaluate all criteria and cards of the hook. One that raises is evaluated in each call, where that is counted."""
        raised: set[str] = set()

        def note(name: str, _: Exception) -> None:
            raised.add(name)

        facts = Facts(_ANY_DAY, hook, jurisdiction, Patient(""), dict.fromkeys((*SOURCES, "orders"), _EMPTY))
        index = FactIndex(facts)

        self.prepared: dict[str, Prepared] = {}

        def evaluator() -> Evaluator:  # takes what is prepared so far
            return Evaluator(index, knowledge.criteria, knowledge.per_order, note, self.prepared)

        sought = {name: criterion.looks_for for name, criterion in knowledge.criteria.items()}
        traits = frozenset(trait for looks_for in sought.values() for trait in looks_for or ())
        self._bits = {trait: _ALWAYS << position for position, trait in enumerate(traits, 1)}
        own_bits = {name: _ALWAYS if looks_for is None else self._of(looks_for) for name, looks_for in sought.items()}

        def looked_for(names: Collection[str]) -> int:
            return reduce(or_, [own_bits[name] for name in names], 0 if raised.isdisjoint(names) else _ALWAYS)

        for name in knowledge.criteria:
            patient = evaluator()
            own = patient.for_unread_orders()
            finding = own[name]
            reached = {**patient, **own}
            self.prepared[name] = Prepared(finding, looked_for(reached), reached, dict(patient))
        self.silent: dict[str, Silent] = {}
        for card in knowledge.cards_at(hook):
            findings = evaluator()
            decision = judge_safely(card, findings, None, hook, note)
            if decision.outcome is NOT_FIRED:
                self.silent[card.id] = Silent(dict(findings), looked_for(findings), decision.unknown)

    def bits(self, traits: Iterable[Trait]) -> int:
        """Return the traits of facts as the bits of one number."""
        return _ALWAYS | self._of(traits)

    def _of(self, traits: Iterable[Trait]) -> int:
        found = 0
        for trait in traits:
            found |= self._bits.get(trait, 0)
        return found


@lru_cache(maxsize=12)  # three hooks, and in tests several knowledges
def empty_chart(knowledge: Knowledge, hook: str, jurisdiction: Literal["US", "GB"]) -> EmptyChart:
    """Return the prepared empty chart."""
    return EmptyChart(knowledge, hook, jurisdiction)
