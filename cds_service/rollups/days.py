"""Days of the site: whole numbers YYYYMMDD in its time zone, and the moments between which each lies.

Moments are microseconds since 1970 in UTC, as in the log.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cds_service.alert_log.instants import micros

SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
# Offsets from UTC are whole quarters of an hour, so that a quarter lies in one day.
QUARTER = 900 * SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def as_datetime(moment_us: int) -> datetime:
    """Return the moment as an aware time in UTC."""
    return _EPOCH + timedelta(microseconds=moment_us)


class Bounds(NamedTuple):
    """The moments of a day: from `start`, before `end`."""

    start: int
    end: int


class SiteDays:
    """The days of one time zone."""

    def __init__(self, time_zone: str) -> None:
        """`time_zone`: the name of one that this machine knows."""
        self.time_zone = time_zone
        self._zone: tzinfo = UTC if time_zone == "UTC" else ZoneInfo(time_zone)

    def day_of(self, moment_us: int) -> int:
        """Return the day in which the moment lies."""
        return as_number(as_datetime(moment_us).astimezone(self._zone).date())

    def bounds(self, day: int) -> Bounds:
        """Return the moments of the day; some have 23 or 25 hours."""
        one = as_date(day)
        return Bounds(self._midnight(one), self._midnight(one + timedelta(days=1)))

    def _midnight(self, day: date) -> int:
        return micros(datetime(day.year, day.month, day.day, tzinfo=self._zone))


def as_number(day: date) -> int:
    """Return YYYYMMDD."""
    return day.year * 10_000 + day.month * 100 + day.day


def as_date(day: int) -> date:
    """Return the date of YYYYMMDD. Raises ValueError where there is no such day."""
    return date(day // 10_000, day // 100 % 100, day % 100)


def plus(day: int, days: int) -> int:
    """Return the day so many days later."""
    return as_number(as_date(day) + timedelta(days=days))


def month_of(day: int) -> int:
    """Return YYYYMM."""
    return day // 100


def week_of(day: int) -> int:
    """Return the Monday of the day's week."""
    one = as_date(day)
    return as_number(one - timedelta(days=one.weekday()))


def days_between(first: int, last: int) -> list[int]:
    """Return all days from `first` to `last`, both included."""
    start = as_date(first)
    return [as_number(start + timedelta(days=n)) for n in range((as_date(last) - start).days + 1)]
