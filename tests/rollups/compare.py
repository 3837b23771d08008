"""Bring made-up rows and stored counts into the form of `plain_count`, so that both can be compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from cds_service.database import Database
from cds_service.database.review_tables import COUNTS
from tests.rollups.plain_count import Key, PlainCall, PlainCard, PlainFeedback, PlainLog
from tests.rollups.synthetic import COLUMNS, Rows, SyntheticLog

_NOT_NAMES = {"repeated_24h", "about_order", "table_row", "applies", "status", "ms_bucket", "user_key", "hour"}


def merged(days: Iterable[Rows]) -> Rows:
    """Return the rows of all days together."""
    found: Rows = {table: [] for table in COLUMNS}
    for rows in days:
        for table, more in rows.items():
            found[table] += more
    return found


def plain(log: SyntheticLog, rows: Rows) -> PlainLog:
    """Return the rows as plain records."""
    text = log.names.__getitem__

    def records(table: str) -> Iterable[dict[str, Any]]:
        columns = COLUMNS[table].split(", ")
        return (dict(zip(columns, row, strict=True)) for row in rows[table])

    def hexed(value: bytes | None) -> str | None:
        return None if value is None else value.hex()

    ordered, delivered = defaultdict(list), {}
    for one in records("ordered"):
        ordered[one["call_id"]].append(one["order_key"].hex())
    for one in records("delivery"):
        delivered[one["call_id"]] = one["total_us"]
    withdrawn = {one["call_id"] for one in records("withdrawal")}
    calls = {}
    for one in records("call"):
        outcomes = log.outcome_sets[one["outcome_set"] - 1] if one["outcome_set"] else []
        missing = log.missing_sets[one["missing_set"] - 1] if one["missing_set"] else []
        calls[one["id"]] = PlainCall(
            *(one["id"].hex(), one["received_at"], text(one["tenant"]), text(one["client"]), text(one["hook"])),
            *(one["status"], text(one["outcome"]), hexed(one["patient"]), hexed(one["user_key"]), hexed(one["encounter"])),
            *(ordered[one["id"]], one["repeat_of"] is not None, one["id"] in withdrawn, delivered.get(one["id"], one["took_us"])),
            evaluations=[
                (text(card), text(version), text(outcome), row, applies)
                for card, version, _, outcome, row, applies, n in outcomes
                for _ in range(n)
            ],
            releases=[(text(card), text(version), text(content)) for card, version, content, *_, n in outcomes for _ in range(n)],
            program=(text(one["service_version"]), text(one["dialect"])),
            missing=[(text(card), text(criterion), text(cause)) for card, criterion, cause, n in missing for _ in range(n)],
        )
    for one in records("card"):
        names = {name: text(one[name]) for name in ("card", "version", "indicator", "mode", "state")} | {"about": one["about"]}
        made = PlainCard(one["position"], one["uuid"].hex(), **names, about_order=one["order_key"] is not None)
        calls[one["call_id"]].cards.append(made)
    feedback = [
        PlainFeedback(
            *(one["id"].hex(), one["received_at"], text(one["tenant"]), text(one["client"]), one["card_uuid"].hex()),
            *(text(one["outcome"]), text(one["reason_code"]), one["comment_length"], one["outcome_at"]),
        )
        for one in records("feedback")
    ]
    refusals = [
        (
            one["received_at"],
            text(one["tenant"]),
            text(one["client"]),
            text(one["hook"]),
            one["status"],
            text(one["reason"]),
            one["n"],
        )
        for one in records("refusal")
    ]
    return PlainLog(list(calls.values()), feedback, refusals)


def stored(database: Database) -> dict[str, dict[Key, Key]]:
    """Return what the daily tables hold, in words."""
    found: dict[str, dict[Key, Key]] = {}
    for table, (dimensions, counts) in COUNTS.items():
        keys, values = ["day", *dimensions.split(", ")], counts.split(", ")
        found[table] = {
            tuple(_said(database, key, row[key]) for key in keys): tuple(row[value] for value in values)
            for row in database.rows(f"SELECT * FROM review.daily_{table}")  # noqa: S608 - names of the tables
        }
    return found


def _said(database: Database, column: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return value if column == "day" or column in _NOT_NAMES else database.names.text(value)
