"""Find codes and units that are new and not understood, and understood ones that come no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import log
from typing import NamedTuple

from cds_service.signals.baseline import ALPHA

LEAST_CALLS = 10  # with a new code in a week, or a week with one that vanished
WEEKS_BEFORE = 4  # that a week is compared with


class Code(NamedTuple):
    """A code of a client. `kind`: lab, unit, drug, problem …; `known`: whether the service understands it."""

    kind: str
    system: str
    code: str
    known: bool


class Counted(NamedTuple):
    """Calls of a client, and how many of them held each code."""

    calls: int
    codes: Mapping[Code, int]


def new_codes(week: Counted, before: Counted) -> Iterator[tuple[Code, int]]:
    """Yield codes that are not understood and did not come in the weeks before, with the calls that had them."""
    for code, calls in week.codes.items():
        if not code.known and calls >= LEAST_CALLS and not before.codes.get(code):
            yield code, calls


def vanished_codes(week: Counted, before: Counted) -> Iterator[tuple[Code, float]]:
    """Yield understood codes without a call in this week, with the calls a week that they had.

    Where a client calls less, fewer codes come: a code has vanished where chance leaves it out of so many calls less than
    ALPHA of times.
    """
    for code, calls in before.codes.items():
        usual = calls / WEEKS_BEFORE
        if not code.known or usual < LEAST_CALLS or week.codes.get(code):
            continue
        share = min(calls / before.calls, 0.999) if before.calls else 0.0
        if week.calls * log(1 - share) < log(ALPHA):
            yield code, usual
