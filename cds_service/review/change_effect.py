"""Say what a change did: the fire rate before and after it, and whether level or slope of the days changed."""

from __future__ import annotations

from typing import Any

import msgspec

from cds_service.changes.change import Change
from cds_service.database import Database
from cds_service.review.rate import Rate, share
from cds_service.review.segmented_regression import Coefficient, segmented
from cds_service.review.statistics import newcombe
from cds_service.rollups.days import Bounds, SiteDays, as_date, plus
from cds_service.rollups.filter import Filter
from cds_service.rollups.queries import evaluation_counts

DAYS_BEFORE = 28
NOT_RANDOMISED = (
    "Not randomised: the days before and after differ in more than this change, so the difference is not its effect alone. The "
    "backtest compares the same calls."
)


class Effect(msgspec.Struct, frozen=True):
    """The fire rate of a card before and after a change; `difference` in shares, after minus before (Newcombe, method 10).

    `level`, `slope`: from a segmented regression over days; None with fewer than three days on a side.
    """

    first_day: int
    last_day: int
    before: Rate
    after: Rate
    difference: float
    low: float
    high: float
    level: Coefficient | None
    slope: Coefficient | None  # share per day
    days: list[dict[str, Any]]
    note: str = NOT_RANDOMISED


def shadow_days(database: Database, change: Change, time_zone: str) -> int:
    """Return on how many days the changed card was evaluated and not once shown, before the approval where there is one."""
    days = _days_of(database, change)
    if change.approved_at is not None:
        days = [day for day in days if day < SiteDays(time_zone).day_of(change.approved_at)]
    return sum(not _shown(database, change, SiteDays(time_zone).bounds(day)) for day in days)


def effect(database: Database, change: Change, time_zone: str) -> Effect | None:
    """Return what followed the approval; None before there are days on both sides.

    The first day with the change counts on neither side, because it is mixed.
    """
    if change.approved_at is None:
        return None
    approved = SiteDays(time_zone).day_of(change.approved_at)
    live = [day for day in _days_of(database, change) if day >= approved]
    if not live:
        return None
    first, last = live[0], live[-1]
    before = _rates(database, change.card, plus(first, -DAYS_BEFORE), plus(first, -1))
    after = _rates(database, change.card, plus(first, 1), last)
    if not before or not after:
        return None
    (k1, n1), (k2, n2) = (tuple(map(sum, zip(*side.values(), strict=True))) for side in (after, before))
    interval, start = newcombe(k1, n1, k2, n2), as_date(first)
    points = [[((as_date(day) - start).days, k / n) for day, (k, n) in side.items()] for side in (before, after)]
    lines = segmented(*points)
    return Effect(
        first,
        last,
        share("fire_rate", k2, n2),
        share("fire_rate", k1, n1),
        k1 / n1 - k2 / n2,
        interval.low,
        interval.high,
        lines.level if lines is not None else None,
        lines.slope if lines is not None else None,
        [{"day": day, "fired": k, "evaluated": n} for side in (before, after) for day, (k, n) in side.items()],
    )


def _days_of(database: Database, change: Change) -> list[int]:
    """Return the counted days, YYYYMMDD, on which the changed card was evaluated."""
    rows = database.rows(
        "SELECT DISTINCT day FROM review.daily_release WHERE content_hash = :hash AND card = :card ORDER BY day",
        hash=database.names.id(change.card_hash) or -2,
        card=database.names.id(change.card) or -2,
    )
    return [int(row["day"]) for row in rows]


def _shown(database: Database, change: Change, day: Bounds) -> bool:
    names = {
        name: database.names.id(text) or -2
        for name, text in (("hash", change.card_hash), ("card", change.card), ("live", "live"))
    }
    sql = """SELECT 1 AS one FROM log.card WHERE received_at >= :start AND received_at < :end AND card = :card
        AND content_hash = :hash AND mode = :live LIMIT 1"""
    return database.one(sql, **names, **day._asdict()) is not None


def _rates(database: Database, card: str, first: int, last: int) -> dict[int, tuple[int, int]]:
    """Return by day how many evaluations fired, of how many that fired or did not."""
    if first > last:
        return {}
    rows = evaluation_counts(database, Filter.of(first, last, card=card), ("day",))
    return {int(one.of["day"]): (one.fired, one.checked) for one in sorted(rows, key=lambda one: one.of["day"]) if one.checked}
