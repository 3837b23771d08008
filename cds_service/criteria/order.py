"""Evaluate the criterion `order`: a draft order of a class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.fact_index import (
    REPLACING_ORDER,
    UNCLEAR_ORDERS,
    UNNAMED_ORDER,
    UNNAMED_ORDERED_DRUG,
    FactIndex,
    Trait,
)
from cds_service.criteria.facts import Facts, Order, Route
from cds_service.criteria.findings import IS_MET, UNMET, Finding
from cds_service.criteria.kind import DrugsSought, Kind, Known, Names, Needs, Used
from cds_service.criteria.wording import alternatives, counted


class OrderCriterion(Kind, frozen=True, tag="order", kw_only=True):
    """The order that is selected or signed: its drug and its action."""

    placeholders: ClassVar[frozenset[str]] = frozenset({"names", "other_drug", "dose"})

    classes: list[str]
    action: Literal["start", "stop", "switch"] = "start"
    code_disagrees: bool = False
    route: Route | None = None
    not_routes: list[Route] = []
    ingredients: list[str] = []  # only these drugs of the classes; all of them where empty
    new_therapy: bool = False  # not one that renews an active medication

    @property
    def per_order(self) -> bool:
        return True

    def find(self, index: FactIndex, evaluator: Evaluator) -> Finding:
        orders = evaluator.orders
        found = [order for order in orders if self._fits(order, index)]
        if found and self.new_therapy and index.drug_absent is not UNMET:  # the medication that it may renew is unknown
            return index.drug_absent
        if found:
            return Finding(IS_MET, tuple(found))
        if any(order.drug is not None and not order.drug.identified for order in orders):
            return UNNAMED_ORDER
        if self.action == "switch" and any(self._may_replace(order) for order in orders) and index.drug_absent is not UNMET:
            return index.drug_absent  # the replaced medication may be an unknown one
        return evaluator.order_absent

    def _fits(self, order: Order, index: FactIndex) -> bool:
        drug = order.drug
        if drug is None:
            return False
        if self.action == "switch":
            return self._may_replace(order) and self._replaces(order, index)
        return (
            not drug.classes.isdisjoint(self.classes)
            and order.action == self.action
            and (not self.code_disagrees or bool(drug.code_disagrees))
            and (self.route is None or drug.is_given_by((self.route,)))
            and not drug.is_given_by(self.not_routes)
            and (not self.ingredients or not set(self.ingredients).isdisjoint(drug.ingredients))
            and not (self.new_therapy and any(drug.renews(taken) for taken in index.facts.drugs))
        )

    def _may_replace(self, order: Order) -> bool:
        drug = order.drug
        return drug is not None and drug.classes.isdisjoint(self.classes) and bool(order.replaces) and order.action == "start"

    def _replaces(self, order: Order, index: FactIndex) -> bool:
        replaced = order.replaces.partition("/_history")[0].rsplit("/", 1)[-1]
        drugs = (drug for name in self.classes for drug in index.active_by_class.get(name, ()))
        return any(drug.reference.rsplit("/", 1)[-1] == replaced for drug in drugs)

    @property
    def looks_for(self) -> frozenset[Trait]:
        special = {REPLACING_ORDER} if self.action == "switch" else {("order", name) for name in self.classes}
        return frozenset({*special, UNNAMED_ORDERED_DRUG, UNCLEAR_ORDERS})

    def sentence(self, names: Names) -> str:
        drugs = alternatives(self.ingredients or names.classes(self.classes))
        said = {
            "start": f"an order for {drugs}",
            "stop": f"an order that stops or pauses {drugs}",
            "switch": f"an order that replaces {drugs} by another drug",
        }[self.action]
        if self.route is not None:
            said += f" ({self.route})"
        if self.not_routes:
            said += f" (not by {alternatives(self.not_routes)})"
        if self.new_therapy:
            said += ", not renewing what is taken"
        return f"{said} whose code means another drug than its text" if self.code_disagrees else said

    def names_used(self, known: Known) -> Iterable[Used]:
        yield Used("classes", known.drug_classes, self.classes)
        yield Used("ingredients", known.ingredients, self.ingredients)

    def needs(self) -> Needs:
        return Needs(frozenset({"prescriptions"}) if self.action == "switch" else frozenset())  # which it may replace

    def looked_through(self, facts: Facts) -> str:
        return f"among {counted(len(facts.orders), 'draft order')} there is none that fits"

    @property
    def drugs_sought(self) -> DrugsSought:
        return DrugsSought(self.ingredients) if self.ingredients else DrugsSought(classes=self.classes)
