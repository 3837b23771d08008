"""Decide from the calls of one hour whether something was wrong in it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from cds_service.signals.baseline import ALPHA
from cds_service.signals.tail import tail_above

USUAL_CALLS = 20  # in the middle of the same hour of as many weeks, for an hour without calls to be strange
LEAST_WEEKS = 4
MOST_FAILED = 0.01  # share of calls with a status of 500 or more
MOST_SLOW = 0.05  # share of calls over the budget: with more, the 95th percentile is over it
LEAST_BAD = 3  # calls, so that one of few is no alarm
TIMES_NOT_CHECKED = 3.0  # the usual share


class Hour(NamedTuple):
    """The calls of one client in one hour, and the evaluations in them that applied."""

    calls: int
    failed: int
    slow: int
    evaluations: int
    not_checked: int


def stopped_calling(hour: Hour, same_hours: Sequence[int]) -> float | None:
    """Return how many calls are usual where none came. `same_hours`: of the same weekday and hour in weeks before."""
    if hour.calls or len(same_hours) < LEAST_WEEKS:
        return None
    usual = median(same_hours)
    return usual if usual >= USUAL_CALLS else None


def failing(hour: Hour) -> bool:
    return hour.failed >= LEAST_BAD and hour.failed > MOST_FAILED * hour.calls


def slow(hour: Hour) -> bool:
    return hour.slow >= LEAST_BAD and hour.slow > MOST_SLOW * hour.calls


def not_checked(hour: Hour, usual: float) -> bool:
    """Say whether far more than the `usual` share of evaluations could not be checked, beyond chance.

    What a call lacks, several of its evaluations lack: so chance is asked about calls, of which each has as many evaluations.
    """
    if not hour.evaluations or hour.not_checked <= TIMES_NOT_CHECKED * usual * hour.evaluations:
        return False
    of_a_call = max(hour.evaluations / hour.calls, 1.0) if hour.calls else 1.0
    calls = round(hour.not_checked / of_a_call)
    return calls >= LEAST_BAD and tail_above(calls, usual * hour.evaluations / of_a_call) < ALPHA / 2
