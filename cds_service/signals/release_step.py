"""Find changes of a card's rate that came with a change: a version, a site's overlay, a program, a client's dialect.

The baseline begins anew with each change, so that what the change brought lies within it; it is compared here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cds_service.signals.baseline import LIMIT, WINDOW, Baseline, DayCount, baseline_of

DAYS = 28  # after a change, for which it is compared
LEAST_RATIO = 1.25  # between the two rates, for a change that is worth a look


class Step(NamedTuple):
    """The rate from the change up to `day`, beside that of before."""

    day: int
    fired: int
    checked: int
    usual: Baseline
    z: float


def release_steps(before: Sequence[DayCount], after: Sequence[DayCount]) -> Iterator[Step]:
    """Yield the days on which the rate since the change differs from that before; `after` begins with the day of the change."""
    usual = baseline_of(before[-WINDOW:])
    if usual is None:
        return
    fired = checked = 0
    for day in after[:DAYS]:
        fired, checked = fired + day.fired, checked + day.checked
        if not day.checked:
            continue
        z = usual.z(fired, checked)
        ratio = fired / checked / usual.rate
        if abs(z) > LIMIT and not 1 / LEAST_RATIO < ratio < LEAST_RATIO:
            yield Step(day.day, fired, checked, usual, z)
