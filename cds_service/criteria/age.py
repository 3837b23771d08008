"""Evaluate the criterion `age`: the patient's completed years."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import ClassVar

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.fact_index import FactIndex
from cds_service.criteria.facts import Facts, Order
from cds_service.criteria.findings import IS_MET, IS_UNKNOWN, IS_UNMET, Cause, Finding
from cds_service.criteria.kind import Kind, Known, Names, Needs, Used


class AgeCriterion(Kind, frozen=True, tag="age", kw_only=True):
    """Completed years at the time of the request."""

    placeholders: ClassVar[frozenset[str]] = frozenset({"years"})
    unit_of_numbers: ClassVar[str] = "years"

    below: int | None = None
    at_least: int | None = None

    def find(self, index: FactIndex, evaluator: Evaluator) -> Finding:
        age = index.facts.age_years
        if age is None:
            cause: Cause = "not_recorded" if index.facts.sources["patient"].complete else "not_obtained"
            return Finding(IS_UNKNOWN, (), cause, "the age is not known")
        met = (self.below is None or age < self.below) and (self.at_least is None or age >= self.at_least)
        return Finding(IS_MET if met else IS_UNMET, (index.facts.patient,))

    def sentence(self, names: Names) -> str:
        limits = [f"under {self.below} years"] if self.below is not None else []
        return " and ".join(limits + ([f"{self.at_least} years or older"] if self.at_least is not None else []))

    def names_used(self, known: Known) -> Iterable[Used]:
        return ()

    def needs(self) -> Needs:
        return Needs(frozenset({"patient"}))

    def looked_through(self, facts: Facts) -> str:
        return "" if facts.age_years is None else f"{facts.age_years} years"

    @property
    def limits(self) -> list[Decimal]:
        return [Decimal(limit) for limit in (self.below, self.at_least) if limit]

    def compared(self, finding: Finding, facts: Facts, order: Order | None) -> Decimal | None:
        return None if facts.age_years is None else Decimal(facts.age_years)
