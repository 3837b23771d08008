"""Reasons: met, unmet, and unknown for each cause."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.authoring.shorthand import request_from_case
from tests.core import NOW, Json, facts, facts_in, finding
from tests.criterion import (
    MET,
    NOT_READABLE,
    UNMET,
    said,
)

REASON = {"kind": "reason", "patterns": ["malaria_reason"], "sets": ["malaria"]}
STATED = {"kind": "reason", "stated": True}


@pytest.mark.parametrize(
    ("criterion", "line", "expected"),
    [
        (REASON, "order: quinine 324 mg, for falciparum malaria", MET),
        (REASON, "order: quinine 324 mg, for ICD10#B50.9", MET),
        (REASON, "order: quinine 324 mg, for leg cramps", UNMET),
        (REASON, "takes: quinine 324 mg, for malaria", UNMET),
        (REASON | {"of": "order or medication"}, "takes: quinine 324 mg, for malaria", MET),
        (REASON | {"of": "order or medication", "of_classes": ["baclofen"]}, "takes: quinine 324 mg, for malaria", UNMET),
        (STATED, "order: quinine 324 mg, for a reason that no pattern knows", MET),
        (STATED, "order: quinine 324 mg, for ICD10#Z00.0", MET),
        (STATED, "order: quinine 324 mg", UNMET),
        (STATED, "order: quinine 324 mg, note for leg cramps", UNMET),
        (STATED, "takes: quinine 324 mg, for malaria", UNMET),
    ],
)
def test_a_reason_criterion_finds_what_the_record_says(criterion: Json, line: str, expected: tuple[str, str]) -> None:
    given = {name: value for name, value in criterion.items() if value is not None}
    assert said(finding(given, facts(line))) == expected


@pytest.mark.parametrize(
    ("reference", "criterion", "expected"),
    [
        ({"reference": "Condition/elsewhere"}, REASON, NOT_READABLE),
        ({"reference": "urn:uuid:6f1c2a56-0000-4000-8000-000000000001"}, REASON, NOT_READABLE),
        ({"reference": "Condition/elsewhere", "display": "Malaria"}, REASON, MET),
        ({"reference": "Condition/elsewhere", "display": "Leg cramps"}, REASON, UNMET),
        ({"reference": "Observation/elsewhere"}, REASON, UNMET),
        ({"reference": "Condition/elsewhere"}, STATED, MET),
        ({"reference": "Condition/elsewhere"}, REASON | {"of_classes": ["baclofen"]}, UNMET),
    ],
)
def test_a_reason_that_was_not_at_hand_is_unknown(reference: Json, criterion: Json, expected: Any) -> None:
    request = request_from_case(["order: quinine"], "order-sign", NOW)
    request["context"]["draftOrders"]["entry"][0]["resource"]["reasonReference"] = [reference]
    assert said(finding(criterion, facts_in(request))) == expected


@pytest.mark.parametrize(("of_classes", "expected"), [([], UNMET), (["quinine"], NOT_READABLE)])
def test_of_what_is_taken_only_the_reasons_that_are_asked_for_matter(of_classes: list[str], expected: Any) -> None:
    request = request_from_case(["takes: quinine"], "order-sign", NOW)
    for entry in request["prefetch"]["statements"]["entry"]:
        entry["resource"]["reasonReference"] = [{"reference": "Condition/elsewhere"}]
    criterion = REASON | {"of": "order or medication", "of_classes": of_classes}
    assert said(finding(criterion, facts_in(request))) == expected
