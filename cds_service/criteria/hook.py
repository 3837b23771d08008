"""Evaluate the criterion `hook`: the moment in the workflow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.fact_index import FactIndex, Trait
from cds_service.criteria.facts import Facts
from cds_service.criteria.findings import MET, UNMET, Finding, Truth
from cds_service.criteria.kind import MET_OR_UNMET, Kind, Known, Names, Needs, Used
from cds_service.criteria.wording import alternatives


class HookCriterion(Kind, frozen=True, tag="hook", kw_only=True):
    """The moment in the workflow."""

    hooks: list[Literal["patient-view", "order-select", "order-sign"]]

    def find(self, index: FactIndex, evaluator: Evaluator) -> Finding:
        return MET if index.facts.hook in self.hooks else UNMET

    @property
    def looks_for(self) -> frozenset[Trait]:
        return frozenset()

    def sentence(self, names: Names) -> str:
        return f"the moment is {alternatives(self.hooks)}"

    def names_used(self, known: Known) -> Iterable[Used]:
        return ()

    def needs(self) -> Needs:
        return Needs()

    def looked_through(self, facts: Facts) -> str:
        return f"this is {facts.hook}"

    @property
    def truths_in_cases(self) -> tuple[Truth, ...]:
        return MET_OR_UNMET
