"""Quantities → canonical numbers. A unit that is not known for an analyte is never guessed."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from cds_service.fhir.resources import Quantity

if TYPE_CHECKING:
    from cds_service.terminology.lab_terms import Analyte
    from cds_service.terminology.terminology import Terminology

_LARGEST_EXPONENT = 15  # 1E+999999999 is a valid Decimal that no arithmetic survives


def unit_of(quantity: Quantity, analyte: Analyte, terminology: Terminology) -> str | None:
    """The canonical spelling of a quantity's unit; "" where none was sent, None where it can't be relied on."""
    return terminology.unit_for(analyte.id, quantity.unit, quantity.code)


def is_number(value: Decimal) -> bool:
    """True where arithmetic on `value` is safe: finite and of a sane size (FHIR allows neither infinity nor a limit)."""
    return value.is_finite() and -_LARGEST_EXPONENT <= value.adjusted() <= _LARGEST_EXPONENT


def canonical(value: Decimal, unit: str, analyte: Analyte) -> Decimal:
    """`value` in the analyte's canonical unit. `value` passes `is_number`; `unit` is one of `analyte.factors`, else KeyError."""
    return value if unit == analyte.unit else value * analyte.factors[unit]


def is_plausible(value: Decimal, analyte: Analyte) -> bool:
    """True where `value` (canonical unit) can be a result of a living patient; no analyte here can be zero or less."""
    if analyte.plausible is None:
        return value > 0
    low, high = analyte.plausible
    return low <= value <= high
