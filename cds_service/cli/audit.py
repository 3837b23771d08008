"""Run `cds-service audit …`: check the audit of the review pages, or say where it ends."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from cds_service.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from cds_service.access.audit import Head
    from cds_service.database import Database

_MOST_SHOWN = 100


def add_audit_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the commands under `audit`."""
    audit = commands.add_parser("audit", help="who saw and changed what on the review pages").add_subparsers(
        required=True, metavar="COMMAND"
    )
    verify = audit.add_parser("verify", help="find entries that were altered, removed or put in; status 1 if any")
    verify.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="NUMBER:HASH",
        type=_head,
        help="a newest entry that was noted elsewhere (`audit head`, lines audit_head), which tells of an end that was cut off",
    )
    verify.set_defaults(run=_verify)
    audit.add_parser("head", help="print the newest entry as NUMBER:HASH").set_defaults(run=_print_head)


def _verify(options: argparse.Namespace) -> int:
    from cds_service.access.audit_check import check_audit

    with _review() as database:
        found = check_audit(database, options.head)
    for one in found.findings[:_MOST_SHOWN]:
        print(one)
    if len(found.findings) > _MOST_SHOWN:
        print(f"and {len(found.findings) - _MOST_SHOWN} more")
    print(f"{found.entries} entries, {len(found.findings)} findings; head {_written(found.head)}")
    if not options.head:
        print("without --head, an end that was cut off or written anew is not seen", file=sys.stderr)
    return 1 if found.findings else 0


def _print_head(_: argparse.Namespace) -> int:
    from cds_service.access.audit import head

    with _review() as database:
        print(_written(head(database)))
    return 0


@contextmanager
def _review() -> Iterator[Database]:
    from cds_service.database import DatabaseError, open_site_database

    settings = load_settings()
    try:
        with closing(open_site_database(settings, limit_ms=None, writes_review=True)) as database:
            yield database
    except DatabaseError as error:
        raise SettingsError(str(error)) from None


def _head(text: str) -> Head:
    from cds_service.access.audit import Head

    number, _, digest = text.partition(":")
    try:
        found = Head(int(number), bytes.fromhex(digest))
    except ValueError:
        found = Head(0, b"")
    if found.seq < 1 or len(found.hash) != 32:
        raise argparse.ArgumentTypeError("a head is NUMBER:HASH, the hash in 64 hex digits")
    return found


def _written(found: Head | None) -> str:
    return f"{found.seq}:{found.hash.hex()}" if found is not None else "none"
