"""Nothing is offered that another card offers, that was measured in the last week, or that the patient takes already."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cds_service.knowledge.knowledge import Knowledge
from tests.core import Json, a_card, answer, small

CRAMP = "ICD10#R25.2 Cramp and spasm"


def test(loinc: str, text: str) -> Json:
    code = {"coding": [{"system": "http://loinc.org", "code": loinc}], "text": text}
    subject = {"reference": "{patient.reference}"}
    return {"resourceType": "ServiceRequest", "status": "draft", "intent": "proposal", "code": code, "subject": subject}


test.__test__ = False  # type: ignore[attr-defined]
ORDERS: Json = {
    "check-potassium": test("2823-3", "Potassium"),
    "repeat-potassium": test("2823-3", "Potassium"),
    "check-magnesium": test("19123-9", "Magnesium"),
    "later-magnesium": test("19123-9", "Magnesium") | {"occurrenceDateTime": "2026-01-01"},
    "ecg": {k: v for k, v in test("", "").items() if k != "code"} | {"code": {"text": "12-lead electrocardiogram"}},
    "baclofen": {
        "resourceType": "MedicationRequest",
        "status": "draft",
        "intent": "proposal",
        "medicationCodeableConcept": {"text": "baclofen 10 mg oral tablet"},
        "subject": {"reference": "{patient.reference}"},
    },
}


SEEN: Json = {  # what the cards look at, so that it is asked for
    "magnesium": {"kind": "lab", "analyte": "magnesium", "within_days": 30},
    "potassium": {"kind": "lab", "analyte": "potassium", "within_days": 30},
    "taken": {"kind": "drug", "classes": ["baclofen"]},
}
DETAIL = [{"text": "In detail."}, *({"when": [name], "text": name} for name in SEEN)]


def suggesting(*orders: str, label: str = "Order them") -> Json:
    actions = [{"type": "create", "description": f"Order {name}", "resource": name} for name in orders]
    return {"id": "order", "label": label, "actions": actions}


def loaded(*cards: tuple[str, str, list[Json]]) -> Knowledge:
    data = [
        a_card(name, rank=rank, table=[{"indicator": indicator, "summary": name}], detail=DETAIL, suggestions=items)
        for rank, (name, indicator, items) in enumerate(cards)
    ]
    return small(SEEN, *data, orders=ORDERS)


def offered(known: Knowledge, *given: str, hook: str = "patient-view") -> dict[str, list[tuple[str, list[str]]]]:
    """By card the label and the descriptions of the actions of each suggestion."""
    shown: dict[str, list[tuple[str, list[str]]]] = {}
    for one in answer(*given, hook=hook, known=known).shown:
        assert one.decision is not None
        card: dict[str, Any] = msgspec.json.decode(one.body)
        items = card.get("suggestions", [])
        shown[one.decision.card.id] = [(item["label"], [action["description"] for action in item["actions"]]) for item in items]
    return shown


def test_what_two_cards_offer_the_louder_one_offers() -> None:
    both = loaded(("one", "info", [suggesting("check-potassium")]), ("two", "warning", [suggesting("repeat-potassium")]))
    assert offered(both, CRAMP) == {"one": [], "two": [("Order them", ["Order repeat-potassium"])]}


def test_of_several_tests_those_are_offered_that_no_card_offers_and_the_label_names_them() -> None:
    both = loaded(("one", "warning", [suggesting("ecg")]), ("two", "info", [suggesting("ecg", "check-potassium")]))
    assert offered(both, CRAMP)["two"] == [("Order check-potassium", ["Order check-potassium"])]


def test_alternatives_of_one_card_stay() -> None:
    one, other = suggesting("baclofen"), suggesting("baclofen") | {"id": "other"}
    assert len(offered(loaded(("one", "info", [one, other])), CRAMP)["one"]) == 2


@pytest.mark.parametrize(
    ("order", "day", "there"),
    [
        ("check-magnesium", "2025-11-30", False),
        ("check-magnesium", "2025-11-24T10:00:00Z", False),
        ("check-magnesium", "2025-11-23", True),
        ("check-potassium", "2025-11-30", True),
        ("later-magnesium", "2025-11-30", True),
    ],
)
def test_a_test_that_was_measured_lately_is_not_offered_again(order: str, day: str, there: bool) -> None:
    """The hour is 2025-12-01 09:00."""
    known = loaded(("one", "info", [suggesting(order)]))
    assert bool(offered(known, f"LOINC#19123-9 Magnesium 2.0 mg/dL at {day}")["one"]) is there


def test_a_card_may_ask_for_a_repeat() -> None:
    known = loaded(("one", "info", [suggesting("repeat-potassium", "check-magnesium")]))
    given = ["LOINC#2823-3 Potassium 4.0 mmol/L at 2025-11-30", "LOINC#19123-9 Magnesium 2.0 mg/dL at 2025-11-30"]
    assert offered(known, *given)["one"] == [("Order repeat-potassium", ["Order repeat-potassium"])]


def test_a_preliminary_result_is_no_measurement_yet() -> None:
    known = loaded(("one", "info", [suggesting("check-potassium")]))
    assert offered(known, "LOINC#2823-3 Potassium 4.0 mmol/L at 2025-11-30, preliminary")["one"]


@pytest.mark.parametrize(
    ("hook", "given", "there"),
    [
        ("patient-view", "takes: baclofen 10 mg", False),
        ("patient-view", "takes: magnesium oxide 400 mg", True),
        ("order-sign", "order: baclofen 10 mg tablet", False),
        ("order-sign", "order: quinine sulfate 324 mg", True),
    ],
)
def test_a_drug_that_is_taken_or_drafted_is_not_offered(hook: str, given: str, there: bool) -> None:
    card = a_card("one", hooks=["patient-view", "order-sign"], detail=DETAIL, suggestions=[suggesting("baclofen")])
    assert bool(offered(small(SEEN, card, orders=ORDERS), given, hook=hook)["one"]) is there


def test_no_shipped_order_is_offered_twice_for_a_patient_with_everything() -> None:
    given = [
        CRAMP,
        "ICD10#K74.6 Cirrhosis of liver",
        "LOINC#2823-3 Potassium 2.4 mmol/L",
        "LOINC#2601-3 Magnesium 0.35 mmol/L",
        "takes: hydrochlorothiazide 25 mg",
        "takes: digoxin 125 mcg",
    ]
    for hook in ("patient-view", "order-sign"):
        orders = [] if hook == "patient-view" else ["order: quinine sulfate 324 mg, for leg cramps", "order: baclofen 10 mg"]
        resources: list[str] = []
        for one in answer(*given, *orders, hook=hook).shown:
            for item in msgspec.json.decode(one.body).get("suggestions", []):
                created = [action["resource"] for action in item["actions"] if "resource" in action]
                resources += [one["code"]["text"] for one in created if "code" in one]
        assert len(resources) == len(set(resources)), resources
