"""Problems: met, unmet, and unknown for each cause."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.authoring.shorthand import request_from_case
from tests.core import NOW, Json, facts, facts_in, finding
from tests.criterion import (
    CRAMP,
    MET,
    NOT_OBTAINED,
    NOT_READABLE,
    UNMET,
    said,
)


@pytest.mark.parametrize(
    ("criterion", "line", "expected"),
    [
        (CRAMP, "ICD10#R25.2 Cramp and spasm", MET),
        (CRAMP, "ICD10#R25.2 Cramp and spasm, resolved", UNMET),
        (CRAMP, "source problems: null", UNMET),
        (CRAMP | {"text_patterns": ["exercise_cramp"]}, "ICD10#R25.2 Exercise-associated muscle cramps", MET),
        (CRAMP | {"text_patterns": ["exercise_cramp"]}, "ICD10#R25.2 Cramp and spasm", UNMET),
        (CRAMP | {"text_patterns": ["exercise_cramp"]}, "ICD10#R25.2", UNMET),
        (CRAMP | {"text_patterns": ["exercise_cramp"]}, "source problems: error", NOT_OBTAINED),
        (CRAMP, "source problems: error", NOT_OBTAINED),
        (CRAMP, "source problems: absent", NOT_OBTAINED),
        (CRAMP, "source problems: partial", NOT_OBTAINED),
    ],
)
def test_a_problem_criterion_finds_what_the_record_says(criterion: Json, line: str, expected: tuple[str, str]) -> None:
    given = {name: value for name, value in criterion.items() if value is not None}
    assert said(finding(given, facts(line))) == expected


@pytest.mark.parametrize(
    ("condition", "criterion", "expected"),
    [
        ({"code": {"coding": [{"system": "urn:local", "code": "4711"}]}}, CRAMP, NOT_READABLE),
        ({"code": {"coding": [{"system": "urn:local", "code": "4711"}]}}, CRAMP | {"sets": ["pregnancy"]}, NOT_READABLE),
        ({"code": {"coding": [{"system": "urn:local", "code": "4711"}], "text": "Tinnitus"}}, CRAMP, UNMET),
        ({"modifierExtension": [{"url": "urn:negated"}]}, CRAMP, NOT_READABLE),
        ({"modifierExtension": [{"url": "urn:negated"}]}, CRAMP | {"sets": ["malaria"]}, UNMET),
        ({}, CRAMP, MET),
    ],
)
def test_a_problem_that_cannot_be_told_makes_what_asks_for_it_unknown(condition: Json, criterion: Json, expected: Any) -> None:
    request = request_from_case(["problem: ICD10#R25.2 cramp"], "order-sign", NOW)
    resource = request["prefetch"]["problems"]["entry"][0]["resource"]
    resource |= condition
    assert said(finding(criterion, facts_in(request))) == expected


def test_a_problem_that_is_met_hides_one_that_cannot_be_told() -> None:
    request = request_from_case(["problem: ICD10#R25.2 cramp", "problem: ICD10#B54 malaria"], "order-sign", NOW)
    request["prefetch"]["problems"]["entry"][1]["resource"]["code"] = {"coding": [{"code": "4711"}]}
    assert said(finding(CRAMP, facts_in(request))) == MET
