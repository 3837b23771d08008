"""Say when clinicians call: busy weekday mornings, few calls in nights and at weekends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import NamedTuple

from cds_service.demo.clients import Client

# Calls by hour of the day (UTC), as parts of a whole day, and by weekday, as parts of an ordinary weekday.
_HOURS = (1, 1, 1, 1, 1, 2, 5, 14, 30, 42, 45, 40, 26, 36, 42, 40, 32, 20, 10, 7, 5, 4, 3, 2)
_WEEKDAYS = (1.1, 1.05, 1.0, 1.0, 0.85, 0.25, 0.2)
_VARIES = 0.08  # of the calls of a day, up or down
_SILENT_HOURS = range(9, 16)


class Period(NamedTuple):
    """The made-up months, from `start` to `end` (aware, UTC)."""

    start: datetime
    end: datetime

    @staticmethod
    def of_days(days: int, end: datetime) -> Period:
        return Period(end - timedelta(days=days), end)

    def days(self) -> Iterator[date]:
        """Return each calendar day that the period touches."""
        day = self.start.date()
        while day <= self.end.date():
            yield day
            day += timedelta(days=1)

    def after(self, share: float) -> datetime:
        """Return the moment when `share` (0 to 1) of the period has passed."""
        return self.start + share * (self.end - self.start)


def moments(client: Client, day: date, calls_per_day: float, period: Period, random: Random) -> list[datetime]:
    """Return when visits at `client` begin on `day`, in order; `calls_per_day`: of all clients, as a mean over a week."""
    visits_per_day = calls_per_day * client.share / client.calls_per_visit
    of_weekday = _WEEKDAYS[day.weekday()] * len(_WEEKDAYS) / sum(_WEEKDAYS)
    mean = visits_per_day * of_weekday * random.uniform(1 - _VARIES, 1 + _VARIES)
    count = int(mean) + (random.random() < mean % 1)
    midnight = datetime.combine(day, time(), UTC)
    hours = random.choices(range(24), _HOURS, k=count)
    found = sorted(midnight + timedelta(hours=hour, seconds=random.uniform(0, 3600)) for hour in hours)
    first = max(period.start, period.after(client.live_from)) if client.live_from else period.start
    return [at for at in found if first <= at <= period.end and not _is_silent(client, at, period)]


def _is_silent(client: Client, at: datetime, period: Period) -> bool:
    """Say whether the client's EHR can't reach the service: for some hours of one working day."""
    if client.silent_at is None:
        return False
    day = period.after(client.silent_at).date()
    day -= timedelta(days=max(0, day.weekday() - 4))  # a Friday in place of a day of the weekend
    return at.date() == day and at.hour in _SILENT_HOURS
