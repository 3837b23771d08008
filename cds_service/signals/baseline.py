"""Measure how often a card used to fire, and how far a day lies from that (Laney 2002, Quality Engineering 14, 531)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from statistics import NormalDist, fmean
from typing import NamedTuple

import msgspec

from cds_service.signals.tail import binomial_score

WINDOW = 56  # days that a baseline looks back
LEAST_DAYS = 7  # with evaluations, before a baseline says anything
ALPHA = 2e-4  # two-sided, for one day of one card at one client
LIMIT = NormalDist().inv_cdf(1 - ALPHA / 2)  # 3.72 standard deviations
_RANGE_TO_SIGMA = 1.128  # d2 of two: the mean range of two normal values in standard deviations


class DayCount(NamedTuple):
    """One day of one card at one client: evaluations that fired, of those that fired or did not fire. `day`: YYYYMMDD."""

    day: int
    fired: int
    checked: int


class Baseline(msgspec.Struct, frozen=True):
    """The pooled rate of a stretch of days, and by how much days differ beyond chance."""

    fired: int
    checked: int
    sigma: float  # of the days' z; 1 where chance alone explains the differences, never less

    @property
    def rate(self) -> float:
        return self.fired / self.checked

    def z(self, fired: int, checked: int) -> float:
        """Return how many standard deviations the rate of a day lies from the baseline; `checked` above 0.

        The baseline is an estimate too: the fewer evaluations it rests on, the less a day says.
        """
        return binomial_score(fired, checked, self.rate) / (self.sigma * sqrt(1 + checked / self.checked))


def baseline_of(days: Sequence[DayCount]) -> Baseline | None:
    """Return the baseline of the last WINDOW days; None where they are too few, or the card never or always fired."""
    known = [one for one in days if one.checked]
    if len(known) < LEAST_DAYS:
        return None
    fired, checked = sum(one.fired for one in known), sum(one.checked for one in known)
    if not 0 < fired < checked:
        return None
    p = fired / checked
    spread = sqrt(p * (1 - p))
    z = [(one.fired / one.checked - p) * sqrt(one.checked) / spread for one in known]
    sigma = fmean(abs(after - before) for before, after in pairwise(z)) / _RANGE_TO_SIGMA
    return Baseline(fired, checked, max(sigma, 1.0))
