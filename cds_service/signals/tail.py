"""Give the chance of a count at least as large as one that was seen."""

from __future__ import annotations

from math import exp, sqrt
from statistics import NormalDist

_MANY = 500.0  # from such a mean on the normal distribution says the same


def tail_above(count: int, mean: float) -> float:
    """Return the Poisson chance of `count` or more where `mean` is usual, which is above the binomial one."""
    if count <= 0:
        return 1.0
    if mean > _MANY:
        return 1 - NormalDist(mean, sqrt(mean)).cdf(count - 0.5)
    term = total = exp(-mean)
    for k in range(1, count):
        term *= mean / k
        total += term
    return max(1 - total, 0.0)
