"""Laboratory results: met, unmet, and unknown for each cause."""

from __future__ import annotations

import pytest

from cds_service.criteria.facts import Lab
from tests.core import Json, facts, finding
from tests.criterion import (
    LOW,
    MET,
    NOT_OBTAINED,
    NOT_READABLE,
    NOT_RECORDED,
    POTASSIUM,
    UNMET,
    said,
)

HIGH = {"kind": "lab", "analyte": "potassium", "above": 5.5, "unit": "mmol/L", "within_days": 30}
CALCIUM = LOW | {"analyte": "calcium", "below": 2.0, "below_reported": {"mg/dL": 8.0}}


@pytest.mark.parametrize(
    ("criterion", "line", "expected"),
    [
        (LOW, f"{POTASSIUM} 3.49 mmol/L", MET),
        (LOW, f"{POTASSIUM} 3.5 mmol/L", UNMET),
        (LOW, f"{POTASSIUM} 3.4 mEq/L at 2025-11-01T10:00:00Z", MET),
        (LOW, f"{POTASSIUM} 3.4 mmol/L at 2025-10-31T08:00:00Z", NOT_RECORDED),
        (LOW, f"{POTASSIUM} 3.4 mmol/L, preliminary", NOT_READABLE),
        (LOW | {"preliminary": "ignored"}, f"{POTASSIUM} 3.4 mmol/L, preliminary", NOT_RECORDED),
        (LOW, "problem: nothing about potassium", NOT_RECORDED),
        (LOW, f"{POTASSIUM} 3.4 furlongs", NOT_READABLE),
        (LOW, f"{POTASSIUM} 0.2 mmol/L", NOT_READABLE),
        (LOW, "source labs: error", NOT_OBTAINED),
        (LOW, "source labs: absent", NOT_OBTAINED),
        (LOW, "source labs: partial", NOT_OBTAINED),
        (LOW, "source labs: null", NOT_RECORDED),
        (LOW, "source labs: empty", NOT_RECORDED),
        (LOW | {"missing": True, "below": None, "unit": ""}, "source labs: null", MET),
        (LOW | {"missing": True, "below": None, "unit": ""}, f"{POTASSIUM} 4.0 mmol/L", UNMET),
        (LOW | {"missing": True, "below": None, "unit": ""}, f"{POTASSIUM} 4.0 mmol/L at 2025-10-01", MET),
        (LOW | {"missing": True, "below": None, "unit": ""}, f"{POTASSIUM} 4.0 furlongs", NOT_READABLE),
        (LOW | {"missing": True, "below": None, "unit": ""}, "source labs: error", NOT_OBTAINED),
        (LOW | {"preliminary": "accepted"}, f"{POTASSIUM} 3.4 mmol/L, preliminary", MET),
        (LOW | {"preliminary": "accepted"}, f"{POTASSIUM} 3.4 mmol/L", MET),
        (LOW | {"preliminary": "only"}, f"{POTASSIUM} 3.4 mmol/L, preliminary", MET),
        (LOW | {"preliminary": "only"}, f"{POTASSIUM} 3.6 mmol/L, preliminary", UNMET),
        (LOW | {"preliminary": "only"}, f"{POTASSIUM} 3.4 mmol/L", UNMET),
        (LOW | {"haemolysed": True}, f'{POTASSIUM} 3.4 mmol/L, note "haemolysed"', MET),
        (LOW | {"haemolysed": True}, f"{POTASSIUM} 3.4 mmol/L", UNMET),
        (LOW | {"haemolysed": False}, f'{POTASSIUM} 3.4 mmol/L, note "haemolysed"', UNMET),
        (LOW | {"sampling": "pre-dialysis"}, "LOINC#51618-7 Potassium 3.4 mmol/L", MET),
        (LOW | {"sampling": "pre-dialysis"}, f"{POTASSIUM} 3.4 mmol/L", UNMET),
        (LOW | {"below_reference_range": True}, f"{POTASSIUM} 3.4 mmol/L, range 3.4-5.1", UNMET),
        (LOW | {"below_reference_range": True}, f"{POTASSIUM} 3.3 mmol/L, range 3.4-5.1", MET),
        (LOW | {"below_reference_range": True}, f"{POTASSIUM} 3.4 mmol/L", MET),
        (LOW | {"below": None, "at_most": 2.5}, f"{POTASSIUM} 2.5 mmol/L", MET),
        (LOW | {"below": None, "at_most": 2.5}, f"{POTASSIUM} 2.51 mmol/L", UNMET),
        (CALCIUM, "LOINC#17861-6 Calcium 7.99 mg/dL", MET),
        (CALCIUM, "LOINC#17861-6 Calcium 8.0 mg/dL", UNMET),
        (CALCIUM, "LOINC#17861-6 Calcium < 8.0 mg/dL", MET),
        (CALCIUM, "LOINC#2000-8 Calcium 1.997 mmol/L", MET),
        (CALCIUM, "LOINC#2000-8 Calcium 2.0 mmol/L", UNMET),
        (HIGH, f"{POTASSIUM} 5.5 mmol/L", UNMET),
        (HIGH, f"{POTASSIUM} 5.51 mmol/L", MET),
        (HIGH | {"above": None, "at_least": 5.5}, f"{POTASSIUM} 5.5 mmol/L", MET),
        (LOW | {"at_least": 3.0}, f"{POTASSIUM} 3.2 mmol/L", MET),
        (LOW | {"at_least": 3.0}, f"{POTASSIUM} 2.9 mmol/L", UNMET),
    ],
)
def test_a_lab_criterion_finds_what_the_record_says(criterion: Json, line: str, expected: tuple[str, str]) -> None:
    given = {name: value for name, value in criterion.items() if value is not None}
    assert said(finding(given, facts(line))) == expected


