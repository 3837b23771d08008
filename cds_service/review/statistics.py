"""Compute intervals, agreement and control limits for the review pages, with the standard library only.

All intervals are two-sided at 95 %. Sources: Wilson 1927 and Newcombe 1998 (Statistics in Medicine 17, 857 and 873) for
proportions and their differences; Cochran, Sampling Techniques, 1977, chapter 5 for stratified samples; Korn and Graubard 1998
(Survey Methodology 24, 193) for the effective sample size and its degrees of freedom; Cohen 1960 (Educational and Psychological
Measurement 20, 37) for kappa; Laney 2002 (Quality Engineering 14, 531) for p'.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import sqrt
from statistics import NormalDist, fmean
from typing import NamedTuple

Z95 = NormalDist().inv_cdf(0.975)
_RANGE_TO_SIGMA = 1.128  # d2 of two: the mean range of two normal values in standard deviations


@dataclass(frozen=True)
class Interval:
    """Lower and upper limit."""

    low: float
    high: float


class Stratum(NamedTuple):
    """One stratum of a sample: cases in it, cases judged, cases among them that were judged positive."""

    size: int
    judged: int
    positive: int


@dataclass(frozen=True)
class Proportion:
    """A proportion estimated from strata; shares from 0 to 1."""

    value: float
    interval: Interval
    judged: int  # cases
    effective: float | None  # cases of a simple random sample that would say as much; None where every case was judged
    covered: float  # share of all cases that lie in strata with a judged case


@dataclass(frozen=True)
class Agreement:
    """How often two readers agree, and how much of it is beyond chance."""

    kappa: float | None  # None where chance alone gives full agreement, as where both always say the same
    agreed: int
    n: int


class Limits(NamedTuple):
    """One point of a control chart: its rate, the centre line, and the limits, all from 0 to 1."""

    rate: float
    centre: float
    low: float
    high: float

    @property
    def outside(self) -> bool:
        """Whether the rate lies beyond a limit."""
        return not self.low <= self.rate <= self.high


def wilson(k: float, n: float, z: float = Z95) -> Interval:
    """Return Wilson's score interval for `k` of `n`, which need not be whole; the whole range where `n` is 0.

    Raises ValueError unless 0 <= k <= n.
    """
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no proportion")
    if n == 0:
        return Interval(0.0, 1.0)
    p, z2 = k / n, z * z
    middle, half = p + z2 / (2 * n), z * sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    low, high = (middle - half) / (1 + z2 / n), (middle + half) / (1 + z2 / n)
    return Interval(0.0 if k == 0 else max(low, 0.0), 1.0 if k == n else min(high, 1.0))


def newcombe(k1: int, n1: int, k2: int, n2: int) -> Interval:
    """Return Newcombe's interval for k1/n1 - k2/n2 of two independent samples, his method 10.

    Raises ValueError for an empty sample.
    """
    if not n1 or not n2:
        raise ValueError("a difference needs two samples")
    p1, p2 = k1 / n1, k2 / n2
    first, second = wilson(k1, n1), wilson(k2, n2)
    below = sqrt((p1 - first.low) ** 2 + (second.high - p2) ** 2)
    above = sqrt((first.high - p1) ** 2 + (p2 - second.low) ** 2)
    return Interval(p1 - p2 - below, p1 - p2 + above)


def stratified(strata: Iterable[Stratum]) -> Proportion | None:
    """Estimate the share of positive cases over all strata, each weighted by its size; None where nothing was judged.

    The interval is Wilson's with the effective sample size p(1-p) / Var, where Var = sum of W^2 p_h(1-p_h)/n_h (1 - n_h/N_h),
    and with Student's t at Satterthwaite's degrees of freedom, because ten cases of the largest stratum decide the result. In
    p and p_h one half is added on both sides, so that a stratum whose few cases agree does not count as known exactly. Strata
    without a judged case are left out of the estimate; `covered` says how much remains. Raises ValueError for an impossible one.
    """
    known = [one for one in strata if one.size > 0]
    for one in known:
        if not 0 <= one.positive <= one.judged <= one.size:
            raise ValueError(f"{one} is no sample of its stratum")
    judged = [one for one in known if one.judged]
    if not judged:
        return None
    size = sum(one.size for one in judged)
    value = sum(one.size * one.positive / one.judged for one in judged) / size
    n, covered = sum(one.judged for one in judged), size / sum(one.size for one in known)
    smoothed = [(one, (one.positive + 0.5) / (one.judged + 1)) for one in judged]
    parts = [(one, (one.size / size) ** 2 * p * (1 - p) / one.judged * (1 - one.judged / one.size)) for one, p in smoothed]
    variance = sum(part for _, part in parts)
    if not variance:
        return Proportion(value, Interval(value, value), n, None, covered)
    centre = sum(one.size * p for one, p in smoothed) / size
    effective = centre * (1 - centre) / variance
    freedom = variance**2 / sum(part**2 / max(one.judged - 1, 1) for one, part in parts)
    return Proportion(value, wilson(value * effective, effective, student95(freedom)), n, effective, covered)


def student95(freedom: float) -> float:
    """Return the 97.5 % point of Student's t; `freedom` at least 1 (Abramowitz and Stegun 26.7.5; within 1 % from two on)."""
    z = Z95
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def cohen_kappa(pairs: Iterable[tuple[Hashable, Hashable]]) -> Agreement:
    """Return Cohen's kappa of two readers' verdicts on the same cases, with the raw agreement it rests on."""
    both = list(pairs)
    n, agreed = len(both), sum(first == second for first, second in both)
    if not n:
        return Agreement(None, 0, 0)
    firsts, seconds = [one for one, _ in both], [one for _, one in both]
    chance = sum(firsts.count(one) * seconds.count(one) for one in set(firsts))  # of n * n
    kappa = (agreed * n - chance) / (n * n - chance) if chance < n * n else None
    return Agreement(kappa, agreed, n)


