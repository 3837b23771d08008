"""Jurisdictions: met, unmet, and unknown for each cause."""

from __future__ import annotations

import pytest

from tests.core import Json, facts, finding
from tests.criterion import (
    MET,
    UNMET,
    said,
)


@pytest.mark.parametrize(
    ("criterion", "line", "expected"),
    [
        ({"kind": "jurisdiction", "country": "US"}, "takes: aspirin", MET),
        ({"kind": "jurisdiction", "country": "GB"}, "takes: aspirin", UNMET),
    ],
)
def test_a_jurisdiction_criterion_finds_what_the_record_says(criterion: Json, line: str, expected: tuple[str, str]) -> None:
    given = {name: value for name, value in criterion.items() if value is not None}
    assert said(finding(given, facts(line))) == expected
