"""Export the log as newline-delimited JSON or CSV, streamed while the service writes."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from cds_service.alert_log.exported_rows import ExportedCall, Exporter
from cds_service.alert_log.instants import micros
from cds_service.alert_log.reading import open_for_reading

COLUMNS = (
    *("receivedAt", "call", "service", "hook", "hookInstance", "client", "tenant", "patientKey", "userKey", "encounterKey"),
    *("cardUuid", "cardId", "version", "contentHash", "indicator", "mode", "orderKey", "about"),
    *("evidence", "missing", "feedback"),
    *("serviceVersion", "knowledgeHash", "jurisdiction", "state", "tableRow", "dialect", "degraded"),
)
_JSON_COLUMNS = {"evidence", "missing", "feedback", "tableRow"}

_PAGE = 200  # calls per read transaction: a slow reader must not keep SQLite from reusing its write-ahead log
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

_CALLS = """SELECT * FROM call WHERE (received_at, seq) > (:received_at, :seq) AND seq <= :last
    AND (:calls OR EXISTS (SELECT 1 FROM card WHERE card.received_at = call.received_at AND call_id = id))
    ORDER BY received_at, seq LIMIT :page"""


def export(
    path: Path,
    format: Literal["ndjson", "csv"],  # noqa: A002 (the name of the command line option)
    since: datetime | None,
    out: BinaryIO,
    *,
    calls: bool = False,
) -> int:
    """Write one row per card, live or in shadow, shown or held back (`state`), in the order of calls; return their number.

    A row has the members of COLUMNS. `evidence`, `missing` and `feedback` are JSON (in CSV as text in a cell); the first two
    are null for a card that belongs to no single evaluation. `feedback` is in the order received and stands at the newest of
    the shown cards with that uuid. `since` (aware) leaves out calls received before. A withdrawn call has no rows: its cards
    were not shown.

    With `calls` (ndjson only) the whole log is written: a row per call (`"row": "call"`), also those without cards, with
    everything that is stored about it; then a row per feedback item whose card is not in the log (`"row": "feedback"`) and
    per count of requests that never became a call (`"row": "refusal"`).

    CSV is RFC 4180 in UTF-8 with a header; a cell that a spreadsheet would run as a formula gets a leading apostrophe.

    Raises FileNotFoundError, SchemaMismatchError, sqlite3.DatabaseError, ValueError for calls as CSV or a naive `since`,
    msgspec.DecodeError or CompressionError for a damaged body.
    """
    if calls and format == "csv":
        raise ValueError("calls are exported as ndjson only")
    start = -(2**63) if since is None else micros(since)
    rows = 0
    with closing(open_for_reading(path)) as connection:
        exporter = Exporter(connection)
        encoder = msgspec.json.Encoder()
        if format == "csv":
            out.write(_csv([COLUMNS]))
        for page in _pages(connection, exporter, start, calls=calls):
            lines = [one.row for one in page] if calls else [card for one in page for card in one.card_rows]
            out.write(
                encoder.encode_lines(lines)
                if format == "ndjson"
                else _csv([[_cell(name, row[name]) for name in COLUMNS] for row in lines])
            )
            rows += len(lines)
        if calls:
            for lines in (*exporter.orphans(start, _PAGE), *exporter.refusals(start, _PAGE)):
                out.write(encoder.encode_lines(lines))
                rows += len(lines)
    return rows


def _pages(connection: sqlite3.Connection, exporter: Exporter, start: int, *, calls: bool) -> Iterator[list[ExportedCall]]:
    """Return pages of calls with their cards, without calls that came after the first page was read."""
    last = connection.execute("SELECT coalesce(max(seq), 0) FROM call").fetchone()[0]
    position = {"received_at": start, "seq": 0, "last": last, "calls": calls, "page": _PAGE}
    while True:
        connection.execute("BEGIN")
        found = connection.execute(_CALLS, position).fetchall()
        page = [exporter.exported(call, last) for call in found]
        connection.execute("COMMIT")
        if not found:
            return
        yield page
        position |= {"received_at": found[-1]["received_at"], "seq": found[-1]["seq"]}


def _csv(rows: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _cell(name: str, value: Any) -> str:
    text: str = msgspec.json.encode(value).decode() if name in _JSON_COLUMNS else value
    return f"'{text}" if text.startswith(_FORMULA_STARTS) and name not in _JSON_COLUMNS else text
