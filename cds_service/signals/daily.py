"""Look for cards that fire otherwise than they used to, by card and client, in the days that are over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

from cds_service.database import Database
from cds_service.rollups.counting import totals
from cds_service.rollups.days import days_between, plus
from cds_service.rollups.filter import Filter
from cds_service.rollups.queries import evaluation_counts
from cds_service.signals.baseline import LEAST_DAYS, WINDOW, DayCount, baseline_of
from cds_service.signals.finding import Detected, Finding, Place, Watch
from cds_service.signals.fire_rate import fire_rate_alarms
from cds_service.signals.release_step import release_steps
from cds_service.signals.stretches import Release, Stretch, stretches

LOOK_BACK = 28  # days for which findings are made anew
LOADED = LOOK_BACK + 2 * WINDOW  # days of counts that they are made from


def find_daily(database: Database, today: int) -> Detected:
    """Return what the days before `today` (YYYYMMDD) say."""
    first, last = plus(today, -LOADED), plus(today, -1)
    found = Detected([], [])
    for place, cut in stretches_by_place(database, Filter(first, last)).items():
        findings = [one for one in (*_fire_rate(place, cut), *_release_step(place, cut)) if one.day >= plus(today, -LOOK_BACK)]
        found.findings.extend(findings)
        found.watches.extend(_watches(place, cut, findings, last))
    return found


def stretches_by_place(database: Database, chosen: Filter) -> Mapping[Place, list[Stretch]]:
    """Return the days of each card at each client, from its first day with an evaluation on, cut where something changed."""
    counts: dict[Place, dict[int, tuple[int, int]]] = defaultdict(dict)
    for row in evaluation_counts(database, chosen, ("tenant", "client", "card", "day")):
        place = Place(str(row.of["tenant"]), str(row.of["client"]), str(row.of["card"]))
        if row.checked:
            counts[place][int(row.of["day"])] = (row.fired, row.checked)
    releases = _releases(database, chosen)
    last = chosen.until or max((day for days in counts.values() for day in days), default=0)
    found = {}
    for place, by_day in counts.items():
        days = [DayCount(day, *by_day.get(day, (0, 0))) for day in days_between(min(by_day), last)]
        found[place] = stretches(days, releases.get(place, {}))
    return found


def _releases(database: Database, chosen: Filter) -> Mapping[Place, Mapping[int, frozenset[Release]]]:
    found: dict[Place, dict[int, set[Release]]] = defaultdict(lambda: defaultdict(set))
    by = ("tenant", "client", "card", "day", "service_version", "dialect", "version", "content_hash")
    for row in totals(database, "release", chosen, by):
        release = Release(row["service_version"], row["dialect"], row["version"], row["content_hash"])
        found[Place(row["tenant"], row["client"], row["card"])][row["day"]].add(release)
    return {place: {day: frozenset(seen) for day, seen in days.items()} for place, days in found.items()}


def _fire_rate(place: Place, cut: list[Stretch]) -> list[Finding]:
    return [
        Finding(
            "fire_rate",
            place,
            alarm.day.day,
            abs(alarm.z),
            {
                "fired": alarm.day.fired,
                "of": alarm.day.checked,
                "usual": alarm.usual.rate,
                "usual_of": alarm.usual.checked,
                "z": round(alarm.z, 2),
                "found_by": list(alarm.found_by),
                "without_firing": alarm.without_firing,
            },
        )
        for stretch in cut
        for alarm in fire_rate_alarms(stretch.days)
    ]


def _release_step(place: Place, cut: list[Stretch]) -> list[Finding]:
    findings = []
    before: list[DayCount] = []
    for old, new in pairwise(cut):
        if baseline_of(old.days[-WINDOW:]) is not None:  # of two changes close to each other the second has the first one's
            before = list(old.days)
        findings += [
            Finding(
                "release_step",
                place,
                step.day,
                abs(step.z),
                {
                    "fired": step.fired,
                    "of": step.checked,
                    "usual": step.usual.rate,
                    "usual_of": step.usual.checked,
                    "z": round(step.z, 2),
                    "since": new.days[0].day,
                },
                new.change,
            )
            for step in release_steps(before, new.days)
        ]
    return findings


def _watches(place: Place, cut: list[Stretch], findings: list[Finding], last: int) -> list[Watch]:
    """Say what could be said of the last day; a card without a usual rate is learning, and never fine."""
    newest = cut[-1].days
    if any(one.day == last for one in findings):  # also where it came with a change, since which the rate is a usual one
        return [Watch("fire_rate", place, "alarm")]
    if not any(one.checked for one in newest[-LEAST_DAYS:]):
        return [Watch("fire_rate", place, "no_data", f"no evaluation in the last {LEAST_DAYS} days")]
    usual = baseline_of(newest[-WINDOW - 1 : -1])
    if usual is not None:
        return [Watch("fire_rate", place, "normal")]
    known = [one for one in newest[-WINDOW - 1 : -1] if one.checked]
    if len(known) < LEAST_DAYS:
        since = f" since {cut[-1].change}" if cut[-1].change else ""
        return [Watch("fire_rate", place, "learning", f"{len(known)} days with evaluations{since}, {LEAST_DAYS} are needed")]
    return [Watch("fire_rate", place, "no_data", f"it {'always' if known[0].fired else 'never'} fired in {len(known)} days")]
