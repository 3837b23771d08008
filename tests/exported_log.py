"""What an export of a log's file holds, for tests that look at the log through it."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from cds_service.alert_log import call_lines, micros
from cds_service.database import open_database
from cds_service.exports.cursor import Snapshot
from cds_service.exports.formats import FORMATS
from cds_service.exports.selection import Selection
from cds_service.rollups.days import SiteDays
from cds_service.rollups.filter import Filter
from tests.core import NOW


def call_rows(path: Path, since: datetime | None = None) -> list[dict[str, Any]]:
    """The rows of whole calls."""
    chunks = list(call_lines(path, since))
    found = [json.loads(line) for chunk, _ in chunks for line in chunk.splitlines()]
    assert len(found) == sum(count for _, count in chunks)
    return found


def card_export(path: Path, name: str = "ndjson", since: datetime | None = None) -> bytes:
    """The bytes of an export of cards."""
    with closing(open_database(path, path.with_name("review.sqlite3"), limit_ms=None, writes_review=True)) as database:
        start = None if since is None else micros(since)
        selection = Selection(Filter(), SiteDays("UTC"), Snapshot.now(database), since=start)
        return b"".join(chunk for chunk, _ in FORMATS[name].open(database, selection, NOW))


def card_rows(path: Path, since: datetime | None = None) -> list[dict[str, Any]]:
    """The rows of cards."""
    return [json.loads(line) for line in card_export(path, since=since).splitlines()]