@pytest.mark.parametrize(
    ("criterion", "result", "expected"),
    [
        (LOW, "< 3.0 mmol/L", MET),
        (LOW, "< 3.5 mmol/L", MET),
        (LOW, "<= 3.5 mmol/L", NOT_READABLE),
        (LOW, "< 4.0 mmol/L", NOT_READABLE),
        (LOW, "> 3.0 mmol/L", NOT_READABLE),
        (LOW, "> 3.5 mmol/L", UNMET),
        (LOW | {"below": None, "at_most": 2.5}, "<= 2.5 mmol/L", MET),
        (HIGH, "> 5.5 mmol/L", MET),
        (HIGH, ">= 5.5 mmol/L", NOT_READABLE),
        (HIGH, "> 5 mmol/L", NOT_READABLE),
        (HIGH, "> 6 mmol/L", MET),
        (HIGH, "< 6 mmol/L", NOT_READABLE),
    ],
)
def test_a_comparator_counts_only_as_far_as_it_decides(criterion: Json, result: str, expected: tuple[str, str]) -> None:
    given = {name: value for name, value in criterion.items() if value is not None}
    assert said(finding(given, facts(f"{POTASSIUM} {result}"))) == expected


def test_the_newest_usable_result_decides_whatever_the_order_in_the_bundle() -> None:
    old, new = f"{POTASSIUM} 3.0 mmol/L at 2025-11-20", f"{POTASSIUM} 4.0 mmol/L at 2025-11-28"
    for lines in ((old, new), (new, old)):
        found = finding(LOW, facts(*lines))
        assert said(found) == UNMET
        assert [str(one.value) for one in found.evidence if isinstance(one, Lab)] == ["4.0"]


def test_a_newer_result_that_cannot_be_read_makes_a_normal_one_doubtful_and_leaves_a_low_one_low() -> None:
    newer = f"{POTASSIUM} 3.1 furlongs at 2025-11-29"
    assert said(finding(LOW, facts(f"{POTASSIUM} 4.0 mmol/L at 2025-11-20", newer))) == NOT_READABLE
    assert said(finding(LOW, facts(f"{POTASSIUM} 3.0 mmol/L at 2025-11-20", newer))) == MET


def test_an_older_result_that_cannot_be_read_does_not_matter() -> None:
    older = f"{POTASSIUM} 3.1 furlongs at 2025-11-19"
    assert said(finding(LOW, facts(f"{POTASSIUM} 4.0 mmol/L at 2025-11-20", older))) == UNMET


def test_a_preliminary_result_does_not_hide_an_unreadable_one_that_is_newer_than_the_result_used() -> None:
    lines = [f"{POTASSIUM} 4.0 mmol/L at 2025-11-20", f"{POTASSIUM} 3.1 furlongs at 2025-11-25"]
    assert said(finding(LOW, facts(*lines, f"{POTASSIUM} 4.1 mmol/L at 2025-11-28, preliminary"))) == NOT_READABLE


def test_a_normal_preliminary_result_ends_no_alarm() -> None:
    severe = {**LOW, "preliminary": "accepted"}
    assert said(finding(severe, facts(f"{POTASSIUM} 3.0 mmol/L at 2025-11-20", f"{POTASSIUM} 4.0 mmol/L, preliminary"))) == MET


