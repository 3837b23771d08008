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

from cds_service.alert_log.store import instant, open_for_reading

COLUMNS = (
    *("receivedAt", "call", "service", "hook", "hookInstance", "client", "tenant", "patientKey", "userKey", "encounterKey"),
    *("cardUuid", "cardId", "version", "contentHash", "indicator", "mode", "orderKey", "about"),
    *("evidence", "missing", "feedback"),
    *("serviceVersion", "knowledgeHash", "jurisdiction"),
)
_JSON_COLUMNS = {"evidence", "missing", "feedback"}

_PAGE = 200  # calls per read transaction: a slow reader must not keep SQLite from reusing its write-ahead log
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

_CALLS = """SELECT * FROM call WHERE (received_at, seq) > (:received_at, :seq) AND seq <= :last
    AND (:calls OR EXISTS (SELECT 1 FROM card WHERE call_seq = call.seq)) ORDER BY received_at, seq LIMIT :page"""
_CARDS = "SELECT * FROM card WHERE call_seq = ? ORDER BY position"
# Feedback belongs to the newest card of its uuid that its sender was shown: a repeated call returns the same card again.
_FEEDBACK = """SELECT * FROM feedback WHERE card_uuid = :uuid
    AND (client = '' OR (client, tenant) = (:client, :tenant)) AND NOT EXISTS
    (SELECT 1 FROM card JOIN call ON call.seq = call_seq
        WHERE uuid = :uuid AND card.seq > :seq AND call_seq <= :last
        AND (feedback.client = '' OR (feedback.client, feedback.tenant) = (call.client, call.tenant))) ORDER BY seq"""
_ORPHANS = """SELECT * FROM feedback WHERE received_at >= :since AND seq > :seq AND NOT EXISTS
    (SELECT 1 FROM card JOIN call ON call.seq = call_seq WHERE uuid = card_uuid
        AND (feedback.client = '' OR (feedback.client, feedback.tenant) = (call.client, call.tenant)))
    ORDER BY seq LIMIT :page"""

_NOTHING = msgspec.Raw(b"[]")


class _Evaluation(msgspec.Struct, gc=False):
    """The members of an evaluation that join it to its card and go into the card's row."""

    card: str
    order_key: str = ""
    evidence: msgspec.Raw = _NOTHING
    missing: msgspec.Raw = _NOTHING


_evaluations = msgspec.json.Decoder(list[_Evaluation])


def export(
    path: Path,
    format: Literal["ndjson", "csv"],  # noqa: A002 (the name of the command line option)
    since: datetime | None,
    out: BinaryIO,
    *,
    calls: bool = False,
) -> int:
    """Write one row per card, live or in shadow, in the order of calls; return their number.

    A row has the members of COLUMNS. `evidence`, `missing` and `feedback` are JSON (in CSV as text in a cell); the first two
    are null for a card that belongs to no single evaluation. `feedback` is in the order received and stands at the newest of
    the cards with that uuid. `since` (aware) leaves out calls received before.

    With `calls` (ndjson only) the whole log is written: a row per call (`"row": "call"`), also those without cards, with
    everything that is stored about it; then a row per feedback item whose card is not in the log (`"row": "feedback"`).

    CSV is RFC 4180 in UTF-8 with a header; a cell that a spreadsheet would run as a formula gets a leading apostrophe.

    Raises FileNotFoundError, SchemaMismatchError, sqlite3.DatabaseError, ValueError for calls as CSV or a naive `since`,
    msgspec.DecodeError where stored evaluations are not what CallRecord says.
    """
    if calls and format == "csv":
        raise ValueError("calls are exported as ndjson only")
    start = "" if since is None else instant(since)
    rows = 0
    with closing(open_for_reading(path)) as connection:
        if format == "csv":
            out.write(_csv([COLUMNS]))
            for page in _pages(connection, start, calls=False):
                cards = [_card_row(call, card, feedback) for call, joined in page for card, feedback in joined]
                out.write(_csv([[_cell(name, row[name]) for name in COLUMNS] for row in cards]))
                rows += len(cards)
            return rows
        encoder = msgspec.json.Encoder()
        for page in _pages(connection, start, calls=calls):
            if calls:
                lines: list[dict[str, Any]] = [_call_row(call, joined) for call, joined in page]
            else:
                lines = [_card_row(call, card, feedback) for call, joined in page for card, feedback in joined]
            out.write(encoder.encode_lines(lines))
            rows += len(lines)
        if calls:
            for orphans in _orphans(connection, start):
                out.write(encoder.encode_lines(orphans))
                rows += len(orphans)
    return rows


