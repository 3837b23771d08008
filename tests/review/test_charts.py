"""Charts: where marks lie. Axes begin at 0, gaps stay gaps, every value has its mark."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.review.charts import HEIGHT, WIDTH, control_chart, day_text, small_bars
from cds_service.review.statistics import Limits, laney_limits
from cds_service.rollups.days import days_between

DAYS = days_between(20261101, 20261128)


def test_a_day_is_written_as_people_write_it() -> None:
    assert day_text(20261128) == "28 Nov 2026"


def test_bars_begin_at_the_ground_and_the_largest_reaches_the_top() -> None:
    chart = small_bars([0, 1, 2, 400], ["a", "b", "c", "d"])
    assert [bar.height for bar in chart.bars] == [0, 1, 1, chart.height]
    assert all(bar.y + bar.height == chart.height for bar in chart.bars)
    assert [bar.title for bar in chart.bars] == ["a", "b", "c", "d"]


def test_bars_of_nothing_are_flat() -> None:
    assert [bar.height for bar in small_bars([0, 0], ["a", "b"]).bars] == [0, 0]


def test_a_day_without_evaluations_is_a_gap_in_every_line() -> None:
    chart = control_chart(DAYS[:3], [1, 0, 2], [10, 0, 10], laney_limits([1, 0, 2], [10, 0, 10]), [])
    assert len(chart.points) == 2
    for line in (chart.rate, chart.centre, chart.low, chart.high):
        assert re.sub("[^ML]", "", line) == "MM"


def test_a_point_outside_its_limits_has_another_mark_and_says_its_numbers() -> None:
    limits = [Limits(0.1, 0.1, 0.05, 0.2), Limits(0.5, 0.1, 0.05, 0.2)]
    chart = control_chart(DAYS[:2], [10, 50], [100, 100], limits, [])
    assert [point.outside for point in chart.points] == [False, True]
    assert chart.points[1].title == "2 Nov 2026: 50 of 100, 50.0 %"


def test_flags_stand_at_their_days_and_do_not_cover_each_other() -> None:
    chart = control_chart(DAYS, [1] * 28, [10] * 28, laney_limits([1] * 28, [10] * 28), [(DAYS[9], "1.1.0"), (DAYS[10], "1.2.0")])
    first, second = chart.flags
    assert [flag.x for flag in chart.flags] == [chart.points[9].x, chart.points[10].x]
    assert first.y != second.y


@pytest.mark.parametrize(
    ("rates", "ticks"),
    [
        ([0.0], ["0.0 %", "1.0 %"]),
        ([0.07], ["0 %", "2 %", "4 %", "6 %", "8 %"]),
        ([0.004], ["0.00 %", "0.10 %", "0.20 %", "0.30 %", "0.40 %"]),
    ],
)
def test_the_axis_has_round_numbers_from_zero(rates: list[float], ticks: list[str]) -> None:
    chart = control_chart(DAYS[: len(rates)], [0] * len(rates), [1] * len(rates), [Limits(rate, 0, 0, 0) for rate in rates], [])
    assert [tick.text for tick in chart.y_ticks] == ticks


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=28))
def test_every_mark_lies_inside_the_chart(counts: list[tuple[int, int]]) -> None:
    fired = [min(pair) for pair in counts]
    totals = [max(pair) for pair in counts]
    chart = control_chart(DAYS[: len(counts)], fired, totals, laney_limits(fired, totals), [])
    assert len(chart.points) == sum(total > 0 for total in totals)
    for point in chart.points:
        assert chart.left < point.x < WIDTH
        assert 0 <= point.y <= chart.bottom < HEIGHT
    for tick in chart.y_ticks:
        assert 0 <= tick.at <= chart.bottom
