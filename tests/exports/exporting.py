"""Helpers of the tests of exports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from cds_service.database import Database, open_database
from cds_service.exports.cursor import Cursor, Snapshot
from cds_service.exports.formats import FORMATS
from cds_service.exports.selection import CaseRef, Selection
from cds_service.rollups.days import SiteDays
from cds_service.rollups.filter import Filter
from tests.core import NOW

UTC_DAYS = SiteDays("UTC")


@contextmanager
def opened(log: Path, url: str = "") -> Iterator[Database]:
    """The log and its review database, made where it is missing."""
    database = open_database(log, log.with_name("review.sqlite3"), url, limit_ms=None, writes_review=True)
    try:
        yield database
    finally:
        database.close()


def selected(database: Database, chosen: Filter | None = None, after: str = "", cases: tuple[CaseRef, ...] = ()) -> Selection:
    cursor = Cursor.parse(after) if after else None
    snapshot = cursor.snapshot if cursor is not None else Snapshot.now(database)
    return Selection(chosen or Filter(), UTC_DAYS, snapshot, after=cursor, cases=cases)


def exported(database: Database, name: str, chosen: Filter | None = None, after: str = "", **others: Any) -> bytes:
    """The bytes of an export."""
    chunks = list(FORMATS[name].open(database, selected(database, chosen, after, **others), NOW))
    return b"".join(chunk for chunk, _ in chunks)


def json_rows(database: Database, name: str, chosen: Filter | None = None, **others: Any) -> list[dict[str, Any]]:
    """The rows of an export of NDJSON."""
    return [msgspec.json.decode(line) for line in exported(database, name, chosen, **others).splitlines()]
