"""Work out where the marks of a chart lie; `templates/_charts.html` draws them as SVG.

Lengths are units of the SVG's view box. No axis is cut: rates begin at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from math import floor, log10

import msgspec

from cds_service.review.statistics import Limits

WIDTH, HEIGHT = 720, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 30, 28
_SPARK_WIDTH, _SPARK_HEIGHT = 132, 30
_DATES = 6  # dates below the axis, about
_FLAG_ROOM = 64  # between two flags on one line, so that their texts do not touch


class Tick(msgspec.Struct, frozen=True):
    """A text beside an axis."""

    at: float
    text: str


class Mark(msgspec.Struct, frozen=True):
    """A bar or a point; `title` tells its numbers."""

    x: float
    y: float
    title: str
    width: float = 0
    height: float = 0
    outside: bool = False


class Flag(msgspec.Struct, frozen=True):
    """A line with a text at a day on which something changed."""

    x: float
    y: float
    text: str


class Bars(msgspec.Struct, frozen=True):
    """A row of small bars."""

    width: float
    height: float
    bars: Sequence[Mark]


class ControlChart(msgspec.Struct, frozen=True):
    """A rate day by day between its limits. Lines are the `d` of SVG paths."""

    width: float
    height: float
    left: float
    bottom: float
    right: float
    points: Sequence[Mark]
    rate: str
    centre: str
    low: str
    high: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    flags: Sequence[Flag]


def day_of(number: int) -> date:
    """Return the date of a day that is written YYYYMMDD."""
    return date(number // 10_000, number // 100 % 100, number % 100)


def day_text(number: int) -> str:
    """Return a day as people write it, `28 Nov 2026`."""
    day = day_of(number)
    return f"{day.day} {day:%b} {day.year}"


def small_bars(values: Sequence[float], titles: Sequence[str]) -> Bars:
    """Return bars from 0 to the largest of `values`; a value above 0 is at least one unit high."""
    most = max(values, default=0)
    step = _SPARK_WIDTH / max(len(values), 1)
    bars = []
    for index, (value, title) in enumerate(zip(values, titles, strict=True)):
        height = max(value / most * _SPARK_HEIGHT, 1.0) if value else 0.0
        bars.append(Mark(_r(index * step), _r(_SPARK_HEIGHT - height), title, _r(step - 2), _r(height)))
    return Bars(_SPARK_WIDTH, _SPARK_HEIGHT, bars)


def control_chart(
    days: Sequence[int],
    counts: Sequence[int],
    totals: Sequence[int],
    limits: Sequence[Limits | None],
    flags: Sequence[tuple[int, str]],
) -> ControlChart:
    """Return the chart of `counts` of `totals` a day; `days` are YYYYMMDD, in order and without gaps.

    `limits` has None for a day without a total, where the lines have a gap. `flags` are (day, text), in the order of days.
    """
    most = max((max(one.rate, one.high) for one in limits if one is not None), default=0.0)
    top, ticks = _axis(most)

    def x(index: int) -> float:
        return _r(_LEFT + (index + 0.5) * (WIDTH - _LEFT - _RIGHT) / max(len(days), 1))

    def y(rate: float) -> float:
        return _r(HEIGHT - _BOTTOM - rate / top * (HEIGHT - _TOP - _BOTTOM))

    points = [
        Mark(
            x(index),
            y(one.rate),
            f"{day_text(days[index])}: {counts[index]} of {totals[index]}, {100 * one.rate:.1f} %",
            outside=one.outside,
        )
        for index, one in enumerate(limits)
        if one is not None
    ]

    def line(name: str, *, anew: bool = True) -> str:
        """Return a line, which begins anew with each version: that has a mean of its own."""
        found: list[tuple[float, float] | None] = []
        centre = None
        for index, one in enumerate(limits):
            if anew and one is not None and centre not in (None, one.centre):
                found.append(None)
            centre = centre if one is None else one.centre
            found.append(None if one is None else (x(index), y(getattr(one, name))))
        return _path(found)

    return ControlChart(
        width=WIDTH,
        height=HEIGHT,
        left=_LEFT,
        bottom=HEIGHT - _BOTTOM,
        right=WIDTH - _RIGHT,
        points=points,
        x_ticks=[Tick(x(index), f"{day_of(days[index]).day} {day_of(days[index]):%b}") for index in _spread(len(days))],
        y_ticks=[Tick(y(tick), f"{100 * tick:.{_decimals(top)}f} %") for tick in ticks],
        flags=_flags([(x(days.index(day)), text) for day, text in flags if day in days]),
        rate=line("rate", anew=False),
        centre=line("centre"),
        low=line("low"),
        high=line("high"),
    )


def _flags(placed: Sequence[tuple[float, str]]) -> list[Flag]:
    """Put the texts of flags on two lines where they are close to each other."""
    flags: list[Flag] = []
    for at, text in placed:
        close = bool(flags) and at - flags[-1].x < _FLAG_ROOM and flags[-1].y < 20
        flags.append(Flag(at, 24 if close else 12, text))
    return flags


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """Return the `d` of a path through the points, with a gap at each None."""
    parts: list[str] = []
    pen = "M"
    for point in points:
        if point is None:
            pen = "M"
        else:
            parts.append(f"{pen}{point[0]:g} {point[1]:g}")
            pen = "L"
    return "".join(parts)


def _axis(most: float) -> tuple[float, list[float]]:
    """Return the end of an axis from 0 that holds `most`, and its ticks."""
    if most <= 0:
        return 0.01, [0.0, 0.01]
    size = 10 ** floor(log10(most))
    step = next(step * size for step in (0.2, 0.5, 1, 2) if most <= 5 * step * size)
    count = -int(-most // step)
    return count * step, [index * step for index in range(count + 1)]


def _decimals(top: float) -> int:
    return 0 if top >= 0.05 else 1 if top >= 0.005 else 2


def _spread(count: int) -> list[int]:
    """Return the indexes of about `_DATES` days, evenly apart."""
    step = max(1, -(-count // _DATES))
    return list(range(0, count, step))


def _r(value: float) -> float:
    return round(value, 1)
