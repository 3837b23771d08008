"""Run `cds-service log …`: what an operator does with the alert log."""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from typing import Any

from cds_service.cli.backups import add_backup_commands
from cds_service.cli.log_export import add_log_export_command
from cds_service.cli.retention import add_retention_commands
from cds_service.settings import load_settings


def add_log_commands(commands: argparse._SubParsersAction[Any], instant: Callable[[str], datetime]) -> None:
    """Add the commands under `log`; `instant` reads a time from an argument."""
    log = commands.add_parser("log", help="the alert log").add_subparsers(required=True, metavar="COMMAND")
    add_log_export_command(log, instant)
    compact = log.add_parser("compact", help="rewrite rows of version 0.1.0 and before, while the service runs")
    compact.set_defaults(run=_compact)
    ship = log.add_parser(
        "ship", help="move the log's records to PostgreSQL (CDS_LOG_DATABASE_URL), as a running service does by itself"
    )
    ship.add_argument("--once", action="store_true", help="end when everything is there, or when it can't be reached")
    ship.set_defaults(run=_ship)
    rollup = log.add_parser(
        "rollup", help="count the log for the review pages, as they do by themselves; only what has changed is counted anew"
    )
    rollup.add_argument("--all", action="store_true", help="count every day anew, whether or not it changed")
    rollup.add_argument(
        "--verify", action="store_true", help="change nothing; list days whose counts are not those of the log, status 1 if any"
    )
    rollup.set_defaults(run=_rollup)
    add_backup_commands(log)
    add_retention_commands(log)


def _compact(_: argparse.Namespace) -> int:
    """Rewrite old rows; say on standard error how far it is."""
    from cds_service.alert_log.compact import Compacted, compact
    from cds_service.hooks.override_reasons import known_reasons
    from cds_service.knowledge.site_knowledge import load_knowledge

    settings = load_settings()
    path = settings.log_path
    if not path.exists():
        print(f"{path}: there is no alert log yet; CDS_LOG_PATH names the file", file=sys.stderr)
        return 1
    keep_reason = known_reasons(load_knowledge(settings, before_approval=True))
    last = Compacted(0, 0, 0)
    try:
        for last in compact(path, keep_reason):
            print(f"\r{last.done} calls rewritten, {last.left} left ", end="", file=sys.stderr, flush=True)
    except sqlite3.DatabaseError as error:
        print(f"{path}: cannot be rewritten ({error}); what was rewritten stays, the next run goes on", file=sys.stderr)
        return 1
    print(f"\r{last.done} calls rewritten" + " " * 20, file=sys.stderr)
    if last.unreadable:
        print(f"{last.unreadable} calls could not be read and stay in the old tables", file=sys.stderr)
    return 1 if last.unreadable else 0


def _ship(options: argparse.Namespace) -> int:
    from cds_service.shipping.progress import ship
    from cds_service.shipping.shipper import Shipper

    settings = load_settings()
    if not settings.log_database_url:
        print("CDS_LOG_DATABASE_URL names no database", file=sys.stderr)
        return 1
    if not settings.log_path.exists():
        print(f"{settings.log_path}: there is no alert log yet; CDS_LOG_PATH names the file", file=sys.stderr)
        return 1
    # Beside a service that ships the same file it does no harm, so it does not wait for its lock.
    return ship(Shipper(settings.log_path, settings.log_database_url, shares=False), once=options.once)


def _rollup(options: argparse.Namespace) -> int:
    from cds_service.authoring.progress import Progress
    from cds_service.clock import utc_now
    from cds_service.database import DatabaseError, open_site_database
    from cds_service.rollups.days import SiteDays
    from cds_service.rollups.rollup import days_not_counted, differences, roll_up, rollup_state

    settings = load_settings()
    days = SiteDays(settings.time_zone)
    parts = 1000  # of the bar

    def advance(done: int, of: int) -> None:
        shown.advance(done * parts // of, done)

    try:
        with closing(open_site_database(settings, limit_ms=None, writes_review=True)) as database:
            with Progress(sys.stderr, every=1, what="days").of("verified" if options.verify else "counted", parts) as shown:
                if options.verify:
                    wrong = list(differences(database, days, progress=advance))
                else:
                    wrong = []
                    roll_up(database, days, utc_now, everything=options.all, progress=advance)
            state = rollup_state(database)
            waiting = days_not_counted(database, days)
    except DatabaseError as error:
        print(f"the log can't be counted: {error}", file=sys.stderr)
        return 1
    for one in wrong:
        print(f"{one.day}: {one.table} is not what the log says; `cds-service log rollup --all` counts it anew")
    reach = f"days {state.first_day} to {state.last_day}" if state.last_day else "no day"
    print(f"{reach} counted in time zone {state.time_zone or settings.time_zone}, {waiting} waiting")
    return 1 if wrong else 0
