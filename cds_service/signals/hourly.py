"""Look for clients that stopped calling, and for hours with errors, missing data or slow responses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from cds_service.database import Database
from cds_service.rollups.counting import totals
from cds_service.rollups.day_counts import SLOW_MS
from cds_service.rollups.days import HOUR, SiteDays, days_between, plus
from cds_service.rollups.filter import Filter
from cds_service.rollups.rollup import rollup_state
from cds_service.shipping.state import shipping_state
from cds_service.signals import hours
from cds_service.signals.finding import Detected, Finding, Kind, Place, Watch, watch_of
from cds_service.signals.hours import Hour

LOOK_BACK = 7  # days for which findings are made anew
_WEEKS = 8  # that the usual calls of an hour are taken from
_USUAL_DAYS = 28  # that the usual share of what could not be checked is taken from
_NO_CALLS = Hour(0, 0, 0, 0, 0)
KINDS: tuple[Kind, ...] = ("client_stopped", "server_errors", "not_checked", "slow")

Hours = Mapping[tuple[int, int], Hour]  # by day and hour


def find_hourly(database: Database, days: SiteDays, now: int) -> Detected:
    """Return what the hours say that were over, and counted whole, at `now` (microseconds since 1970)."""
    today = days.day_of(now)
    first = plus(today, -LOOK_BACK - 7 * _WEEKS)
    until = complete_until(database, now)
    found = Detected([], [])
    for place, by_hour in _hours(database, Filter(first, today)).items():
        live = days_between(min(day for day, _ in by_hour), today)
        looked = [
            (day, hour)
            for day in live[-LOOK_BACK:]
            for hour in range((days.bounds(day).end - days.bounds(day).start) // HOUR)
            if days.bounds(day).start + (hour + 1) * HOUR <= until
        ]
        findings = _findings(place, by_hour, looked, live)
        found.findings.extend(findings)
        newest = looked[-1][0] if looked else today
        found.watches.extend(_watch(kind, place, by_hour, looked, live, findings, newest) for kind in KINDS)
    return found


def complete_until(database: Database, now: int) -> int:
    """Return until when all calls are counted: an hour whose records are still on their way is no hour without calls."""
    shipping = shipping_state(database)
    behind = round(1e6 * max(shipping.lag_seconds(now), shipping.silent_seconds(now))) if shipping.ships else 0
    return min(now, rollup_state(database).looked_at) - behind


def _hours(database: Database, chosen: Filter) -> Mapping[Place, Hours]:
    found: dict[Place, dict[tuple[int, int], Hour]] = defaultdict(dict)
    for row in totals(database, "hour", chosen, ("tenant", "client", "day", "hour")):
        place = Place(row["tenant"], row["client"])
        found[place][row["day"], row["hour"]] = Hour(*(row[name] for name in Hour._fields))
    return found


def _same_hours(by_hour: Hours, live: Sequence[int], day: int, hour: int) -> list[int]:
    """Return the calls in this hour of this weekday in the weeks before, as far as the client was live."""
    before = [plus(day, -7 * weeks) for weeks in range(1, _WEEKS + 1)]
    return [by_hour.get((one, hour), _NO_CALLS).calls for one in before if one >= live[0]]


def _usual_share(by_hour: Hours, day: int) -> float:
    """Return the share of evaluations that could not be checked in the days before; 0.001 where there was nothing."""
    before = [one for (of, _), one in by_hour.items() if plus(day, -_USUAL_DAYS) <= of < day]
    evaluations, unknown = sum(one.evaluations for one in before), sum(one.not_checked for one in before)
    return max(unknown / evaluations, 0.001) if evaluations else 1.0


def _findings(place: Place, by_hour: Hours, looked: Iterable[tuple[int, int]], live: Sequence[int]) -> list[Finding]:
    by_day: dict[tuple[Kind, int], list[tuple[int, Hour, float]]] = defaultdict(list)
    shares = {day: _usual_share(by_hour, day) for day in {day for day, _ in looked}}
    for day, number in looked:
        hour = by_hour.get((day, number), _NO_CALLS)
        usual = hours.stopped_calling(hour, _same_hours(by_hour, live, day, number))
        if usual is not None:
            by_day["client_stopped", day].append((number, hour, usual))
        if hours.failing(hour):
            by_day["server_errors", day].append((number, hour, hours.MOST_FAILED))
        if hours.slow(hour):
            by_day["slow", day].append((number, hour, hours.MOST_SLOW))
        if hours.not_checked(hour, shares[day]):
            by_day["not_checked", day].append((number, hour, shares[day]))
    return [_finding(kind, place, day, bad) for (kind, day), bad in sorted(by_day.items())]


def _finding(kind: Kind, place: Place, day: int, bad: Sequence[tuple[int, Hour, float]]) -> Finding:
    calls, usual = sum(one.calls for _, one, _ in bad), median(usual for _, _, usual in bad)
    detail: dict[str, object] = {"hours": [number for number, _, _ in bad], "calls": calls, "usual": round(usual, 4)}
    if kind == "server_errors":
        detail["failed"] = sum(one.failed for _, one, _ in bad)
    elif kind == "slow":
        detail |= {"slow": sum(one.slow for _, one, _ in bad), "budget_ms": SLOW_MS}
    elif kind == "not_checked":
        unknown, of = sum(one.not_checked for _, one, _ in bad), sum(one.evaluations for _, one, _ in bad)
        detail |= {"not_checked": unknown, "evaluations": of}
    return Finding(kind, place, day, float(len(bad)), detail)


def _watch(
    kind: Kind,
    place: Place,
    by_hour: Hours,
    looked: Sequence[tuple[int, int]],
    live: Sequence[int],
    findings: list[Finding],
    newest: int,
) -> Watch:
    if not looked:
        return Watch(kind, place, "no_data", "no hour is over and counted yet")
    if kind == "client_stopped":
        if len(live) <= 7 * hours.LEAST_WEEKS:
            return Watch(kind, place, "learning", f"live for {len(live)} days; {hours.LEAST_WEEKS} weeks are needed")
        usual = max((median(_same_hours(by_hour, live, *one)) for one in looked[-7 * 24 :]), default=0)
        if usual < hours.USUAL_CALLS:
            why = f"its busiest hour usually has {usual:g} calls; below {hours.USUAL_CALLS} an hour without calls says nothing"
            return Watch(kind, place, "no_data", why)
    elif not any(by_hour.get(one, _NO_CALLS).calls for one in looked[-24:]):
        return Watch(kind, place, "no_data", "no call in the last 24 hours")
    return watch_of(kind, place, findings, newest)
