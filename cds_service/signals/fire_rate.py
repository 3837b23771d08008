"""Find the days on which a card fired more or less than it used to at one client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from cds_service.signals.baseline import LIMIT, WINDOW, Baseline, DayCount, baseline_of
from cds_service.signals.cusum import Cusum
from cds_service.signals.zero_fire import ZeroFire


class Alarm(msgspec.Struct, frozen=True):
    """A day that is not as usual, and which of the three tests say so: laney, zero, cusum."""

    day: DayCount
    usual: Baseline
    z: float
    found_by: tuple[str, ...]
    without_firing: int  # evaluations in a row that did not fire


def fire_rate_alarms(stretch: Sequence[DayCount]) -> Iterator[Alarm]:
    """Yield the alarms of one stretch: days without a gap between two changes, in their order.

    Each day is compared with the WINDOW days before it.
    """
    cusum, zero = Cusum(), ZeroFire()
    for place, day in enumerate(stretch):
        usual = baseline_of(stretch[max(0, place - WINDOW) : place])
        if usual is None or not day.checked:
            continue
        z = usual.z(day.fired, day.checked)
        found = []
        if abs(z) > LIMIT:
            found.append("laney")
        if zero.add(day.fired, day.checked, usual):
            found.append("zero")
        if cusum.add(z):
            found.append("cusum")
        if found:
            yield Alarm(day, usual, z, tuple(found), zero.since_fired)
