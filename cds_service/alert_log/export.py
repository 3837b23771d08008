"""Export the calls of a log's file whole, as newline-delimited JSON, streamed while the service writes.

Rows of cards and evaluations, in other formats and from PostgreSQL too: `cds_service/exports`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from itertools import chain
from pathlib import Path

import msgspec

from cds_service.alert_log.exported_rows import Exporter, Row
from cds_service.alert_log.instants import micros
from cds_service.alert_log.reading import open_for_reading

_PAGE = 200  # calls per read transaction: a slow reader must not keep SQLite from reusing its write-ahead log

_CALLS = """SELECT * FROM call WHERE (received_at, seq) > (:received_at, :seq) AND seq <= :last
    ORDER BY received_at, seq LIMIT :page"""


def call_lines(path: Path, since: datetime | None = None) -> Iterator[tuple[bytes, int]]:
    """Yield chunks of lines, each with how many, in the order of calls.

    A row per call (`"row": "call"`), also those without cards, has everything that is stored about it. `feedback` of its cards
    stands at the newest of the shown cards with that uuid, in the order received. After them comes a row per feedback item whose
    card is not in the log (`"row": "feedback"`) and per count of requests that never became a call (`"row": "refusal"`).
    `since` (aware) leaves out calls received before.

    Raises FileNotFoundError, SchemaMismatchError, sqlite3.DatabaseError, ValueError for a naive `since`, msgspec.DecodeError or
    CompressionError for a damaged body.
    """
    start = -(2**63) if since is None else micros(since)
    encode_lines = msgspec.json.Encoder().encode_lines
    with closing(open_for_reading(path)) as connection:
        exporter = Exporter(connection)
        pages = (_pages(connection, exporter, start), exporter.orphans(start, _PAGE), exporter.refusals(start, _PAGE))
        for rows in chain.from_iterable(pages):
            yield encode_lines(rows), len(rows)


def _pages(connection: sqlite3.Connection, exporter: Exporter, start: int) -> Iterator[list[Row]]:
    """Return pages of calls, without those that came after the first page was read."""
    last = connection.execute("SELECT coalesce(max(seq), 0) FROM call").fetchone()[0]
    position = {"received_at": start, "seq": 0, "last": last, "page": _PAGE}
    while True:
        connection.execute("BEGIN")
        found = connection.execute(_CALLS, position).fetchall()
        page = [exporter.exported(call, last) for call in found]
        connection.execute("COMMIT")
        if not found:
            return
        yield page
        position |= {"received_at": found[-1]["received_at"], "seq": found[-1]["seq"]}
