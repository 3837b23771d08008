from __future__ import annotations

from decimal import Decimal

import pytest

from cds_service.fhir.resources import Quantity
from cds_service.terminology.units import canonical, is_number, is_plausible, unit_of
from tests.reading import terminology


@pytest.mark.parametrize(
    ("analyte", "unit", "code", "expected"),
    [
        ("potassium", "mmol/L", None, "mmol/L"),
        ("potassium", "MEQ/L", None, "mEq/L"),
        ("potassium", None, "mmol/L", "mmol/L"),
        ("potassium", "Millimoles per Liter of serum", "mmol/L", "mmol/L"),
        ("potassium", "mmol/L", "mEq/L", "mmol/L"),  # the same for a single charge
        ("potassium", "mmol/L", "258813002", "mmol/L"),  # a SNOMED CT code of the unit
        ("potassium", None, "258813002", "mmol/L"),
        ("creatinine", None, "258814008", "umol/L"),
        ("creatinine", "mmol/L", "258814008", None),  # one of them is wrong
        ("potassium", None, None, ""),
        ("potassium", "", "", ""),
        ("potassium", "furlong", None, None),
        ("potassium", None, "258814008", None),
        ("potassium", "ms", None, None),
        ("magnesium", "mg/dL", "mmol/L", None),  # one of them is wrong
        ("magnesium", "mEq/L", "mmol/L", None),
    ],
)
def test_a_unit_is_known_for_the_analyte_or_not_relied_on(
    analyte: str, unit: str | None, code: str | None, expected: str | None
) -> None:
    quantity = Quantity(value=Decimal(4), unit=unit, code=code)
    assert unit_of(quantity, terminology().analytes[analyte], terminology()) == expected


@pytest.mark.parametrize(
    ("analyte", "value", "unit", "expected"),
    [
        ("potassium", "3.2", "mEq/L", "3.2"),
        ("magnesium", "1.2", "mg/dL", "0.493620"),
        ("magnesium", "1.2", "mEq/L", "0.60"),
        ("creatinine", "1.0", "mg/dL", "88.40"),
        ("qtc", "0.52", "s", "520.00"),
    ],
)
def test_values_are_converted_at_full_precision(analyte: str, value: str, unit: str, expected: str) -> None:
    assert str(canonical(Decimal(value), unit, terminology().analytes[analyte])) == expected


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "1E+999999999", "1E-999999999"])
def test_numbers_that_no_arithmetic_survives_are_not_numbers(value: str) -> None:
    assert not is_number(Decimal(value))


@pytest.mark.parametrize("value", ["0", "3.20", "-1", "1E+2"])
def test_ordinary_numbers_are_numbers(value: str) -> None:
    assert is_number(Decimal(value))


@pytest.mark.parametrize(
    ("analyte", "value", "plausible"),
    [("potassium", "1.0", True), ("potassium", "0.9", False), ("potassium", "10.1", False), ("creatinine", "0", False)],
)
def test_a_value_that_no_living_patient_has_is_implausible(analyte: str, value: str, plausible: bool) -> None:
    assert is_plausible(Decimal(value), terminology().analytes[analyte]) is plausible
