"""Run `cds-service codes unread`: list what clients send and the service does not understand.

With `--yaml` in the shape of `codes.yaml` of the overlay, to be mapped there.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cds_service.settings import load_settings

if TYPE_CHECKING:
    from cds_service.alert_log.unread import UnreadCode

_COLUMNS = ("calls", "client", "kind", "system", "code", "seems to be", "last seen")
# kind of `facts.Unread` → section of `codes.yaml`, and what has to be filled in
_SECTIONS = {
    "lab": ("labs", "analyte: '?', unit: '?', specimen: '?'"),
    "drug": ("drugs", "ingredient: '?'"),
    "allergy": ("drugs", "ingredient: '?'"),
    "problem": ("problems", "set: '?'"),
}


def add_codes_commands(commands: argparse._SubParsersAction[Any], instant: Callable[[str], datetime]) -> None:
    """Add the commands under `codes`; `instant` reads a time from an argument."""
    codes = commands.add_parser("codes", help="codes that a site uses").add_subparsers(required=True, metavar="COMMAND")
    unread = codes.add_parser(
        "unread", help="list codes, units and statuses in the log that were not understood, most frequent first"
    )
    unread.add_argument("--since", type=instant, help="only calls from this ISO time on, UTC where no zone is given")
    unread.add_argument("--client", help="only calls of this client")
    unread.add_argument("--yaml", action="store_true", help="print them in the shape of codes.yaml, to fill in at each ?")
    unread.set_defaults(run=_unread)


def _unread(options: argparse.Namespace) -> int:
    from cds_service.alert_log.unread import unread_codes

    path = load_settings().log_path
    try:
        found = unread_codes(path, options.since, options.client)
    except FileNotFoundError:
        print(f"{path}: there is no alert log yet; CDS_LOG_PATH names the file", file=sys.stderr)
        return 1
    except sqlite3.DatabaseError as error:
        print(f"{path}: cannot be read as an alert log ({error})", file=sys.stderr)
        return 1
    print("\n".join(_as_yaml(found) if options.yaml else _as_table(found)))
    return 0


def _as_table(found: Iterable[UnreadCode]) -> Iterator[str]:
    rows = [
        _COLUMNS,
        *((str(one.calls), one.client or "-", one.kind, one.system, one.code, one.meaning, one.last[:10]) for one in found),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _as_yaml(found: list[UnreadCode]) -> Iterator[str]:
    """Yield the lines of a `codes.yaml`: codes that can be mapped, the rest as comments.

    Each code stands once.
    """
    sections: dict[str, dict[str, str]] = {section: {} for section, _ in _SECTIONS.values()}
    others: list[str] = []
    for one in found:
        origin = f"{one.calls} calls of {one.client or 'a client without a name'}, last {one.last[:10]}"
        origin += f"; its name says {one.meaning}" if one.meaning else ""
        if one.kind in _SECTIONS and one.system and one.code and " " not in one.system + one.code:
            section, missing = _SECTIONS[one.kind]
            entry = f"  - {{system: {_quoted(one.system)}, code: {_quoted(one.code)}, {missing}}}"
            sections[section].setdefault(entry, f"  # {origin}")
        else:
            others.append(f"# {one.kind} {one.system} {one.code}: {origin}".replace("  ", " "))
    for section, entries in sections.items():
        if entries:
            yield f"{section}:"
            yield from (entry + comment for entry, comment in entries.items())
    if others:
        yield "# Cannot be mapped here:"
        yield from others


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