def laney_limits(counts: Sequence[int], totals: Sequence[int]) -> list[Limits | None]:
    """Return the point and three-sigma limits of a p' chart for each subgroup; None for a subgroup without cases.

    p' widens the binomial limits by the spread between neighbours, because with large subgroups days differ by more than chance.
    With fewer than two subgroups no spread is known: the limits are those of a p chart.
    """
    if len(counts) != len(totals):
        raise ValueError("counts and totals differ in length")
    n = sum(totals)
    if not n:
        return [None for _ in totals]
    centre = sum(counts) / n
    spread = centre * (1 - centre)
    z = [(k / size - centre) / sqrt(spread / size) for k, size in zip(counts, totals, strict=True) if size] if spread else []
    ranges = [abs(after - before) for before, after in pairwise(z)]
    sigma_z = fmean(ranges) / _RANGE_TO_SIGMA if ranges else 1.0
    return [
        _limits(k, size, centre, 3 * sqrt(spread / size) * sigma_z) if size else None
        for k, size in zip(counts, totals, strict=True)
    ]


def _limits(k: int, size: int, centre: float, width: float) -> Limits:
    return Limits(k / size, centre, max(centre - width, 0.0), min(centre + width, 1.0))


def poisson(events: int, z: float = Z95) -> Interval:
    """Return Byar's interval for the mean of a count of independent events (Breslow and Day 1987, volume 2, page 69).

    Raises ValueError for fewer than none.
    """
    if events < 0:
        raise ValueError(f"{events} is no count")
    above = events + 1
    low = events * (1 - 1 / (9 * events) - z / (3 * sqrt(events))) ** 3 if events else 0.0
    return Interval(low, above * (1 - 1 / (9 * above) + z / (3 * sqrt(above))) ** 3)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Return the two-sided exact p of McNemar's test, from the counts of pairs that differ; 1 where none does.

    Pairs are taken as independent: those of one patient are not, so p is too small where a patient has many. Raises ValueError
    for negative counts.
    """
    if min(only_first, only_second) < 0:
        raise ValueError("a count is negative")
    n, term, tail = only_first + only_second, 1, 1
    for k in range(min(only_first, only_second)):
        term = term * (n - k) // (k + 1)
        tail += term
    return min(float(Fraction(2 * tail, 2**n)), 1.0)


def newcombe_paired(both: int, only_first: int, only_second: int, neither: int) -> Interval:
    """Return Newcombe's interval for the difference of two proportions of the same cases, first minus second.

    His method 10 (Newcombe 1998, Statistics in Medicine 17, 2635): two Wilson intervals joined with the correlation of the pairs,
    which is corrected for continuity where it is positive. Raises ValueError without cases.
    """
    n = both + only_first + only_second + neither
    if not n:
        raise ValueError("a difference needs cases")
    k1, k2 = both + only_first, both + only_second
    p1, p2 = k1 / n, k2 / n
    first, second = wilson(k1, n), wilson(k2, n)
    covariance: float = both * neither - only_first * only_second
    covariance = max(covariance - n / 2, 0.0) if covariance > 0 else covariance
    product = k1 * (n - k1) * k2 * (n - k2)
    phi = covariance / sqrt(product) if product else 0.0
    low1, high1, low2, high2 = p1 - first.low, first.high - p1, p2 - second.low, second.high - p2
    below = sqrt(low1 * low1 - 2 * phi * low1 * high2 + high2 * high2)
    above = sqrt(high1 * high1 - 2 * phi * high1 * low2 + low2 * low2)
    return Interval(p1 - p2 - below, p1 - p2 + above)
