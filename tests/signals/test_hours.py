"""What is wrong with an hour."""

from __future__ import annotations

import pytest

from cds_service.signals import hours
from cds_service.signals.hours import Hour

FINE = Hour(100, 0, 0, 800, 16)


def test_an_hour_without_calls_is_strange_where_twenty_are_usual() -> None:
    silent = Hour(0, 0, 0, 0, 0)
    assert hours.stopped_calling(silent, [41, 39, 0, 44, 40]) == 40
    assert hours.stopped_calling(silent, [19, 18, 20, 19]) is None
    assert hours.stopped_calling(silent, [50, 50, 50]) is None  # three weeks say too little
    assert hours.stopped_calling(FINE, [41, 39, 44, 40]) is None


@pytest.mark.parametrize(("failed", "calls", "bad"), [(1, 20, False), (3, 100, True), (3, 400, False), (5, 400, True)])
def test_server_errors(failed: int, calls: int, bad: bool) -> None:
    assert hours.failing(Hour(calls, failed, 0, 0, 0)) is bad


@pytest.mark.parametrize(("slow", "calls", "bad"), [(2, 20, False), (5, 100, False), (6, 100, True)])
def test_slow_responses(slow: int, calls: int, bad: bool) -> None:
    assert hours.slow(Hour(calls, 0, slow, 0, 0)) is bad


def test_what_could_not_be_checked_is_compared_with_the_usual_share() -> None:
    assert not hours.not_checked(FINE, 0.02)
    assert hours.not_checked(FINE._replace(not_checked=120), 0.02)
    assert not hours.not_checked(FINE._replace(not_checked=120), 0.06)  # 2.5 times the usual
    assert not hours.not_checked(Hour(4, 0, 0, 32, 8), 0.02)  # one call whose labs failed
    assert not hours.not_checked(Hour(0, 0, 0, 0, 0), 0.02)
