"""Bring the counts up to date with the log, or check that they are what the log says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from cds_service.alert_log.instants import micros
from cds_service.clock import Clock
from cds_service.database import Database
from cds_service.database.review_tables import COUNTS
from cds_service.rollups.changes import all_days, note_changes, note_days
from cds_service.rollups.day_counts import DAILY_TABLES, count_day
from cds_service.rollups.days import SiteDays, month_of

Progress = Callable[[int, int], None]  # how many days are done, of how many

_LOCK = 0x63726D73  # of PostgreSQL, so that one process at a time counts


class State(NamedTuple):
    """How far the counts are."""

    looked_at: int  # when the log was last looked at, microseconds since 1970; 0: never
    time_zone: str
    days_waiting: int  # days to be counted anew
    first_day: int | None  # first and last day with counts, YYYYMMDD
    last_day: int | None


class Difference(NamedTuple):
    """A table whose counts of a day, or sums of a month, are not those of the log."""

    day: int  # YYYYMMDD, or the month YYYYMM
    table: str


def rollup_state(database: Database) -> State:
    """Return how far the counts are."""
    state = database.one("SELECT looked_at, time_zone FROM review.rollup_state") or {"looked_at": 0, "time_zone": ""}
    waiting = database.one("SELECT count(*) AS n FROM review.dirty_day") or {"n": 0}
    days = database.one("SELECT min(day) AS first, max(day) AS last FROM review.rolled_day") or {"first": None, "last": None}
    return State(state["looked_at"], state["time_zone"], waiting["n"], days["first"], days["last"])


def roll_up(
    database: Database, days: SiteDays, clock: Clock, *, everything: bool = False, progress: Progress | None = None
) -> int:
    """Count all days that changed since the last time, newest first; return how many.

    Each day is one transaction, so that it may be ended at any moment and go on later. `everything`: all days, whether or not
    they changed. `database` writes review and has no limit of time. Raises DatabaseError.
    """
    with database.exclusive(_LOCK):
        looked_at = micros(clock())
        with database.transaction():
            _expect_time_zone(database, days)
            if everything:
                note_days(database, all_days(database, days))
            note_changes(database, days)
        waiting = [row["day"] for row in database.rows("SELECT day FROM review.dirty_day ORDER BY day DESC")]
        for done, day in enumerate(waiting):
            if progress is not None:
                progress(done, len(waiting))
            count_one_day(database, days, day, clock)
        if progress is not None and waiting:
            progress(len(waiting), len(waiting))
        _roll_months(database, micros(clock()))
        database.execute("UPDATE review.rollup_state SET looked_at = :at", at=looked_at)
    return len(waiting)


def keep_counts_before(database: Database, day: int) -> None:
    """Keep the counts of the days before `day` as they are from now on, because their records are about to be deleted.

    Days must have been counted before: bring the counts up to date first.
    """
    with database.exclusive(_LOCK), database.transaction():
        database.execute("UPDATE review.rollup_state SET first_day = :day WHERE first_day < :day", day=day)
        database.execute("DELETE FROM review.dirty_day WHERE day < :day", day=day)


def forget_users_before(database: Database, month: int) -> None:
    """Delete the counts by user of the months (YYYYMM) before: they hold keyed hashes of people. All other counts stay."""
    with database.exclusive(_LOCK), database.transaction():
        database.execute("DELETE FROM review.daily_user WHERE day < :first", first=month * 100)
        database.execute("DELETE FROM review.monthly_user WHERE month < :month", month=month)


def _expect_time_zone(database: Database, days: SiteDays) -> None:
    """Forget all counts where the site's time zone has changed: its days are others now."""
    state = database.one("SELECT time_zone, first_day FROM review.rollup_state")
    if state is None:
        database.execute("INSERT INTO review.rollup_state VALUES (1, :zone, 0, 0)", zone=days.time_zone)
    elif state["time_zone"] != days.time_zone:
        first = state["first_day"]  # of the days before, the counts are all there is
        for table in ("rolled_day", "dirty_day", *(f"daily_{name}" for name in DAILY_TABLES)):
            database.execute(f"DELETE FROM review.{table} WHERE day >= :first", first=first)
        for table in ("rolled_month", *(f"monthly_{name}" for name in DAILY_TABLES)):
            database.execute(f"DELETE FROM review.{table} WHERE month >= :first", first=month_of(first))
        database.execute("DELETE FROM review.rolled_source")
        database.execute("UPDATE review.rollup_state SET time_zone = :zone", zone=days.time_zone)


