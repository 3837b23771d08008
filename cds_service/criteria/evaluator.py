"""Evaluate criteria lazily, for the patient or for one draft order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import msgspec

from cds_service.criteria.fact_index import FactIndex
from cds_service.criteria.facts import Order
from cds_service.criteria.findings import IS_UNKNOWN, UNMET, Finding, OnError

_FAILED = Finding(IS_UNKNOWN, cause="failed", note="the evaluation failed")


def _ignore(_: str, __: Exception) -> None:
    """Report no failure: it was reported during the call."""


class Evaluable(Protocol):
    """A criterion, of whatever kind (see `kinds`)."""

    def find(self, index: FactIndex, evaluator: Evaluator) -> Finding:
        """Return the finding; may raise, see `Evaluator`."""


class Prepared(msgspec.Struct, frozen=True):
    """The finding of a criterion where none of what it looks for is there."""

    finding: Finding
    looks_for: int  # traits, as bits; those of all criteria in `reached`
    reached: Mapping[str, Finding]  # of the criterion and the members that it evaluates, by name
    of_patient: Mapping[str, Finding]  # those of `reached` that do not depend on the order


_NOTHING_PREPARED: Mapping[str, Prepared] = MappingProxyType({})


class Evaluator(dict[str, Finding]):
    """The findings of criteria by name: `evaluator[name]` evaluates it the first time and remembers it.

    The first one is for the patient; `for_order` gives one for each order, which takes from the first the findings that do not
    depend on the order. Raises KeyError for a criterion that does not exist. A criterion that raises is unknown.

    Attributes:
        order: the draft order that a card is decided for; None for the patient.
        orders: the draft orders to look at: that one, or all that are selected.
        order_absent: the finding where none of `orders` matches.
    """

    __slots__ = (
        "_criteria", "_index", "_on_error", "_patient", "_per_order", "_prepared", "_traits", "order", "order_absent", "orders",
    )  # fmt: skip

    def __init__(
        self,
        index: FactIndex,
        criteria: Mapping[str, Evaluable],
        per_order: frozenset[str],
        on_error: OnError,
        prepared: Mapping[str, Prepared] = _NOTHING_PREPARED,
        traits: int = 0,
    ) -> None:
        """Make the evaluator for the patient.

        `per_order`: the names of the criteria that depend on the order. `on_error(name, exception)` is called for each that
        raises. `prepared`: what holds of a criterion that looks for none of `traits`, the bits of those that the facts have.
        """
        self._index = index
        self._criteria = criteria
        self._per_order = per_order
        self._on_error = on_error
        self._prepared = prepared
        self._traits = traits
        # The evaluator for the patient, None in itself: a reference to itself would be a cycle, which only the collector frees.
        self._patient: Evaluator | None = None
        self.order: Order | None = None
        self.orders: Sequence[Order] = index.selected_orders
        self.order_absent = index.order_absent

    def for_order(self, order: Order) -> Evaluator:
        """Return an evaluator of the same criteria about `order`."""
        focused = self._beside(orders=(order,))
        focused.order = order
        focused.order_absent = UNMET
        return focused

    def for_unread_orders(self) -> Evaluator:
        """Return an evaluator of the same criteria about the orders that could not be read."""
        return self._beside(orders=())

    def detached(self) -> Evaluator:
        """Return a copy that adds nothing to this one and reports no failures, for looking at criteria after the call."""
        other = Evaluator(self._index, self._criteria, self._per_order, _ignore, self._prepared, self._traits)
        other.update(self)
        other._patient = self._patient.detached() if self._patient is not None else None
        other.order, other.orders, other.order_absent = self.order, self.orders, self.order_absent
        return other

    @property
    def for_patient(self) -> Evaluator:
        """Return the evaluator that remembers findings independent of the order."""
        return self if self._patient is None else self._patient

    def own(self) -> Iterable[tuple[str, Finding]]:
        """Return (name, finding) of what was evaluated here, not by the evaluator for the patient."""
        if self._patient is None:
            return self.items()
        return [item for item in self.items() if item[0] in self._per_order]

    def evaluated(self, names: Iterable[str]) -> list[tuple[str, Finding]]:
        """Return (name, finding) of those of `names` that were evaluated: the others could not change the decision."""
        return [(name, finding) for name in names if (finding := self.get(name)) is not None]

    def _beside(self, orders: Sequence[Order]) -> Evaluator:
        other = Evaluator(self._index, self._criteria, self._per_order, self._on_error, self._prepared, self._traits)
        other._patient = self.for_patient
        other.orders = orders
        return other

    def __missing__(self, name: str) -> Finding:
        patient = self._patient
        prepared = self._prepared.get(name)
        if prepared is not None and not prepared.looks_for & self._traits:
            self.update(prepared.reached)
            if patient is not None:
                patient.update(prepared.of_patient)
            return prepared.finding
        if patient is not None and name not in self._per_order:
            finding = patient[name]
        else:
            criterion = self._criteria[name]
            try:
                finding = criterion.find(self._index, self)
            except Exception as error:  # noqa: BLE001 - one criterion that raises must not silence the other cards
                self._on_error(name, error)
                finding = _FAILED
        self[name] = finding
        return finding
