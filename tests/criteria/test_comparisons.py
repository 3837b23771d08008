"""Criteria that compare with what the laboratory sent, with a dose that is taken, or with the date of something else."""

from __future__ import annotations

import pytest

from cds_service.criteria.facts import Lab
from tests.core import Json, facts, finding

CK = "LOINC#2157-6 Creatine kinase"
VERY_HIGH = {
    "kind": "lab",
    "analyte": "creatine_kinase",
    "above": 2000,
    "upper_limit_times": 10,
    "unit": "U/L",
    "within_days": 30,
}
IONISED = "LOINC#1995-0 Ionised calcium"
OWN_LOW = {"kind": "lab", "analyte": "ionised_calcium", "own_range": "below", "within_days": 30}
OWN_NOT_LOW = OWN_LOW | {"own_range": "not below"}
CALCIUM = "LOINC#17861-6 Calcium"
ALBUMIN = "LOINC#1751-7 Albumin"
LOW_CALCIUM = {
    "kind": "lab",
    "analyte": "calcium",
    "below": 2.0,
    "below_reported": {"mg/dL": 8.0},
    "unit": "mmol/L",
    "within_days": 30,
}
AS_MEASURED = LOW_CALCIUM | {"as_measured": True}
TOO_MUCH = {"kind": "drug", "classes": ["acetaminophen"], "dose_above": 4000}
REGULAR = {"kind": "drug", "classes": ["acetaminophen"], "regular": True}
NEW_STATIN = {"kind": "drug", "classes": ["statin"], "begun_days_before": 90, "before_sets": ["muscle_cramp"]}
KIDNEY_INJURY = {"kind": "problem", "sets": ["aki"], "newer_than": "egfr"}
RECENT = {"kind": "problem", "sets": ["malaria"], "onset_within_days": 90}
EGFR = "LOINC#98979-8 eGFR 80 mL/min/{1.73_m2}"
CRAMP = "ICD10#R25.2 Cramp"


