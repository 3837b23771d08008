"""Allergies: met, unmet, and unknown for each cause."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.authoring.shorthand import request_from_case
from tests.core import NOW, Json, facts, facts_in, finding
from tests.criterion import (
    MET,
    NOT_OBTAINED,
    NOT_READABLE,
    REACTION,
    UNMET,
    said,
)


@pytest.mark.parametrize(
    ("criterion", "line", "expected"),
    [
        (REACTION, "allergy: quinine", MET),
        (REACTION, "allergy: penicillin", UNMET),
        (REACTION, "allergy: quinine, refuted", UNMET),
        (REACTION, "source allergies: error", NOT_OBTAINED),
    ],
)
def test_an_allergy_criterion_finds_what_the_record_says(criterion: Json, line: str, expected: tuple[str, str]) -> None:
    given = {name: value for name, value in criterion.items() if value is not None}
    assert said(finding(given, facts(line))) == expected


@pytest.mark.parametrize(
    ("allergy", "expected"),
    [
        ({"code": {"coding": [{"system": "urn:local", "code": "4711"}]}}, NOT_READABLE),
        ({"code": {"coding": [{"system": "http://snomed.info/sct", "code": "716186003"}]}}, UNMET),
        ({"code": {"text": "peanut"}}, UNMET),
        ({"modifierExtension": [{"url": "urn:negated"}]}, NOT_READABLE),
        ({}, MET),
    ],
)
def test_an_allergy_that_cannot_be_told_makes_what_asks_for_it_unknown(allergy: Json, expected: Any) -> None:
    request = request_from_case(["allergy: quinine"], "order-sign", NOW)
    request["prefetch"]["allergies"]["entry"][0]["resource"] |= allergy
    assert said(finding(REACTION, facts_in(request))) == expected
