"""Run `cds-service log …`: what an operator does with the alert log."""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from cds_service.settings import load_settings


def add_log_commands(commands: argparse._SubParsersAction[Any], instant: Callable[[str], datetime]) -> None:
    """Add the commands under `log`; `instant` reads a time from an argument."""
    log = commands.add_parser("log", help="the alert log").add_subparsers(required=True, metavar="COMMAND")
    export = log.add_parser("export", help="write the log to standard output, one row per card")
    export.add_argument("--format", choices=["ndjson", "csv"], required=True)
    export.add_argument("--since", type=instant, help="only calls from this ISO time on, UTC where no zone is given")
    export.add_argument("--calls", action="store_true", help="one row per call, those without cards too (ndjson)")
    export.set_defaults(run=_export)
    ship = log.add_parser(
        "ship", help="move the log's records to PostgreSQL (CDS_LOG_DATABASE_URL), as a running service does by itself"
    )
    ship.add_argument("--once", action="store_true", help="end when everything is there, or when it can't be reached")
    ship.set_defaults(run=_ship)


def _export(options: argparse.Namespace) -> int:
    from cds_service.alert_log import export

    settings = load_settings()
    if not settings.log_path.exists():
        print(f"{settings.log_path}: there is no alert log yet; CDS_LOG_PATH names the file", file=sys.stderr)
        return 1
    if options.calls and options.format == "csv":
        print("--calls needs --format ndjson", file=sys.stderr)
        return 2
    try:
        export(settings.log_path, options.format, options.since, sys.stdout.buffer, calls=options.calls)
    except sqlite3.DatabaseError as error:
        print(f"{settings.log_path}: cannot be read as an alert log ({error})", file=sys.stderr)
        return 1
    return 0


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
