"""Compute the estimated glomerular filtration rate (eGFR) from creatinine."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import msgspec

from cds_service.criteria.facts import Lab, Patient

if TYPE_CHECKING:
    from cds_service.terminology.lab_terms import Analyte

_MICROMOLES_PER_MILLIGRAM = 88.4  # umol/L in 1 mg/dL of creatinine, the factor of the equation's authors


def ckd_epi_2021(creatinine: Decimal, age: int, sex: Literal["female", "male"]) -> Decimal:
    """Return the eGFR in mL/min/1.73 m2, rounded to a whole number as laboratories do.

    `creatinine` in umol/L (above 0), `age` in completed years (the equation holds from 18 on), `sex` as administrative gender.
    The CKD-EPI creatinine equation of 2021, without race: Inker LA et al., N Engl J Med 2021;385:1737-1749.
    """
    kappa, alpha, factor = (0.7, -0.241, 1.012) if sex == "female" else (0.9, -0.302, 1.0)
    ratio = float(creatinine) / _MICROMOLES_PER_MILLIGRAM / kappa
    return Decimal(round(142 * min(ratio, 1) ** alpha * max(ratio, 1) ** -1.2 * 0.9938**age * factor))


def computed_egfr(creatinine: Iterable[Lab], patient: Patient, egfr: Analyte, from_age: int) -> Lab | None:
    """Return the eGFR of the newest creatinine that is an exact number, with its standing.

    `creatinine`: newest first, umol/L. None where there is none, where age or sex is unknown, and where the patient was younger
    than `from_age` (years) when it was drawn.
    """
    usable = next((lab for lab in creatinine if not lab.comparator), None)
    born = patient.birth_date
    if usable is None or born is None or patient.sex is None:
        return None
    drawn = usable.effective.start
    age = drawn.year - born.year - ((drawn.month, drawn.day) < (born.month, born.day))
    if age < from_age:
        return None
    value = ckd_epi_2021(usable.value, age, patient.sex)
    return msgspec.structs.replace(
        usable,
        analyte=egfr.id,
        value=value,
        reported_value=value,
        reported_unit=egfr.unit,
        canonical_unit=egfr.unit,
        range_low=None,
        computed_from=f"creatinine {usable.reported_value} {usable.reported_unit} of {usable.effective.day}, CKD-EPI 2021",
    )
