"""Find out whether a file can be the alert log, before anything is written into it."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

from cds_service.alert_log.schema import SCHEMA_VERSION, TABLES, version_of
from cds_service.files.damage import is_damage
from cds_service.files.set_aside import Reason

_BUSY = 1.0  # seconds
_TABLES = {found[1] for statement in TABLES if (found := re.match(r"CREATE TABLE (\w+)", statement))}
_CALLS = "call"  # the table that every version has


class UnusableLogError(sqlite3.DatabaseError):
    """Raised where no retry can make the file the log. `reason` says why in a word."""

    def __init__(self, path: Path, reason: Reason) -> None:
        super().__init__(f"{path} can't be the alert log: {_MEANINGS[reason]}")
        self.reason: Reason = reason


class ReplacedLogError(FileNotFoundError):
    """Raised where the file that is open as the log was moved away, removed or replaced by another."""


_MEANINGS: dict[Reason, str] = {
    "damaged": "it is damaged",
    "newer": f"a newer version of this program wrote it; this one knows schema {SCHEMA_VERSION}",
    "foreign": "it is a database of another program",
    "not-a-file": "it is not a file",
    "unreadable": "this user may not read and write it",
}


def expect_usable(path: Path) -> None:
    """Raise UnusableLogError for what is there and can't be the log; nothing is changed. A missing or empty file can be.

    Raises sqlite3.OperationalError or OSError where it can't be read now. Not every damage is found: only where SQLite looks
    when it opens a file.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise UnusableLogError(path, "not-a-file")
    if not os.access(path, os.R_OK | os.W_OK):
        raise UnusableLogError(path, "unreadable")
    if not found.st_size:
        if _has_content(path.with_name(f"{path.name}-wal")):  # which SQLite would delete
            raise UnusableLogError(path, "damaged")
        return
    if reason := _reason_inside(path):
        raise UnusableLogError(path, reason)


def _reason_inside(path: Path) -> Reason | None:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY)) as file:
            version = version_of(file)
            tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        if is_damage(error):
            return "damaged"
        raise
    if not version and not tables:
        return None
    if not version or _CALLS not in tables:
        return "foreign"
    if version > SCHEMA_VERSION:
        return "newer"
    return "damaged" if version == SCHEMA_VERSION and not tables >= _TABLES else None


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
