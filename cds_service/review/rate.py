"""Build the rates that pages show: two numbers, the interval, and the definition behind them."""

from __future__ import annotations

import msgspec

from cds_service.review.definitions import DEFINITIONS
from cds_service.review.statistics import poisson, wilson

ENOUGH_COVERAGE = 0.5  # below it a rate of outcomes is grey: the unanswered could turn it around


class Rate(msgspec.Struct, frozen=True):
    """`numerator` of `denominator`. `value`, `low` and `high` are None where there is nothing to divide by.

    `definition` is a name in DEFINITIONS. `per` is 100 where the value counts events per 100, else 1 for a share. `low_coverage`:
    too few cards got feedback for the value to mean much.
    """

    definition: str
    numerator: int
    denominator: int
    value: float | None
    low: float | None
    high: float | None
    per: int = 1
    low_coverage: bool = False


def share(definition: str, numerator: int, denominator: int, *, low_coverage: bool = False) -> Rate:
    """Return a share with Wilson's interval. Raises KeyError for an unknown definition, ValueError for more than all."""
    _defined(definition)
    if not denominator:
        return Rate(definition, numerator, denominator, None, None, None, 1, low_coverage)
    interval = wilson(numerator, denominator)
    return Rate(definition, numerator, denominator, numerator / denominator, interval.low, interval.high, 1, low_coverage)


def per_100(definition: str, numerator: int, denominator: int) -> Rate:
    """Return events per 100, of which one order may have several, with the interval of a count (Poisson)."""
    _defined(definition)
    if not denominator:
        return Rate(definition, numerator, denominator, None, None, None, 100)
    interval, scale = poisson(numerator), 100 / denominator
    return Rate(definition, numerator, denominator, numerator * scale, interval.low * scale, interval.high * scale, 100)


def bounds(definition: str, least: int, most: int, denominator: int) -> Rate:
    """Return a share of which only bounds are known: between `least` and `most` of `denominator`."""
    _defined(definition)
    if not denominator:
        return Rate(definition, least, denominator, None, None, None)
    return Rate(definition, least, denominator, None, least / denominator, most / denominator)


def _defined(definition: str) -> None:
    """Raise KeyError where there is no such definition."""
    DEFINITIONS[definition]
