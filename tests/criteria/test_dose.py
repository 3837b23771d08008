"""Doses: met, unmet, and unknown for each cause."""

from __future__ import annotations

from tests.core import a_card, decide, facts, finding, small, unexpected
from tests.criterion import (
    MET,
    NOT_READABLE,
    UNMET,
    said,
)


def test_a_dose_is_the_one_of_the_order_in_focus() -> None:
    dose = {"kind": "dose", "above": 20}
    known = small(
        {"it": dose, "order": {"kind": "order", "classes": ["baclofen"]}},
        a_card(for_each="order", fire_when=["it"]),
    )
    lines = ("dose 10 mg TID, id high", "dose 10 mg BID, id at", "dose as needed, id none")
    given = facts(*(f"order: baclofen 10 mg oral tablet, {line}" for line in lines), hook="order-sign")
    found = {one.order.reference: said(one.findings["it"]) for one in decide(given, known, unexpected) if one.order is not None}
    assert found == {
        "MedicationRequest/high": MET,
        "MedicationRequest/at": UNMET,
        "MedicationRequest/none": NOT_READABLE,
    }
    assert said(finding({"kind": "dose", "at_least": 20}, given)) == UNMET, "no order is in focus"