def test_a_result_from_the_future_is_ignored() -> None:
    future = f"{POTASSIUM} 2.0 mmol/L at 2025-12-09"
    assert said(finding(LOW, facts(f"{POTASSIUM} 4.0 mmol/L at 2025-11-20", future))) == UNMET
    assert said(finding(LOW, facts(future))) == NOT_RECORDED


def test_an_old_low_result_is_old_only_where_no_newer_one_was_made() -> None:
    old = LOW | {"within_days": 365, "older_than_days": 30}
    low_and_old = f"{POTASSIUM} 3.0 mmol/L at 2025-09-01"
    assert said(finding(old, facts(low_and_old))) == MET
    assert said(finding(old, facts(f"{POTASSIUM} 4.0 mmol/L at 2025-09-01"))) == UNMET
    assert said(finding(old, facts(low_and_old, f"{POTASSIUM} 3.0 mmol/L at 2025-11-20"))) == UNMET
    assert said(finding(old, facts(f"{POTASSIUM} 3.0 mmol/L at 2024-09-01"))) == NOT_RECORDED


SEVERE = {"kind": "lab", "analyte": "potassium", "at_most": "2.5", "unit": "mmol/L", "within_days": 30, "alarm": True}


@pytest.mark.parametrize(
    ("line", "alarming"),
    [
        (f"{POTASSIUM} 2.5 furlongs", True),
        (f"{POTASSIUM} 2.6 furlongs", False),
        (f'{POTASSIUM} "LT 2.5"', True),
        (f'{POTASSIUM} "see comment"', False),
        (f"{POTASSIUM} 2.4 furlongs at 2025-10-01", False),
    ],
)
def test_an_unusable_result_that_may_be_severe_is_alarming(line: str, alarming: bool) -> None:
    assert finding(SEVERE, facts(line)).alarming is alarming
    assert not finding({**SEVERE, "alarm": False}, facts(line)).alarming


def test_of_several_unusable_results_the_alarming_one_is_named() -> None:
    found = finding(SEVERE, facts(f"{POTASSIUM} 4.4 furlongs at 2025-11-30", f"{POTASSIUM} 2.2 furlongs at 2025-11-29"))
    assert (found.alarming, found.words) == (True, "2.2 furlongs")


@pytest.mark.parametrize(
    "line",
    [
        f"{POTASSIUM} 4.4 mmol/L, preliminary",
        f"{POTASSIUM} 4.4 mmol/L, unknown",
        f"{POTASSIUM} 4.4 mmol/L at 2026-12-01",  # a mistyped year
    ],
)
def test_what_is_there_in_any_form_is_not_missing(line: str) -> None:
    missing = {"kind": "lab", "analyte": "potassium", "within_days": 30, "missing": True}
    assert said(finding(missing, facts(line))) == UNMET
    assert said(finding(missing, facts(f"{POTASSIUM} 4.4 furlongs"))) == NOT_READABLE


EGFR = "LOINC#98979-8 eGFR"


@pytest.mark.parametrize(
    ("lines", "truth"),
    [
        ([f"{EGFR} 25 mL/min, preliminary"], "UNKNOWN"),
        ([f"{EGFR} 85 mL/min, preliminary"], "UNKNOWN"),  # nothing that counts is recorded
        (
            [f"{EGFR} 85 mL/min at 2025-11-20", f"{EGFR} 25 mL/min, preliminary"],
            "UNKNOWN",
        ),
        ([f"{EGFR} 25 mL/min at 2025-11-20", f"{EGFR} 85 mL/min, preliminary"], "MET"),
        (
            [f"{EGFR} 85 mL/min at 2025-11-20", f"{EGFR} 85 mL/min, preliminary"],
            "UNMET",
        ),
        (
            [f"{EGFR} 85 mL/min", f"{EGFR} 25 mL/min at 2025-11-20, preliminary"],
            "UNMET",
        ),
    ],
)
def test_a_newer_unconfirmed_result_that_would_meet_a_criterion_makes_it_unknown(lines: list[str], truth: str) -> None:
    below = {"kind": "lab", "analyte": "egfr", "below": 30, "unit": "mL/min/{1.73_m2}", "within_days": 365}
    found = finding(below, facts(*lines))
    assert found.truth.name == truth
    assert (found.note == "egfr of 2025-11-28 is preliminary") is ("25" in lines[-1] and truth == "UNKNOWN")
    assert finding(below | {"preliminary": "ignored"}, facts(*lines)).note != "egfr of 2025-11-28 is preliminary"
