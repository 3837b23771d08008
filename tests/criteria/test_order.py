"""Orders: met, unmet, and unknown for each cause."""

from __future__ import annotations

import pytest

from cds_service.authoring.shorthand import request_from_case
from tests.core import NOW, Json, facts, facts_in, finding
from tests.criterion import (
    MET,
    NOT_OBTAINED,
    NOT_READABLE,
    QUININE,
    UNMET,
    said,
    without_name,
)

ORDER = {"kind": "order", "classes": ["quinine"]}
RELAXANT = {"kind": "order", "classes": ["muscle_relaxant"], "ingredients": ["cyclobenzaprine", "orphenadrine"]}
NO_INJECTION = {"kind": "order", "classes": ["benzodiazepine"], "not_routes": ["injection", "rectal"]}


@pytest.mark.parametrize(
    ("criterion", "line", "expected"),
    [
        (ORDER, "order: quinine 324 mg", MET),
        (ORDER, "order: quinine 324 mg, stopped", UNMET),
        (ORDER, "order: service: basic metabolic panel", UNMET),
        (ORDER | {"action": "stop"}, "order: quinine 324 mg, stopped", MET),
        (ORDER | {"action": "stop"}, "order: quinine 324 mg", UNMET),
        (ORDER | {"route": "topical"}, "order: quinine 324 mg oral capsule", UNMET),
        (ORDER | {"code_disagrees": True}, "order: quinine 324 mg", UNMET),
        (ORDER | {"code_disagrees": True}, "order: RXNORM#997010 baclofen 10 mg", MET),
        (RELAXANT, "order: cyclobenzaprine 5 mg", MET),
        (RELAXANT, "order: tizanidine 4 mg", UNMET),
        (RELAXANT, "order: quinine 324 mg", UNMET),
        (NO_INJECTION, "order: midazolam 2 mg oral syrup", MET),
        (NO_INJECTION, "order: midazolam 2 mg", MET),
        (NO_INJECTION, "order: midazolam 2 mg injection", UNMET),
    ],
)
def test_an_order_criterion_finds_what_the_record_says(criterion: Json, line: str, expected: tuple[str, str]) -> None:
    given = {name: value for name, value in criterion.items() if value is not None}
    assert said(finding(given, facts(line))) == expected


def test_an_order_criterion_is_met_by_a_switch_to_another_drug() -> None:
    takes = "prescribed: baclofen 10 mg, id old"
    switch = {"kind": "order", "classes": ["baclofen"], "action": "switch"}
    for order, expected in (
        ("order: quinine 300 mg, replaces MedicationRequest/old", MET),
        ("order: quinine 300 mg, replaces https://ehr.example/fhir/MedicationRequest/old/_history/2", MET),
        ("order: baclofen 20 mg, replaces MedicationRequest/old", UNMET),
        ("order: quinine 300 mg, replaces MedicationRequest/other", UNMET),
        ("order: quinine 300 mg", UNMET),
    ):
        assert said(finding(switch, facts(takes, order))) == expected


def test_an_order_without_name_and_code_could_be_any_drug() -> None:
    assert said(finding(ORDER, facts_in(without_name("orders")))) == NOT_READABLE


def test_an_order_that_could_not_be_read_could_be_any_order() -> None:
    request = request_from_case(["order: aspirin"], "order-sign", NOW)
    request["context"]["draftOrders"]["entry"].append({"resource": {"resourceType": "MedicationRequest", "status": 1}})
    assert said(finding(ORDER, facts_in(request))) == NOT_OBTAINED


def test_an_order_of_what_is_taken_is_no_new_therapy() -> None:
    new = {"kind": "order", "classes": ["potassium_supplement"], "new_therapy": True}
    order = "order: RXNORM#1801294 potassium chloride 20 MEQ tablet"
    assert finding(new, facts(order)).truth.name == "MET"
    assert finding(new, facts(order, "RXNORM#1801294 potassium chloride 20 MEQ tablet")).truth.name == "UNMET"
    assert finding(new, facts(order, "RXNORM#628953 potassium chloride 10 MEQ tablet")).truth.name == "MET"


def test_at_order_select_only_the_selected_order_is_looked_at_and_the_others_are_context() -> None:
    given = facts("order: quinine 300 mg, not selected", "order: aspirin 100 mg", hook="order-select")
    assert said(finding(ORDER, given)) == UNMET
    assert said(finding(QUININE, given)) == MET
