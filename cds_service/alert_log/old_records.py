"""Make records of the rows that version 0.1.0 and before wrote.

What those versions did not keep stays unknown: whether a card applied, the dialect, times, cards that were held back. The key of
an order is the one of then, which does not hold the patient. The sets of outcomes have the first 16 digits of content hashes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec

from cds_service.alert_log.records import (
    CallRecord,
    CardRecord,
    FeedbackRecord,
    MissingRow,
    OutcomeRow,
    QuarantineRecord,
    call_id,
)

FACTS_VERSION = 1
_NOT_RECORDED = -1  # whether a card applied


class _Missing(msgspec.Struct):
    name: str
    cause: str = ""


class _Evaluation(msgspec.Struct):
    card: str
    version: str = ""
    hash: str = ""
    outcome: str = ""
    row: int = -1
    order_key: str = ""
    missing: list[_Missing] = []


class _Facts(msgspec.Struct):
    orders: list[dict[str, Any]] = []


_evaluations = msgspec.json.Decoder(list[_Evaluation])
_facts = msgspec.json.Decoder(_Facts)


def old_call(row: sqlite3.Row, cards: Sequence[sqlite3.Row]) -> CallRecord:
    """Return the record of a row of `old_call` with its rows of `old_card`.

    Raises ValueError or msgspec.DecodeError for a row that no version wrote.
    """
    received_at = datetime.fromisoformat(row["received_at"])
    decided = [one for one in _evaluations.decode(row["evaluations"]) if one.card != "*"]
    outcomes: tuple[OutcomeRow, ...] = tuple(
        (one.card, one.version, one.hash, one.outcome, one.row, _NOT_RECORDED) for one in decided
    )
    missing: tuple[MissingRow, ...] = tuple((one.card, item.name, item.cause) for one in decided for item in one.missing)
    return CallRecord(
        id=_id(received_at, row["id"]),
        received_at=received_at,
        service=row["service"],
        hook=row["hook"],
        hook_instance=row["hook_instance"],
        client=row["client"],
        patient_key=row["patient_key"],
        user_key=row["user_key"],
        encounter_key=row["encounter_key"],
        status=row["status"],
        outcome=row["outcome"],
        evaluations=row["evaluations"].encode(),
        sources=row["sources"].encode(),
        timings=row["timings"].encode(),
        facts=(row["facts"] or "").encode(),
        service_version=row["service_version"],
        knowledge_hash=row["knowledge_hash"],
        jurisdiction=row["jurisdiction"],
        bytes_in=row["bytes_in"],
        bytes_out=row["bytes_out"],
        cards=tuple(_card(one) for one in cards),
        tenant=row["tenant"],
        orders=len(_facts.decode(row["facts"]).orders) if row["facts"] else 0,
        order_keys=tuple({one.order_key: None for one in decided if one.order_key}),
        outcomes=outcomes,
        missing=missing,
    )


def old_repeats(row: sqlite3.Row, call: CallRecord) -> list[CallRecord]:
    """Return a record for each time that the call was sent again; when that was is not known, so it has the call's time."""
    change = msgspec.structs.replace
    return [change(call, id=_id(call.received_at, f"{row['id']} {n}"), cards=()) for n in range(1, row["repeats"] + 1)]


_NEW = {"id", "comment"}  # fields that version 0.1.0 did not have


def old_feedback(row: sqlite3.Row, sender: Sequence[str] | None = None) -> list[FeedbackRecord]:
    """Return a record for each time that the item was sent. `sender`: client and tenant, in place of those of the row."""
    record = FeedbackRecord(
        received_at=datetime.fromisoformat(row["received_at"]),
        accepted=msgspec.json.decode(row["accepted"], type=list[str]),
        **{name: row[name] for name in FeedbackRecord.__struct_fields__ if name not in _NEW | {"received_at", "accepted"}},
    )
    if sender is not None:
        record = msgspec.structs.replace(record, client=sender[0], tenant=sender[1])
    return [record] * (row["repeats"] + 1)


def old_quarantine(row: sqlite3.Row) -> QuarantineRecord:
    """Return the record of a row of `old_quarantine`."""
    values = {name: row[name] for name in QuarantineRecord.__struct_fields__}
    return QuarantineRecord(**values | {"noted_at": datetime.fromisoformat(row["noted_at"])})


def _card(row: sqlite3.Row) -> CardRecord:
    names = ("uuid", "card", "version", "content_hash", "indicator", "mode", "order_key", "about")
    return CardRecord(**{name: row[name] for name in names}, body=row["body"].encode(), row=row["table_row"])


def _id(received_at: datetime, old: str) -> bytes:
    return call_id(received_at, blake2b(old.encode(), digest_size=10).digest())
