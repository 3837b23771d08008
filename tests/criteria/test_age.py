"""Ages: met, unmet, and unknown for each cause."""

from __future__ import annotations

from datetime import date

import pytest

from tests.core import Json, facts, finding
from tests.criterion import (
    MET,
    NOT_OBTAINED,
    NOT_RECORDED,
    UNMET,
    said,
)

OLDER = {"kind": "age", "at_least": 65}
CHILD = {"kind": "age", "below": 18}


@pytest.mark.parametrize(
    ("criterion", "line", "expected"),
    [
        (OLDER, "patient: female, born 1960-12-01", MET),
        (OLDER, "patient: female, born 1960-12-02", UNMET),
        (CHILD, "patient: male, born 2007-12-01", UNMET),
        (CHILD, "patient: male, born 2007-12-02", MET),
        (OLDER, "patient: male, unknown age", NOT_RECORDED),
        (OLDER, "patient: male, born 2026-02-01", NOT_RECORDED),
        (OLDER, "source patient: null", NOT_RECORDED),
        (OLDER, "source patient: error", NOT_OBTAINED),
        (OLDER, "source patient: absent", NOT_OBTAINED),
    ],
)
def test_an_age_criterion_finds_what_the_record_says(criterion: Json, line: str, expected: tuple[str, str]) -> None:
    given = {name: value for name, value in criterion.items() if value is not None}
    assert said(finding(given, facts(line))) == expected


def test_a_birth_date_from_a_partial_date_is_its_first_day() -> None:
    assert facts("patient: female, born 1960").patient.birth_date == date(1960, 1, 1)
    assert said(finding(OLDER, facts("patient: female, born 1960"))) == MET
