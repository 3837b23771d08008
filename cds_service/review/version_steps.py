"""Compare the fire rate of each version of a card with that of the version before it.

The limits of the daily chart begin anew with each version, so a change that a new version brought lies within them. It is the
change that a reader must not miss, so it is said in numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import msgspec

from cds_service.review.rate import Rate, share
from cds_service.review.statistics import newcombe
from cds_service.rollups.queries import Evaluations


class Step(msgspec.Struct, frozen=True):
    """The fire rates of a version and of the one before it, and their difference with its interval of 95 % (Newcombe)."""

    version: str
    before: str  # the version
    rate: Rate
    rate_before: Rate
    difference: float
    low: float
    high: float

    @property
    def differs(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def steps(by_day: Mapping[int, Mapping[str, Evaluations]]) -> list[Step]:
    """Return the step to each version, in the order of their first days. `by_day`: evaluations by day and version.

    A version with no evaluation that fired or did not fire has no rate and is passed over.
    """
    counts: dict[str, tuple[int, int]] = {}
    for day in sorted(by_day):
        for version, found in sorted(by_day[day].items()):
            if found.checked:
                fired, checked = counts.get(version, (0, 0))
                counts[version] = (fired + found.fired, checked + found.checked)
    versions = list(counts)
    return [_step(before, version, counts) for before, version in pairwise(versions)]


def said(step: Step) -> str:
    """Say a step in a sentence."""
    return (
        f"{step.version} fires in {_share(step.rate)}, {step.before} did in {_share(step.rate_before)}: "
        f"{_points(step.difference)} percentage points ({_points(step.low)} to {_points(step.high)}), "
        f"{'more than chance explains' if step.differs else 'which chance can explain'}."
    )


def _step(before: str, version: str, counts: Mapping[str, tuple[int, int]]) -> Step:
    now, then = counts[version], counts[before]
    interval = newcombe(*now, *then)
    difference = now[0] / now[1] - then[0] / then[1]
    return Step(version, before, share("fire_rate", *now), share("fire_rate", *then), difference, interval.low, interval.high)


def _share(rate: Rate) -> str:
    return f"{rate.numerator:,} of {rate.denominator:,} ({100 * rate.numerator / rate.denominator:.1f} %)"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"
