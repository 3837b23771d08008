"""Run all detectors over the counts, and keep what they find."""

from __future__ import annotations

from typing import NamedTuple

from cds_service.alert_log.instants import micros
from cds_service.alert_log.sealing import SealingKey
from cds_service.clock import Clock
from cds_service.database import Database
from cds_service.rollups.days import SiteDays, plus
from cds_service.rollups.rollup import rollup_state
from cds_service.signals import daily, hourly
from cds_service.signals.body_counts import count_bodies
from cds_service.signals.daily import find_daily
from cds_service.signals.finding import Finding, Kind, Watch
from cds_service.signals.hourly import find_hourly
from cds_service.signals.malfunctions import find_malfunctions
from cds_service.signals.store import Renewed, keep, keep_watches
from cds_service.signals.weekly import find_weekly, weeks_before

_WEEKLY: tuple[Kind, ...] = ("code_new", "code_vanished", "prefetch", "acceptance", "concentration", "comments")


class Updated(NamedTuple):
    """What a run did."""

    new: list[int]  # ids of signals
    watches: list[Watch]


def update_signals(database: Database, days: SiteDays, clock: Clock, key: SealingKey | None) -> Updated:
    """Make the findings anew from the counts as they are, and keep them; the same counts and day again change nothing.

    `database` writes review and has no limit of time. `key`: opens sealed comments. Raises DatabaseError.
    """
    at = micros(clock())
    today = days.day_of(at)
    if rollup_state(database).last_day is None:
        keep_watches(database, [], at)
        return Updated(keep_judged(database, days, at), [])
    count_bodies(database, days, today)
    findings: list[Finding] = []
    watched: list[Watch] = []
    for part in (
        find_daily(database, today),
        find_hourly(database, days, at),
        find_weekly(database, days, today, key),
        find_malfunctions(database, days),
    ):
        findings += part.findings
        watched += part.watches
    renewed = [
        Renewed(("fire_rate", "release_step"), plus(today, -daily.LOOK_BACK)),
        Renewed(hourly.KINDS, plus(today, -hourly.LOOK_BACK + 1)),
        Renewed(_WEEKLY, weeks_before(today)[0].first),
        Renewed(("verdict",), 0),
    ]
    new = keep(database, findings, renewed, at)
    keep_watches(database, watched, at)
    return Updated(new, watched)


def keep_judged(database: Database, days: SiteDays, at: int) -> list[int]:
    """Open signals for cases that were judged a malfunction, at once; return the ids of new ones."""
    return keep(database, find_malfunctions(database, days).findings, [Renewed(("verdict",), 0)], at)
