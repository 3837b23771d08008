"""Evaluate the criterion `dose`: the daily dose of the order."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import ClassVar, Literal

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.fact_index import ANY_ORDER, UNCLEAR_ORDERS, FactIndex, Trait
from cds_service.criteria.facts import Facts, Order
from cds_service.criteria.findings import IS_MET, IS_UNKNOWN, IS_UNMET, UNMET, Finding
from cds_service.criteria.kind import Kind, Known, Names, Needs, Used


class DoseCriterion(Kind, frozen=True, tag="dose", kw_only=True):
    """The daily dose of the order that the card is about, in mg/day."""

    placeholders: ClassVar[frozenset[str]] = frozenset({"dose"})

    above: Decimal | None = None
    at_least: Decimal | None = None
    unit: Literal["mg/day"] = "mg/day"

    @property
    def per_order(self) -> bool:
        return True

    def find(self, index: FactIndex, evaluator: Evaluator) -> Finding:
        order = evaluator.order
        if order is None:
            return evaluator.order_absent
        if order.drug is None:
            return UNMET
        dose = order.drug.daily_dose_mg
        if dose is None:
            return Finding(IS_UNKNOWN, (order,), "not_readable", "the daily dose of the order could not be read")
        met = (self.above is not None and dose > self.above) or (self.at_least is not None and dose >= self.at_least)
        return Finding(IS_MET if met else IS_UNMET, (order,))

    @property
    def looks_for(self) -> frozenset[Trait]:
        return frozenset({ANY_ORDER, UNCLEAR_ORDERS})

    def sentence(self, names: Names) -> str:
        limit = f"above {self.above}" if self.above is not None else f"of at least {self.at_least}"
        return f"an ordered daily dose {limit} {self.unit}"

    def names_used(self, known: Known) -> Iterable[Used]:
        return ()

    def needs(self) -> Needs:
        return Needs()  # the order comes with the call

    @property
    def limits(self) -> list[Decimal]:
        return [limit for limit in (self.above, self.at_least) if limit]

    def compared(self, finding: Finding, facts: Facts, order: Order | None) -> Decimal | None:
        return order.drug.daily_dose_mg if order is not None and order.drug is not None else None
