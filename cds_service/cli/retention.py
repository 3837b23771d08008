"""Run `cds-service log purge`, `log hold …` and `log rotate-key`."""

from __future__ import annotations

import argparse
import secrets
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cds_service.settings import Settings, load_settings

if TYPE_CHECKING:
    from cds_service.database import Database
    from cds_service.retention.keys_left import KeyUse
    from cds_service.retention.purge import Purged

_PARTS = 1000  # of a bar


def add_retention_commands(log: argparse._SubParsersAction[Any]) -> None:
    """Add the commands to those under `log`."""
    purge = log.add_parser("purge", help="delete records older than CDS_KEEP_DAYS, but for those that a hold keeps")
    purge.add_argument("--dry-run", action="store_true", help="change nothing; say what would go")
    purge.add_argument(
        "--rewrite", action="store_true", help="then write the file anew, for which calls wait: unused parts of pages go, too"
    )
    purge.set_defaults(run=_purge)
    hold = log.add_parser("hold", help="keep records from being purged").add_subparsers(required=True, metavar="COMMAND")
    add = hold.add_parser("add", help="keep all records of a patient, a call or a client, however old they become")
    which = add.add_mutually_exclusive_group(required=True)
    which.add_argument("--patient", metavar="HASH", help="the patient's hash, as exports and pages show it")
    which.add_argument("--call", metavar="ID", help="the id of a call")
    which.add_argument("--client", metavar="NAME", help="the name of an EHR client")
    add.add_argument("--reason", required=True, help="why, for those who read the list")
    add.set_defaults(run=_add_hold)
    hold.add_parser("list", help="list the holds").set_defaults(run=_list_holds)
    remove = hold.add_parser("remove", help="end a hold: the next purge takes what is old")
    remove.add_argument("number", type=int, help="as `hold list` shows it")
    remove.set_defaults(run=_remove_hold)
    rotate = log.add_parser("rotate-key", help="tell how to change the key of the hashes, and when the old one can go")
    rotate.set_defaults(run=_rotate_key)


@contextmanager
def _review(settings: Settings) -> Iterator[Database]:
    from cds_service.database import open_site_database

    with closing(open_site_database(settings, limit_ms=None, writes_review=True)) as database:
        yield database


