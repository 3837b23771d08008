"""Records for the tests of the alert log."""

from __future__ import annotations

import json
import sqlite3
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cds_service.alert_log import CallRecord, CardRecord, FeedbackRecord

START = datetime(2025, 11, 28, 9, 30, tzinfo=UTC)
SERVICE = "cramp-care-order-sign"


def a_card(card_uuid: str = "", card: str = "quinine-avoid", order_key: str = "k1:order", **changes: Any) -> CardRecord:
    values: dict[str, Any] = {
        "uuid": card_uuid or str(uuid.uuid4()),
        "card": card,
        "version": "1.2.0",
        "content_hash": "c0ffee",
        "indicator": "warning",
        "mode": "live",
        "order_key": order_key,
        "body": json.dumps({"summary": "Avoid quinine for cramps", "indicator": "warning"}).encode(),
    }
    return CardRecord(**values | changes)


def a_call(*cards: CardRecord, minute: int = 0, **changes: Any) -> CallRecord:
    evaluations = [
        {
            "card": one.card,
            "order_key": one.order_key,
            "decision": "fired",
            "evidence": [{"name": "order", "value": f"seen by {one.uuid}"}],
            "missing": ["potassium"],
        }
        for one in cards
    ]
    values: dict[str, Any] = {
        "id": uuid.uuid4().hex,
        "received_at": START + timedelta(minutes=minute),
        "service": SERVICE,
        "hook": "order-sign",
        "hook_instance": str(uuid.uuid4()),
        "client": "",
        "patient_key": "k1:patient",
        "user_key": "k1:user",
        "encounter_key": "",
        "status": 200,
        "outcome": "cards" if cards else "no cards",
        "evaluations": json.dumps(evaluations).encode(),
        "sources": b'{"labs":"present"}',
        "timings": b'{"decide":0.4}',
        "facts": b"",
        "service_version": "0.1.0",
        "knowledge_hash": "feed",
        "jurisdiction": "US",
        "bytes_in": 10_000,
        "bytes_out": 2_000,
        "cards": cards,
    }
    return CallRecord(**values | changes)


def a_feedback(card_uuid: str, outcome: str = "overridden", minute: int = 60, **changes: Any) -> FeedbackRecord:
    values: dict[str, Any] = {
        "received_at": START + timedelta(minutes=minute),
        "service": SERVICE,
        "card_uuid": card_uuid,
        "outcome": outcome,
        "accepted": [],
        "reason_system": "",
        "reason_code": "",
        "reason_display": "",
        "comment_length": 0,
        "outcome_timestamp": "2025-11-28T10:30:00Z",
    }
    return FeedbackRecord(**values | changes)


def rows(path: Path, query: str) -> list[Any]:
    """What another process sees in the file."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(query).fetchall()
    return [row[0] if len(row) == 1 else row for row in found]
