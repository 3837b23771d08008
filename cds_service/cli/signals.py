"""Run `cds-service signals` and `cds-service digest`, for a terminal or a timer."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from cds_service.clock import utc_now
from cds_service.settings import Settings, load_settings

if TYPE_CHECKING:
    from cds_service.database import Database

NEEDS_A_LOOK = 3  # exit status: a signal is new, regressed or escalated


def add_signal_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `signals` and `digest` to `commands`."""
    signals = commands.add_parser(
        "signals",
        help="look for signals now, and print those that are open; status 3 where one is new, regressed or escalated",
    )
    signals.add_argument(
        "--prometheus",
        action="store_true",
        help="print cds_signals_open alone, for the textfile collector of node_exporter; status 0",
    )
    signals.set_defaults(run=_signals)
    digest = commands.add_parser("digest", help="print the week in Markdown, without patient data")
    digest.add_argument("--week", default="", metavar="YYYY-Wnn", help="default: the last whole week")
    digest.set_defaults(run=_digest)


def _opened(settings: Settings) -> Database:
    from cds_service.database import open_site_database

    return open_site_database(settings, limit_ms=None, writes_review=True)


def _signals(options: argparse.Namespace) -> int:
    from cds_service.alert_log.instants import micros
    from cds_service.alert_log.sealing import sealing_key
    from cds_service.database import DatabaseError
    from cds_service.review.signal_rows import sentence
    from cds_service.rollups.days import SiteDays
    from cds_service.rollups.rollup import roll_up
    from cds_service.signals.inbox import STATES, signals
    from cds_service.signals.update import update_signals

    settings = load_settings()
    days = SiteDays(settings.time_zone)
    try:
        with closing(_opened(settings)) as database:
            roll_up(database, days, utc_now)
            key = sealing_key(settings.reveal_key, settings.reveal_key_id)
            watched = update_signals(database, days, utc_now, key).watches
            found = [one for one in signals(database, days, days.day_of(micros(utc_now()))) if one.is_open]
    except DatabaseError as error:
        print(f"the detectors can't run: {error}", file=sys.stderr)
        return 1
    if options.prometheus:
        print("# HELP cds_signals_open Open signals of the review pages\n# TYPE cds_signals_open gauge")
        print(f"cds_signals_open {len(found)}")
        return 0
    for one in found:
        state = "escalated" if one.escalated else STATES[one.state].lower()
        print(f"{one.id:5} {state:10} {sentence(one)}")
    silent = sum(one.state in ("learning", "no_data") for one in watched)
    print(f"{len(found)} open; {len(watched)} watched, of {silent} of them nothing can be said")
    return NEEDS_A_LOOK if any(one.state in ("new", "regressed") or one.escalated for one in found) else 0


def _digest(options: argparse.Namespace) -> int:
    from cds_service.alert_log.instants import micros
    from cds_service.database import DatabaseError
    from cds_service.knowledge.site_knowledge import load_knowledge
    from cds_service.review.digest import WeekError, digest, markdown, week_days
    from cds_service.rollups.days import SiteDays
    from cds_service.rollups.filter import Filter
    from cds_service.rollups.rollup import roll_up
    from cds_service.signals.inbox import signals

    settings = load_settings()
    days = SiteDays(settings.time_zone)
    today = days.day_of(micros(utc_now()))
    try:
        chosen = Filter(*week_days(options.week, today))
    except WeekError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        with closing(_opened(settings)) as database:
            roll_up(database, days, utc_now)
            known = load_knowledge(settings, before_approval=True)
            found = digest(database, chosen, known, days, signals(database, days, today), today)
    except DatabaseError as error:
        print(f"the log can't be counted: {error}", file=sys.stderr)
        return 1
    print(markdown(found, settings.time_zone), end="")
    return 0