def count_one_day(database: Database, days: SiteDays, day: int, clock: Clock) -> None:
    """Count one day anew, in one transaction."""
    with database.transaction():
        count_day(database, day, days.bounds(day))
        database.execute("DELETE FROM review.dirty_day WHERE day = :day", day=day)
        database.execute("DELETE FROM review.rolled_month WHERE month = :month", month=month_of(day))
        database.execute(
            "INSERT INTO review.rolled_day (day, computed_at) VALUES (:day, :at) "
            "ON CONFLICT (day) DO UPDATE SET computed_at = excluded.computed_at",
            day=day,
            at=micros(clock()),
        )


def _roll_months(database: Database, at: int) -> None:
    """Add up the months that are over and are not added up yet."""
    newest = database.one("SELECT max(day) AS day FROM review.rolled_day")
    if newest is None or newest["day"] is None:
        return
    months = database.rows(
        "SELECT DISTINCT day / 100 AS month FROM review.rolled_day WHERE day / 100 < :newest "
        "AND day / 100 NOT IN (SELECT month FROM review.rolled_month) ORDER BY month",
        newest=month_of(newest["day"]),
    )
    for row in months:
        with database.transaction():
            sum_month(database, row["month"])
            database.execute("INSERT INTO review.rolled_month VALUES (:month, :at)", month=row["month"], at=at)


def sum_month(database: Database, month: int) -> None:
    """Replace the counts of the month by the sums of its days; in a transaction of the caller."""
    for name, (dimensions, counts) in COUNTS.items():
        # The most alerts that a user got for one patient on a day: of a month, the worst day.
        sums = ", ".join("max(" + one + ")" if one == "most_for_one_patient" else f"sum({one})" for one in counts.split(", "))
        database.execute(f"DELETE FROM review.monthly_{name} WHERE month = :month", month=month)
        database.execute(
            f"INSERT INTO review.monthly_{name} SELECT :month, {dimensions}, {sums} FROM review.daily_{name} "
            f"WHERE day >= :first AND day <= :last GROUP BY {dimensions}",
            month=month,
            first=month * 100 + 1,
            last=month * 100 + 31,
        )


def differences(database: Database, days: SiteDays, *, progress: Progress | None = None) -> Iterator[Difference]:
    """Count each day anew, beside what is stored, and yield where the two differ. Changes nothing.

    Days that are waiting to be counted are left out. Months are compared with the sums of their days.
    """
    counted = database.rows(
        "SELECT day FROM review.rolled_day WHERE day >= (SELECT min(first_day) FROM review.rollup_state) ORDER BY day"
    )
    for done, row in enumerate(counted):
        if progress is not None:
            progress(done, len(counted))
        yield from _of_day(database, days, row["day"])
    if progress is not None and counted:
        progress(len(counted), len(counted))
    for row in database.rows("SELECT month FROM review.rolled_month ORDER BY month"):
        yield from _of_month(database, row["month"])


def days_not_counted(database: Database, days: SiteDays) -> int:
    """Return how many days are to be counted, those included that nobody has noted yet. Changes nothing."""
    waiting = 0
    with suppress(_Undo), database.exclusive(_LOCK), database.transaction():
        _expect_time_zone(database, days)
        note_changes(database, days)
        waiting = len(database.rows("SELECT day FROM review.dirty_day"))
        raise _Undo
    return waiting


class _Undo(Exception):  # noqa: N818 - ends a transaction without a trace
    pass


def _of_day(database: Database, days: SiteDays, day: int) -> list[Difference]:
    found: list[Difference] = []
    with suppress(_Undo), database.exclusive(_LOCK), database.transaction():
        note_changes(database, days)
        if database.one("SELECT day FROM review.dirty_day WHERE day = :day", day=day) is None:
            before = _stored(database, "daily", "day", day)
            count_day(database, day, days.bounds(day))
            after = _stored(database, "daily", "day", day)
            found = [Difference(day, table) for table in before if before[table] != after[table]]
        raise _Undo
    return found


def _of_month(database: Database, month: int) -> list[Difference]:
    found: list[Difference] = []
    with suppress(_Undo), database.exclusive(_LOCK), database.transaction():
        if database.one("SELECT month FROM review.rolled_month WHERE month = :month", month=month) is not None:
            before = _stored(database, "monthly", "month", month)
            sum_month(database, month)
            after = _stored(database, "monthly", "month", month)
            found = [Difference(month, table) for table in before if before[table] != after[table]]
        raise _Undo
    return found


def _stored(database: Database, of_period: str, period: str, value: int) -> dict[str, set[tuple[object, ...]]]:
    return {
        f"{of_period}_{name}": {
            tuple(row.values())
            for row in database.rows(f"SELECT * FROM review.{of_period}_{name} WHERE {period} = :value", value=value)
        }
        for name in DAILY_TABLES
    }
