"""Convert quantities to numbers in canonical units; an unknown unit is never guessed."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from cds_service.fhir.resources import Quantity

if TYPE_CHECKING:
    from cds_service.terminology.lab_terms import Analyte
    from cds_service.terminology.terminology import Terminology

_LARGEST_EXPONENT = 15  # 1E+999999999 is a valid Decimal that no arithmetic survives


def unit_of(quantity: Quantity, analyte: Analyte, terminology: Terminology) -> str | None:
    """Return the canonical unit of a quantity; "" where none was sent, None where it is unreliable."""
    return terminology.unit_for(analyte.id, quantity.unit, quantity.code)


def is_number(value: Decimal) -> bool:
    """Tell whether arithmetic on `value` is safe: finite, and of a size that FHIR does not limit."""
    return value.is_finite() and -_LARGEST_EXPONENT <= value.adjusted() <= _LARGEST_EXPONENT


def canonical(value: Decimal, unit: str, analyte: Analyte) -> Decimal:
    """Return `value` in the analyte's canonical unit.

    `value` passes `is_number`. Raises KeyError for a unit that is not in `analyte.factors`.
    """
    return value if unit == analyte.unit else value * analyte.factors[unit]


def is_plausible(value: Decimal, analyte: Analyte) -> bool:
    """Tell whether `value` (canonical unit) is possible in a living patient; zero and less never are."""
    if analyte.plausible is None:
        return value > 0
    low, high = analyte.plausible
    return low <= value <= high
