"""Evaluate the criterion `reason`: the stated reason of an order or medication."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.fact_index import (
    STATED_REASON,
    UNCLEAR_DRUGS,
    UNCLEAR_ORDERS,
    UNREAD_REASON,
    FactIndex,
    Trait,
)
from cds_service.criteria.facts import Drug, Facts
from cds_service.criteria.findings import IS_MET, IS_UNKNOWN, UNMET, Finding, Truth
from cds_service.criteria.kind import MEDICATIONS, MET_OR_UNMET, Kind, Known, Names, Needs, Used
from cds_service.criteria.wording import alternatives


class ReasonCriterion(Kind, frozen=True, tag="reason", kw_only=True):
    """The stated reason of an order or of an active medication, by text pattern or by the problem that it refers to.

    With `stated` any reason counts. A reason that refers to a condition which was not sent makes it unknown: of orders, and of
    medications in `of_classes`.
    """

    placeholders: ClassVar[frozenset[str]] = frozenset({"names"})

    patterns: list[str] = []
    sets: list[str] = []
    stated: bool = False
    of: Literal["order", "order or medication"] = "order"
    of_classes: list[str] = []  # only medications and orders of these classes; all where empty

    @property
    def per_order(self) -> bool:
        return self.of == "order"

    def find(self, index: FactIndex, evaluator: Evaluator) -> Finding:
        ordered = [order.drug for order in evaluator.orders if order.drug is not None]
        drugs: Iterable[Drug] = ordered if self.of == "order" else [*ordered, *index.facts.drugs]
        matching = [drug for drug in drugs if (drug.reason_stated or drug.reasons or drug.reason_sets) and self._fits(drug)]
        found = tuple(drug for drug in matching if not self.of_classes or not drug.classes.isdisjoint(self.of_classes))
        if found:
            return Finding(IS_MET, found)
        if not all(drug.identified for drug in matching):
            return Finding(IS_UNKNOWN, (), "not_readable", "a medication that is given for it could not be recognised")
        relevant = drugs if self.of_classes else ordered
        unread = [
            drug for drug in relevant if drug.reason_unread and not drug.classes.isdisjoint(self.of_classes or drug.classes)
        ]
        if unread:
            return Finding(IS_UNKNOWN, tuple(unread), "not_readable", "the condition that is the reason could not be read")
        if self.of == "order or medication" and index.medication_absent is not UNMET:
            return index.medication_absent
        return evaluator.order_absent

    def _fits(self, drug: Drug) -> bool:
        if self.stated and drug.reason_stated:
            return True
        return not (drug.reason_sets.isdisjoint(self.sets) and drug.reasons.isdisjoint(self.patterns))

    @property
    def looks_for(self) -> frozenset[Trait]:
        named = (("reason", name) for name in (*self.patterns, *self.sets))
        stated = (STATED_REASON,) if self.stated else ()
        return frozenset({*named, *stated, UNREAD_REASON, UNCLEAR_DRUGS, UNCLEAR_ORDERS})

    def sentence(self, names: Names) -> str:
        where = "the order" if self.of == "order" else "an order or an active medication"
        if self.of_classes:
            where += f" of {alternatives(names.classes(self.of_classes))}"
        if self.stated:
            return f"{where} states a reason"
        said = [one.removesuffix("_reason").replace("_", " ") for one in self.patterns]
        coded = names.problems(self.sets)
        ways = ([f"says {alternatives(said)}"] if said else []) + ([f"is coded as {alternatives(coded)}"] if coded else [])
        return f"the reason of {where} {' or '.join(ways)}"

    def names_used(self, known: Known) -> Iterable[Used]:
        yield Used("patterns", known.patterns, self.patterns)
        yield Used("sets", known.problem_sets, self.sets)
        yield Used("of_classes", known.drug_classes, self.of_classes)

    def needs(self) -> Needs:
        # A reason can refer to a problem.
        return Needs(frozenset({"problems"}) | (MEDICATIONS if self.of == "order or medication" else frozenset()))

    def looked_through(self, facts: Facts) -> str:
        return "no stated reason fits"

    @property
    def truths_in_cases(self) -> tuple[Truth, ...]:
        return MET_OR_UNMET
