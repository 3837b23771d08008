"""Give the chances of counts, and what they are worth in standard deviations."""

from __future__ import annotations

from math import exp, lgamma, log, sqrt
from statistics import NormalDist

_STANDARD = NormalDist()
_MANY = 500.0  # from such a mean on the normal distribution says the same
_ENOUGH = 5.0  # n p (1 - p), from which on the plain z of a count serves, as is usual
_FAR = 7.0  # standard deviations, beyond which a chance is too small to be turned into them


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


def binomial_score(k: int, n: int, p: float) -> float:
    """Return how far `k` of `n` lies from the share `p` (above 0, below 1), in standard deviations.

    It is the normal score of the exact chance, with half of that of `k` itself (mid-p): a single firing of a card that fires
    once a week is nothing special, and the plain z of such counts says that it is.
    """
    plain = (k - n * p) / sqrt(n * p * (1 - p))
    if abs(plain) > _FAR or n * p * (1 - p) >= _ENOUGH:
        return plain
    if plain < 0:
        return _STANDARD.inv_cdf(_mid_below(k, n, p))
    return -_STANDARD.inv_cdf(_mid_below(n - k, n, 1 - p))


def _mid_below(k: int, n: int, p: float) -> float:
    """Return the binomial chance of fewer than `k`, and half of that of `k`; at least 1e-300."""
    term = exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) + (n - k) * log(1 - p))
    total = term / 2
    for j in range(k, 0, -1):
        term *= j * (1 - p) / ((n - j + 1) * p)
        total += term
        if term < 1e-12 * total:
            break
    return min(max(total, 1e-300), 0.5)
