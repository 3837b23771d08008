"""Fit a line before and a line after a change to daily rates, with the standard library only.

Interrupted time series as in Wagner, Soumerai, Zhang, Ross-Degnan 2002 (Journal of Clinical Pharmacy and Therapeutics 27, 299):
rate = level + slope * day + (change of level) * after + (change of slope) * (days since the change) * after, by least squares. No
control group and no randomisation: whatever else changed that week is in it, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt

from cds_service.review.statistics import Interval, student95

LEAST_DAYS = 3  # on each side: fewer give no line with a spread


@dataclass(frozen=True)
class Coefficient:
    """An estimate with its standard error and its interval of 95 %."""

    value: float
    error: float
    interval: Interval


@dataclass(frozen=True)
class Segments:
    """The change of the level, and of the slope per day, at the first day of `after`."""

    level: Coefficient
    slope: Coefficient
    days_before: int
    days_after: int


def segmented(before: Sequence[tuple[int, float]], after: Sequence[tuple[int, float]]) -> Segments | None:
    """Return the changes; None with fewer than three days on a side. Points: (number of the day, rate); days may be missing."""
    if len(before) < LEAST_DAYS or len(after) < LEAST_DAYS:
        return None
    start = after[0][0]
    rows = [(1.0, float(day - start), 0.0, 0.0) for day, _ in before] + [
        (1.0, float(day - start), 1.0, float(day - start)) for day, _ in after
    ]
    fitted = least_squares(rows, [rate for _, rate in (*before, *after)])
    return Segments(fitted[2], fitted[3], len(before), len(after))


def least_squares(rows: Sequence[Sequence[float]], values: Sequence[float]) -> list[Coefficient]:
    """Fit `values` by the columns of `rows`, which stand for one observation each.

    Solved in fractions, so that no digit is lost to columns that are nearly the same. Raises ValueError unless there are more
    rows than columns, and for columns that depend on each other.
    """
    n, width = len(rows), len(rows[0]) if rows else 0
    if n <= width or len(values) != n:
        raise ValueError("a fit needs more observations than coefficients")
    exact = [[Fraction(one) for one in row] for row in rows]
    wanted = [Fraction(one) for one in values]
    products = [[sum((row[i] * row[j] for row in exact), Fraction()) for j in range(width)] for i in range(width)]
    right = [sum((row[i] * value for row, value in zip(exact, wanted, strict=True)), Fraction()) for i in range(width)]
    inverse = _inverted(products)
    found = [sum((inverse[i][j] * right[j] for j in range(width)), Fraction()) for i in range(width)]
    residuals = [
        value - sum((a * b for a, b in zip(row, found, strict=True)), Fraction())
        for row, value in zip(exact, wanted, strict=True)
    ]
    variance = sum((one * one for one in residuals), Fraction()) / (n - width)
    made = []
    for i, value in enumerate(found):
        error = sqrt(variance * inverse[i][i])
        half = student95(n - width) * error
        made.append(Coefficient(float(value), error, Interval(float(value) - half, float(value) + half)))
    return made


def _inverted(matrix: Sequence[Sequence[Fraction]]) -> list[list[Fraction]]:
    """Return the inverse, by elimination. Raises ValueError where there is none."""
    width = len(matrix)
    work = [[*row, *(Fraction(int(i == j)) for j in range(width))] for i, row in enumerate(matrix)]
    for column in range(width):
        pivot = next((row for row in range(column, width) if work[row][column]), None)
        if pivot is None:
            raise ValueError("the columns depend on each other")
        work[column], work[pivot] = work[pivot], work[column]
        head = work[column][column]
        work[column] = [one / head for one in work[column]]
        for row in range(width):
            if row != column and work[row][column]:
                factor = work[row][column]
                work[row] = [a - factor * b for a, b in zip(work[row], work[column], strict=True)]
    return [row[width:] for row in work]
