from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from tests.reading import bundle, facts, observation, patient

CREATININE = "2160-0"


def egfr(creatinine: str, born: str, sex: str, unit: str = "mg/dL") -> Decimal | None:
    lab = observation(CREATININE, creatinine, unit)
    found = facts(labs=bundle(lab), patient=patient(birthDate=born, gender=sex)).labs.get("egfr")
    return found.results[0].value if found else None


@pytest.mark.parametrize(
    ("creatinine", "born", "sex", "value"),
    [  # 142 x 0.9938^age, x 1.012 for women; x 2^-1.2 at twice kappa (0.9 men, 0.7 women), x 0.5^alpha at half of it
        ("0.9", "2005-01-01", "male", 142 * 0.9938**20),
        ("0.7", "2005-01-01", "female", 142 * 0.9938**20 * 1.012),
        ("1.8", "1955-01-01", "male", 142 * 0.9938**70 * 0.43528),
        ("1.4", "1955-01-01", "female", 142 * 0.9938**70 * 0.43528 * 1.012),
        ("0.45", "1985-01-01", "male", 142 * 0.9938**40 * 1.23286),
        ("0.35", "1985-01-01", "female", 142 * 0.9938**40 * 1.18181 * 1.012),
    ],
)
def test_the_equation_of_2021_around_its_knots(creatinine: str, born: str, sex: str, value: float) -> None:
    assert egfr(creatinine, born, sex) == round(value)


# Results of the National Kidney Foundation's calculator (kidney.org/professionals/kdoqi/gfr_calculator, equation of 2021) as
# others published them with their own implementations: ml4oncology/ml4oncology, scripts/unit_test.py (umol/L; the equation of
# 2009 would give 28, 21, 65 and 49), and 71 for 1.2 mg/dL at 55 years.
@pytest.mark.parametrize(
    ("creatinine", "unit", "age", "sex", "value"),
    [
        ("200", "umol/L", 70, "male", 30),
        ("200", "umol/L", 70, "female", 23),
        ("100", "umol/L", 70, "male", 70),
        ("100", "umol/L", 70, "female", 52),
        ("1.2", "mg/dL", 55, "male", 71),
    ],
)
def test_published_results_of_the_equation_of_2021(creatinine: str, unit: str, age: int, sex: str, value: int) -> None:
    assert egfr(creatinine, f"{2025 - age}-01-01", sex, unit) == value


def test_the_unit_of_creatinine_makes_no_difference() -> None:
    assert egfr("159.12", "1955-01-01", "male", "umol/L") == egfr("1.8", "1955-01-01", "male") == 40


def test_no_egfr_is_computed_for_somebody_who_was_under_18_when_the_sample_was_drawn() -> None:
    drawn = date(2025, 11, 28)
    assert egfr("0.9", drawn.replace(year=2007).isoformat(), "male") is not None
    assert egfr("0.9", drawn.replace(year=2007, day=29).isoformat(), "male") is None


@pytest.mark.parametrize("missing", [{"birthDate": None}, {"gender": "unknown"}, {"gender": None}])
def test_no_egfr_is_computed_without_age_or_sex(missing: dict[str, None]) -> None:
    assert "egfr" not in facts(labs=bundle(observation(CREATININE, 1.2, "mg/dL")), patient=patient(**missing)).labs


def test_the_computed_egfr_says_from_what() -> None:
    found = facts(labs=bundle(observation(CREATININE, 1.2, "mg/dL")), patient=patient()).labs["egfr"].results[0]
    assert found.computed_from == "creatinine 1.2 mg/dL of 2025-11-28, CKD-EPI 2021"
    assert (found.analyte, found.canonical_unit, found.reference) == ("egfr", "mL/min/{1.73_m2}", "Observation/k1")


def test_a_creatinine_that_is_a_bound_makes_no_egfr() -> None:
    bound = observation(CREATININE, 0.2, "mg/dL")
    bound["valueQuantity"]["comparator"] = "<"
    assert "egfr" not in facts(labs=bundle(bound), patient=patient()).labs


def test_the_egfr_of_an_unconfirmed_creatinine_is_unconfirmed() -> None:
    final = observation(CREATININE, 1.2, "mg/dL", effectiveDateTime="2025-11-20")
    newer = observation(CREATININE, 3, "mg/dL", status="preliminary", effectiveDateTime="2025-11-28")
    found = facts(labs=bundle(final, newer), patient=patient()).labs["egfr"].results
    assert [(lab.effective.day, lab.preliminary) for lab in found] == [("2025-11-28", True), ("2025-11-20", False)]


def test_a_creatinine_that_can_not_be_used_is_an_egfr_that_can_not_be_used() -> None:
    final = observation(CREATININE, 1.2, "mg/dL", effectiveDateTime="2025-11-20")
    newer = observation(CREATININE, 3, "florins", effectiveDateTime="2025-11-28")
    found = facts(labs=bundle(final, newer), patient=patient()).labs["egfr"]
    assert [bad.explanation for bad in found.unusable] == ["creatinine of 2025-11-28 has a unit that is not known for it"]
    reported = observation("98979-8", 85, "mL/min/{1.73_m2}", effectiveDateTime="2025-11-28")
    assert facts(labs=bundle(newer, reported), patient=patient()).labs["egfr"].unusable == ()


def test_a_reported_egfr_of_the_same_day_is_preferred_and_a_newer_creatinine_wins() -> None:
    reported = observation("98979-8", 85, "mL/min/{1.73_m2}", effectiveDateTime="2025-11-20T08:00:00Z")
    same_day = observation(CREATININE, 3, "mg/dL", effectiveDateTime="2025-11-20T09:00:00Z")
    later = observation(CREATININE, 3, "mg/dL", effectiveDateTime="2025-11-28T09:00:00Z")
    (only,) = facts(labs=bundle(same_day, reported), patient=patient()).labs["egfr"].results
    assert only.value == 85
    assert only.computed_from == ""
    newest, older = facts(labs=bundle(reported, later), patient=patient()).labs["egfr"].results
    assert newest.computed_from
    assert older.value == 85


def test_a_race_based_egfr_counts_only_where_there_is_nothing_else() -> None:
    race_based = observation("48643-1", 50, "mL/min/{1.73_m2}")
    (alone,) = facts(labs=bundle(race_based), patient=patient()).labs["egfr"].results
    assert alone.low_priority
    (computed,) = facts(labs=bundle(race_based, observation(CREATININE, 1.2, "mg/dL")), patient=patient()).labs["egfr"].results
    assert computed.computed_from
