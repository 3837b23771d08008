"""Cut the days of a card at a client where something changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cds_service.signals.baseline import DayCount


class Release(NamedTuple):
    """What decided a card for a client."""

    service_version: str
    dialect: str
    version: str  # of the card
    content: str  # hash of the card with its criteria, value sets and overlay


class Stretch(NamedTuple):
    """Days between two changes. `change`: what began it, "" for the first."""

    change: str
    days: Sequence[DayCount]


def stretches(days: Sequence[DayCount], releases: Mapping[int, frozenset[Release]]) -> list[Stretch]:
    """Return the days in stretches; each begins on the first day of a release that the day before did not have."""
    found: list[Stretch] = []
    start, change = 0, ""
    known: frozenset[Release] = frozenset()
    for place, day in enumerate(days):
        now = releases.get(day.day, frozenset())
        new = now - known if known else frozenset()
        if new:
            found.append(Stretch(change, days[start:place]))
            start, change = place, change_between(known, new)
        known = now or known
    return [*found, Stretch(change, days[start:])]


def change_between(before: frozenset[Release], new: frozenset[Release]) -> str:
    """Say what is new in a release, the narrowest cause first."""

    def fresh(name: str) -> str:
        old = {getattr(one, name) for one in before}
        return ", ".join(sorted({getattr(one, name) for one in new} - old))

    if version := fresh("version"):
        return f"version {version}"
    if content := fresh("content"):
        return f"content {', '.join(one[:8] for one in content.split(', '))}"
    if dialect := fresh("dialect"):
        return f"dialect {dialect}"
    return f"program {fresh('service_version')}" if fresh("service_version") else "an earlier release"