@pytest.mark.parametrize(
    ("criterion", "lines", "expected"),
    [
        (VERY_HIGH, [f"{CK} 2001 U/L"], "MET"),
        (VERY_HIGH, [f"{CK} 2000 U/L"], "UNMET"),
        (VERY_HIGH, [f"{CK} 2100 U/L, range 30-250"], "UNMET"),
        (VERY_HIGH, [f"{CK} 1600 U/L, range 30-150"], "MET"),
        (VERY_HIGH, [f"{CK} > 1000 U/L, range 30-150"], "UNKNOWN"),
        (OWN_LOW, [f"{IONISED} 1.05 mmol/L, range 1.15-1.30"], "MET"),
        (OWN_LOW, [f"{IONISED} 1.15 mmol/L, range 1.15-1.30"], "UNMET"),
        (OWN_LOW, [f"{IONISED} 1.05 mmol/L"], "UNKNOWN"),
        (OWN_LOW, [], "UNKNOWN"),
        (OWN_NOT_LOW, [f"{IONISED} 1.15 mmol/L, range 1.15-1.30"], "MET"),
        (OWN_NOT_LOW, [f"{IONISED} 1.05 mmol/L, range 1.15-1.30"], "UNMET"),
        (OWN_LOW | {"own_range": "not sent"}, [f"{IONISED} 1.05 mmol/L"], "MET"),
        (OWN_LOW | {"own_range": "not sent"}, [f"{IONISED} 1.05 mmol/L, range 1.15-1.30"], "UNMET"),
        (LOW_CALCIUM, [f"{CALCIUM} 7.6 mg/dL"], "MET"),
        (LOW_CALCIUM, [f"{CALCIUM} 7.6 mg/dL", f"{ALBUMIN} 2.0 g/dL"], "UNMET"),
        (LOW_CALCIUM, [f"{CALCIUM} 7.6 mg/dL", f"{ALBUMIN} 38 g/L"], "MET"),
        (LOW_CALCIUM, [f"{CALCIUM} 7.6 mg/dL at 2025-11-28", f"{ALBUMIN} 2.0 g/dL at 2025-11-25"], "UNMET"),
        (LOW_CALCIUM, [f"{CALCIUM} 7.6 mg/dL at 2025-11-28", f"{ALBUMIN} 2.0 g/dL at 2025-11-24"], "MET"),
        (LOW_CALCIUM, [f"{CALCIUM} 7.6 mg/dL", f"{ALBUMIN} < 2.0 g/dL"], "MET"),
        (LOW_CALCIUM, [f"{CALCIUM} 8.7 mg/dL", f"{ALBUMIN} 5.3 g/dL"], "UNMET"),
        (AS_MEASURED, [f"{CALCIUM} 7.6 mg/dL", f"{ALBUMIN} 5.3 g/dL"], "UNMET"),
        (AS_MEASURED, [f"{CALCIUM} 7.6 mg/dL"], "MET"),
        (AS_MEASURED, [f"{CALCIUM} 7.6 mg/dL", f"{ALBUMIN} 38 g/L"], "UNMET"),
        (TOO_MUCH, ["takes: acetaminophen 500 mg, 3 tablets three times daily"], "MET"),
        (TOO_MUCH, ["takes: acetaminophen 1000 mg, 1 tablet four times daily"], "UNMET"),
        (TOO_MUCH, ["takes: acetaminophen"], "UNKNOWN"),
        (TOO_MUCH, [], "UNMET"),
        (REGULAR, ["takes: acetaminophen, 1 g three times daily"], "MET"),
        (REGULAR, ["takes: acetaminophen, 1 g three times daily as needed"], "UNMET"),
        (REGULAR, ["takes: acetaminophen 500 mg"], "UNKNOWN"),
        (NEW_STATIN, ["takes: simvastatin, since 2025-09-01", f"{CRAMP}, onset 2025-11-20"], "MET"),
        (NEW_STATIN, ["takes: simvastatin, since 2025-08-21", f"{CRAMP}, onset 2025-11-20"], "UNMET"),
        (NEW_STATIN, ["takes: simvastatin, since 2025-11-21", f"{CRAMP}, onset 2025-11-20"], "UNMET"),
        (
            NEW_STATIN,
            ["takes: simvastatin, since 2020-01-01", "prescribed: simvastatin, since 2025-11-01", f"{CRAMP}, onset 2025-11-20"],
            "UNMET",
        ),
        (NEW_STATIN, ["takes: simvastatin", f"{CRAMP}, onset 2025-11-20"], "UNKNOWN"),
        (NEW_STATIN, ["takes: simvastatin, since 2025-11-01", CRAMP], "UNKNOWN"),
        (NEW_STATIN, ["takes: simvastatin, since 2025-11-01"], "UNMET"),
        (KIDNEY_INJURY, ["ICD10#N17.9 Kidney injury, onset 2025-11-29", f"{EGFR} at 2025-11-28"], "MET"),
        (KIDNEY_INJURY, ["ICD10#N17.9 Kidney injury, onset 2025-11-28", f"{EGFR} at 2025-11-28"], "UNMET"),
        (KIDNEY_INJURY, ["ICD10#N17.9 Kidney injury, onset 2020-11-28"], "MET"),
        (KIDNEY_INJURY, ["ICD10#N17.9 Kidney injury", f"{EGFR} at 2025-11-28"], "MET"),
        (RECENT, ["ICD10#B54 Malaria"], "UNMET"),
        (RECENT | {"undated": True}, ["ICD10#B54 Malaria"], "MET"),
        (RECENT | {"undated": True}, ["ICD10#B54 Malaria, onset 2002-04-01"], "UNMET"),
    ],
)
def test_what_a_criterion_is_compared_with_decides(criterion: Json, lines: list[str], expected: str) -> None:
    assert finding(criterion, facts(*lines)).truth.name == expected


def test_a_corrected_calcium_says_what_it_was_computed_from() -> None:
    found = finding(LOW_CALCIUM, facts(f"{CALCIUM} 6.0 mg/dL at 2025-11-28", f"{ALBUMIN} 3.0 g/dL at 2025-11-27"))
    (lab,) = found.evidence
    assert isinstance(lab, Lab)
    assert (str(lab.reported_value), lab.computed_from) == (
        "6.80",
        "6.0 mg/dL with albumin 3.0 g/dL",
    )
