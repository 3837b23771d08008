"""Evaluate the criterion `jurisdiction`: the country of the site."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.fact_index import FactIndex, Trait
from cds_service.criteria.facts import Facts
from cds_service.criteria.findings import MET, UNMET, Finding, Truth
from cds_service.criteria.kind import MET_OR_UNMET, Kind, Known, Names, Needs, Used


class JurisdictionCriterion(Kind, frozen=True, tag="jurisdiction", kw_only=True):
    """The country whose licence and wording apply (a setting of the site)."""

    country: Literal["US", "GB"]

    def find(self, index: FactIndex, evaluator: Evaluator) -> Finding:
        return MET if index.facts.jurisdiction == self.country else UNMET

    @property
    def looks_for(self) -> frozenset[Trait]:
        return frozenset()

    def sentence(self, names: Names) -> str:
        return f"the site is in {self.country}"

    def names_used(self, known: Known) -> Iterable[Used]:
        return ()

    def needs(self) -> Needs:
        return Needs()

    def looked_through(self, facts: Facts) -> str:
        return f"this site is in {facts.jurisdiction}"

    @property
    def truths_in_cases(self) -> tuple[Truth, ...]:
        return MET_OR_UNMET
