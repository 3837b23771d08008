"""The daily detectors: what they find, how soon, and how seldom they find what is not there."""

from __future__ import annotations

import random
from math import sqrt
from statistics import fmean, median

import pytest

from cds_service.signals.baseline import LEAST_DAYS, DayCount, baseline_of
from cds_service.signals.cusum import Cusum
from cds_service.signals.fire_rate import fire_rate_alarms
from cds_service.signals.release_step import release_steps
from cds_service.signals.tail import binomial_score, tail_above
from tests.bench.signals import days_to_find, false_alarms, false_step, made_days
from tests.proofs import examples


def steady(days: int, fired: int = 10, checked: int = 100) -> list[DayCount]:
    """Days that differ a little, as real ones do."""
    return [DayCount(20260101 + day, fired + (-1, 0, 1)[day % 3], checked) for day in range(days)]


@pytest.mark.proof
def test_false_alarms_are_rare() -> None:
    runs = examples("CDS_SIGNAL_RUNS", 12, 100)
    for load in (40, 10, 3):
        rng = random.Random(load)
        chance = 2 * sqrt(1.6 / runs)  # of a mean of so few years
        assert fmean(false_alarms(rng, load) for _ in range(runs)) <= 1.6 + chance
        assert sum(false_step(rng, load) for _ in range(runs)) <= max(1, runs // 20)


@pytest.mark.proof
def test_a_stop_is_found_in_a_day_and_doubling_in_two() -> None:
    runs = examples("CDS_SIGNAL_RUNS", 25, 100)
    for load, factor, days in ((10, 0.0, 1), (40, 0.0, 1), (10, 2.0, 2), (40, 2.0, 1)):
        rng = random.Random(load)
        found = [days_to_find(rng, load, factor) or 99 for _ in range(runs)]
        assert median(found) <= days, (load, factor)


def test_a_quiet_card_has_no_alarm_and_no_baseline_without_enough_days() -> None:
    assert list(fire_rate_alarms(steady(120))) == []
    assert baseline_of(steady(LEAST_DAYS - 1)) is None
    assert baseline_of([DayCount(day, 0, 50) for day in range(30)]) is None  # it never fired: nothing to compare with
    assert baseline_of([DayCount(day, 50, 50) for day in range(30)]) is None


def test_each_test_says_what_it_found() -> None:
    stop = [*steady(60, 20, 200), *(DayCount(20260401 + day, 0, 200) for day in range(2))]
    alarms = list(fire_rate_alarms(stop))
    assert alarms[0].day.day == 20260401
    assert {"laney", "zero"} <= set(alarms[0].found_by)
    assert alarms[1].without_firing == 400
    creeping = [*steady(60, 40, 400), *(DayCount(20260401 + day, 48, 400) for day in range(15))]
    assert next(fire_rate_alarms(creeping)).found_by == ("cusum",)


def test_a_day_without_evaluations_says_nothing() -> None:
    days = [*steady(60), DayCount(20260401, 0, 0), DayCount(20260402, 0, 0)]
    assert list(fire_rate_alarms(days)) == []


def test_a_rate_that_changed_with_a_version_is_a_step_and_the_same_rate_is_none() -> None:
    assert list(release_steps(steady(60), steady(28))) == []
    steps = list(release_steps(steady(60), steady(10, 25)))
    assert steps[0].day == 20260101  # the first day is enough
    assert steps[-1].checked == 1000
    assert all(one.z > 0 for one in steps)
    assert all(one.z < 0 for one in release_steps(steady(60), steady(10, 3)))
    assert list(release_steps(steady(LEAST_DAYS - 1), steady(10, 22))) == []


def test_a_large_log_does_not_tell_of_small_steps() -> None:
    assert list(release_steps(steady(60, 1000, 10_000), steady(20, 1100, 10_000))) == []


def test_cusum_begins_anew_after_its_alarm() -> None:
    cusum = Cusum()
    assert [cusum.add(2.0) for _ in range(8)] == [False, False, False, True, False, False, False, True]
    assert not any(cusum.add(0.4) for _ in range(100))
    assert [cusum.add(-3.0) for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize(
    ("k", "n", "p", "score"), [(0, 10, 0.5, -3.30), (5, 10, 0.5, 0.0), (1, 7, 0.02, 1.49), (40, 100, 0.2, 5.0)]
)
def test_scores_of_counts(k: int, n: int, p: float, score: float) -> None:
    """Mid-p by hand: 0.5^10 / 2 for none of ten; (1 - 0.98^7) - 7 x 0.02 x 0.98^6 / 2 for one of seven."""
    assert binomial_score(k, n, p) == pytest.approx(score, abs=0.02)


def test_tail_of_poisson() -> None:
    assert tail_above(0, 3.0) == 1.0
    assert tail_above(1, 0.02) == pytest.approx(0.0198, abs=1e-4)
    assert tail_above(3, 2.0) == pytest.approx(0.3233, abs=1e-4)
    assert tail_above(1100, 1000.0) == pytest.approx(0.00083, abs=1e-4)


def test_made_days_have_the_load_that_they_are_asked_for() -> None:
    days = made_days(random.Random(1), 10, 700)
    weekdays = [one.fired for one in days if one.day % 7 < 5]
    assert fmean(weekdays) == pytest.approx(10, rel=0.05)