def _purge(options: argparse.Namespace) -> int:
    from cds_service.alert_log import micros
    from cds_service.authoring.progress import Progress
    from cds_service.clock import utc_now
    from cds_service.database import DatabaseError
    from cds_service.replay.old_backtests import delete_old_backtests
    from cds_service.retention.purge import purge

    settings = load_settings()

    def advance(done: int, of: int) -> None:
        shown.advance(done * _PARTS // max(of, 1), done)

    try:
        with Progress(sys.stderr, every=1, what="parts").of("looked at" if options.dry_run else "purged", _PARTS) as shown:
            purged = purge(settings, utc_now, dry_run=options.dry_run, rewrite=options.rewrite, progress=advance)
    except (DatabaseError, sqlite3.Error) as error:
        print(f"the log can't be purged: {error}; what was deleted is gone, the next run goes on", file=sys.stderr)
        return 1
    for one in purged:
        _report(one, options.dry_run)
    gone = delete_old_backtests(settings, micros(utc_now() - timedelta(days=settings.keep_days)), dry_run=options.dry_run)
    if gone:
        print(f"{gone} backtest{'s' if gone > 1 else ''} with cases of that age {'would go' if options.dry_run else 'deleted'}")
    return 1 if any(one.left or not one.wal_emptied or one.not_rewritten for one in purged) else 0


def _report(one: Purged, dry_run: bool) -> None:
    from cds_service.alert_log import instant_of

    print(
        f"{one.place}: records of before {instant_of(one.until.evidence):%Y-%m-%d %H:%M} UTC, "
        f"sealed ones of before {instant_of(one.until.sealed):%Y-%m-%d %H:%M} UTC, "
        f"inputs of before {instant_of(one.until.inputs):%Y-%m-%d %H:%M} UTC"
    )
    for table in one.found:
        if table.old:
            print(f"  {table.table}: {table.deleted} {'would go' if dry_run else 'deleted'}, {table.held} held")
    if not any(table.old for table in one.found):
        print("  nothing is as old as that")
    if one.left:
        print(f"  {one.left} old records are there still; run it again")
    if not one.wal_emptied:
        print("  readers kept the write-ahead log from being emptied, copies may be in it; run it again")
    if one.not_rewritten:
        print(f"  {one.not_rewritten} calls of version 0.1.0 are not looked at: run `cds-service log compact` first")


def _add_hold(options: argparse.Namespace) -> int:
    from cds_service.alert_log import micros
    from cds_service.clock import utc_now
    from cds_service.database import DatabaseError
    from cds_service.retention.holds import HoldError, Kind, add_hold

    kinds: tuple[Kind, ...] = ("patient", "call", "client")
    kind, value = next((kind, value) for kind in kinds if (value := getattr(options, kind)) is not None)
    try:
        with _review(load_settings()) as database:
            number = add_hold(database, kind, value, options.reason, micros(utc_now()))
    except (DatabaseError, HoldError) as error:
        print(f"no hold was made: {error}", file=sys.stderr)
        return 1
    print(f"hold {number} keeps all records of this {kind}")
    return 0


def _list_holds(_: argparse.Namespace) -> int:
    from cds_service.alert_log import instant_of
    from cds_service.database import DatabaseError
    from cds_service.retention.holds import holds

    try:
        with _review(load_settings()) as database:
            found = holds(database)
    except DatabaseError as error:
        print(f"the holds can't be read: {error}", file=sys.stderr)
        return 1
    for one in found:
        print(f"{one.id}  {one.kind} {one.value}  since {instant_of(one.began_at):%Y-%m-%d}  {one.reason}")
    if not found:
        print("nothing is held")
    return 0


def _remove_hold(options: argparse.Namespace) -> int:
    from cds_service.alert_log import micros
    from cds_service.clock import utc_now
    from cds_service.database import DatabaseError
    from cds_service.retention.holds import end_hold

    try:
        with _review(load_settings()) as database:
            ended = end_hold(database, options.number, micros(utc_now()))
    except DatabaseError as error:
        print(f"the hold can't be ended: {error}", file=sys.stderr)
        return 1
    if not ended:
        print(f"there is no hold {options.number}; `cds-service log hold list` shows them", file=sys.stderr)
        return 1
    print(f"hold {options.number} has ended")
    return 0


def _rotate_key(_: argparse.Namespace) -> int:
    """Change nothing: the keys are settings. Say what to set, or whether the old key is needed still."""
    from cds_service.database import DatabaseError
    from cds_service.retention.keys_left import keys_in_use

    settings = load_settings()
    if not settings.hash_secret:
        print("CDS_HASH_SECRET is not set: the random key of the dev profile is not changed", file=sys.stderr)
        return 1
    found: list[KeyUse] = []
    try:
        with _review(settings) as database:
            found = keys_in_use(database)
    except DatabaseError as error:
        print(f"the log can't be read: {error}", file=sys.stderr)
        return 1
    print(f"the key is k{settings.hash_generation}")
    for one in found:
        print(f"  k{one.generation}: {_use(one)}")
    older = [one.generation for one in found if one.calls and one.generation < settings.hash_generation]
    if settings.hash_secret_old:
        if older:
            print(f"Keep CDS_HASH_SECRET_OLD: the log has records of k{', k'.join(map(str, older))}.")
        else:
            print("No record of an older key is left: remove CDS_HASH_SECRET_OLD and throw that key away.")
        return 0
    if older:
        print("There are records of an older key and no CDS_HASH_SECRET_OLD: patients seen before count as others.")
    print("To change it, set these in the service's environment, on all machines at once, and restart:")
    print(f"CDS_HASH_SECRET={secrets.token_hex(32)}")
    print("CDS_HASH_SECRET_OLD=(what CDS_HASH_SECRET is now)")
    print(f"CDS_HASH_GENERATION={settings.hash_generation + 1}")
    return 0


def _use(one: KeyUse) -> str:
    from cds_service.alert_log import instant_of

    last = f", the last of {instant_of(one.newest):%Y-%m-%d}" if one.newest is not None else ""
    return f"{one.calls} calls{last}, {one.pairs} pairs with the next key"
