"""Compare two proportions."""

from __future__ import annotations

from math import sqrt


def difference_z(now: int, of_now: int, before: int, of_before: int) -> float:
    """Return the difference in standard deviations of chance (pooled); 0 where there is nothing to compare."""
    if not of_now or not of_before:
        return 0.0
    pooled = (now + before) / (of_now + of_before)
    error = sqrt(pooled * (1 - pooled) * (1 / of_now + 1 / of_before))
    return (now / of_now - before / of_before) / error if error else 0.0