_Joined = list[tuple[sqlite3.Row, list[dict[str, Any]]]]  # cards, each with its feedback


def _pages(connection: sqlite3.Connection, start: str, *, calls: bool) -> Iterator[list[tuple[sqlite3.Row, _Joined]]]:
    """Return pages of calls with their cards, without calls that came after the first page was read."""
    last = connection.execute("SELECT coalesce(max(seq), 0) FROM call").fetchone()[0]
    position = {"received_at": start, "seq": 0, "last": last, "calls": calls, "page": _PAGE}
    while True:
        connection.execute("BEGIN")
        page = []
        for call in connection.execute(_CALLS, position).fetchall():
            cards = connection.execute(_CARDS, (call["seq"],)).fetchall()
            page.append((call, [(card, _feedback(connection, call, card, last)) for card in cards]))
        connection.execute("COMMIT")
        if not page:
            return
        yield page
        position |= {"received_at": page[-1][0]["received_at"], "seq": page[-1][0]["seq"]}


def _feedback(connection: sqlite3.Connection, call: sqlite3.Row, card: sqlite3.Row, last: int) -> list[dict[str, Any]]:
    query = {"uuid": card["uuid"], "seq": card["seq"], "last": last, "client": call["client"], "tenant": call["tenant"]}
    return [_feedback_row(item) for item in connection.execute(_FEEDBACK, query)]


def _orphans(connection: sqlite3.Connection, start: str) -> Iterator[list[dict[str, Any]]]:
    seq = 0
    while found := connection.execute(_ORPHANS, {"since": start, "seq": seq, "page": _PAGE}).fetchall():
        yield [
            {
                "row": "feedback",
                "cardUuid": item["card_uuid"],
                "client": item["client"],
                "tenant": item["tenant"],
                **_feedback_row(item),
            }
            for item in found
        ]
        seq = found[-1]["seq"]


def _feedback_row(item: sqlite3.Row) -> dict[str, Any]:
    reason = {"system": item["reason_system"], "code": item["reason_code"], "display": item["reason_display"]}
    return {
        "receivedAt": item["received_at"],
        "service": item["service"],
        "outcome": item["outcome"],
        "outcomeTimestamp": item["outcome_timestamp"],
        "accepted": msgspec.Raw(item["accepted"].encode()),
        "reason": reason if any(reason.values()) else None,
        "commentLength": item["comment_length"],
        "repeats": item["repeats"],
    }


def _about_call(call: sqlite3.Row) -> dict[str, Any]:
    return {
        "receivedAt": call["received_at"],
        "call": call["id"],
        "service": call["service"],
        "hook": call["hook"],
        "hookInstance": call["hook_instance"],
        "client": call["client"],
        "tenant": call["tenant"],
        "patientKey": call["patient_key"],
        "userKey": call["user_key"],
        "encounterKey": call["encounter_key"],
        "serviceVersion": call["service_version"],
        "knowledgeHash": call["knowledge_hash"],
        "jurisdiction": call["jurisdiction"],
    }


def _about_card(card: sqlite3.Row, feedback: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "cardUuid": card["uuid"],
        "cardId": card["card"],
        "version": card["version"],
        "contentHash": card["content_hash"],
        "indicator": card["indicator"],
        "mode": card["mode"],
        "orderKey": card["order_key"],
        "about": card["about"],
        "feedback": feedback,
    }


def _card_row(call: sqlite3.Row, card: sqlite3.Row, feedback: list[dict[str, Any]]) -> dict[str, Any]:
    found = [
        one for one in _evaluations.decode(call["evaluations"]) if (one.card, one.order_key) == (card["card"], card["order_key"])
    ]
    joined = {"evidence": found[0].evidence, "missing": found[0].missing} if found else {"evidence": None, "missing": None}
    return {"row": "card", **_about_call(call), **_about_card(card, feedback), **joined}


def _call_row(call: sqlite3.Row, joined: _Joined) -> dict[str, Any]:
    return {
        "row": "call",
        **_about_call(call),
        "status": call["status"],
        "outcome": call["outcome"],
        "bytesIn": call["bytes_in"],
        "bytesOut": call["bytes_out"],
        "repeats": call["repeats"],
        **{name: msgspec.Raw((call[name] or "null").encode()) for name in ("evaluations", "sources", "timings", "facts")},
        "cards": [_about_card(card, feedback) | {"body": msgspec.Raw(card["body"].encode())} for card, feedback in joined],
    }


def _csv(rows: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _cell(name: str, value: Any) -> str:
    text: str = msgspec.json.encode(value).decode() if name in _JSON_COLUMNS else value
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
