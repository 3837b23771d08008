"""Records for the tests of the alert log."""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from cds_service.alert_log import CallRecord, CardRecord, FeedbackRecord
from cds_service.alert_log.body import decode_body
from cds_service.alert_log.compression import Decompressor
from cds_service.alert_log.instants import iso, key_text, uuid_text

START = datetime(2025, 11, 28, 9, 30, tzinfo=UTC)
SERVICE = "cramp-care-order-sign"


# Names that tests give, by what stands for them in the file.
_names: dict[bytes, str] = {}


def named(name: str) -> bytes:
    """16 bytes for a name of a test; `rows` writes the name in their place."""
    made = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    _names[made] = name
    return made


def a_key(name: str) -> str:
    """A keyed hash for a name of a test, "" for none."""
    return f"k1:{named(name).hex()}" if name else ""


def a_uuid(name: str) -> str:
    """A card's uuid for a name of a test."""
    return uuid_text(named(name))


def name_of(text: str) -> str:
    """The name that a uuid, a hash or an id stands for, else the text."""
    digits = text.removeprefix("k1:").replace("-", "")
    return _names.get(bytes.fromhex(digits), text) if len(digits) == 32 else text


def a_card(card_uuid: str = "", card: str = "quinine-avoid", order_key: str = "order", **changes: Any) -> CardRecord:
    """A card. `card_uuid`: a uuid, or a name for one; `order_key`: a name for a hash."""
    values: dict[str, Any] = {
        "uuid": _as_uuid(card_uuid) if card_uuid else str(uuid.uuid4()),
        "card": card,
        "version": "1.2.0",
        "content_hash": "c0ffee",
        "indicator": "warning",
        "mode": "live",
        "order_key": a_key(order_key),
        "body": json.dumps({"summary": "Avoid quinine for cramps", "indicator": "warning"}).encode(),
    }
    return CardRecord(**values | changes)


def _as_uuid(text: str) -> str:
    return text if len(text) == 36 else a_uuid(text)


def a_call(
    *cards: CardRecord,
    minute: int = 0,
    id: str = "",  # noqa: A002 (the name of the field)
    patient: str = "patient",
    user: str = "user",
    encounter: str = "",
    **changes: Any,
) -> CallRecord:
    """A call. `id`, `patient`, `user` and `encounter` are names, for what stands in the file."""
    received_at = changes.get("received_at", START + timedelta(minutes=minute))
    evaluations = [
        {
            "card": one.card,
            "order_key": one.order_key,
            "decision": "fired",
            "evidence": [{"name": "order", "value": f"seen by {name_of(one.uuid)}"}],
            "missing": ["potassium"],
        }
        for one in cards
    ]
    values: dict[str, Any] = {
        "id": named(id) if id else os.urandom(16),
        "received_at": received_at,
        "service": SERVICE,
        "hook": "order-sign",
        "hook_instance": str(uuid.uuid4()),
        "client": "",
        "patient_key": a_key(patient),
        "user_key": a_key(user),
        "encounter_key": a_key(encounter),
        "status": 200,
        "outcome": "cards" if cards else "no cards",
        "evaluations": json.dumps(evaluations).encode(),
        "outcomes": tuple((one.card, one.version, one.content_hash, "fired", one.row, 1) for one in cards),
        "order_keys": tuple({one.order_key for one in cards if one.order_key}),
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
        "card_uuid": _as_uuid(card_uuid),
        "outcome": outcome,
        "accepted": [],
        "reason_system": "",
        "reason_code": "",
        "reason_display": "",
        "comment_length": 0,
        "outcome_timestamp": "2025-11-28T10:30:00Z",
    }
    return FeedbackRecord(**values | changes)


# What a person would read in the tables: words, uuids and times. A withdrawn call reads as one with status 503 and no cards.
_VIEWS = """
CREATE TEMP VIEW call AS SELECT seq, id_(call.id) AS id, iso(call.received_at) AS received_at, word(tenant) AS tenant,
    word(client) AS client, word(service) AS service, word(hook) AS hook, member(seq, 'hook_instance') AS hook_instance,
    iif(gone, 503, status) AS status, iif(gone, 'log_unavailable', word(outcome)) AS outcome,
    iif(gone, 0, bytes_out) AS bytes_out,
    keyed(key, patient) AS patient_key, keyed(key, user_key) AS user_key, keyed(key, encounter) AS encounter_key, bytes_in,
    member(seq, 'evaluations') AS evaluations, member(seq, 'sources') AS sources, member(seq, 'timings') AS timings,
    member(seq, 'facts') AS facts, word(service_version) AS service_version, word(knowledge) AS knowledge_hash,
    word(jurisdiction) AS jurisdiction, word(dialect) AS dialect, word(degraded) AS degraded, iif(gone, NULL, digest) AS digest,
    id_(repeat_of) AS repeat_of, took_us, clock_offset_ms, orders
    FROM (SELECT *, EXISTS (SELECT 1 FROM withdrawal WHERE call_id = call.id) AS gone FROM main.call) AS call;
CREATE TEMP VIEW card AS SELECT call.seq AS call_seq, position, call.seq * 1000 + position AS seq, uuid_(uuid) AS uuid,
    word(card.card) AS card, word(version) AS version, word(content_hash) AS content_hash, table_row,
    word(indicator) AS indicator, word(mode) AS mode, word(state) AS state, about,
    keyed(card.key, card.patient) AS patient_key, keyed(card.key, order_key) AS order_key,
    member(call.seq, 'cards', position) AS body
    FROM main.card JOIN main.call ON (call.received_at, id) = (card.received_at, call_id)
    WHERE NOT EXISTS (SELECT 1 FROM withdrawal WHERE withdrawal.call_id = card.call_id);
CREATE TEMP VIEW feedback AS SELECT seq, iso(received_at) AS received_at, word(tenant) AS tenant, word(client) AS client,
    word(service) AS service, uuid_(card_uuid) AS card_uuid, word(outcome) AS outcome, word(reason_system) AS reason_system,
    word(reason_code) AS reason_code, word(reason_display) AS reason_display, accepted, comment_length, outcome_timestamp
    FROM main.feedback;
CREATE TEMP VIEW quarantine AS SELECT seq, iso(received_at) AS noted_at, word(kind) AS kind, record_id, error,
    word(service) AS service, word(client) AS client, word(tenant) AS tenant, item FROM main.quarantine;
CREATE TEMP VIEW refusal AS SELECT seq, iso(received_at) AS minute, word(tenant) AS tenant, word(client) AS client,
    word(hook) AS hook, status, word(reason) AS reason, n FROM main.refusal;
CREATE TEMP VIEW delivery AS SELECT seq, id_(call_id) AS call_id, log_us, total_us, delivered FROM main.delivery;
"""


def rows(path: Path, query: str) -> list[Any]:
    """What another process reads in the file, in words."""
    with closing(sqlite3.connect(path)) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'body'").fetchone():
            _make_readable(connection)
        found = connection.execute(query).fetchall()
    return [row[0] if len(row) == 1 else row for row in found]


def _make_readable(connection: sqlite3.Connection) -> None:
    words = dict(connection.execute("SELECT id, text FROM name"))
    dictionaries = dict(connection.execute("SELECT id, content FROM dictionary"))
    decompress = Decompressor(dictionaries.get)
    bodies = dict(connection.execute("SELECT seq, content FROM body"))

    def member(seq: int, name: str, position: int | None = None) -> str | None:
        content = bodies.get(seq)
        value = None if content is None else getattr(decode_body(decompress(content)), name)
        value = value if position is None or value is None else value[position]
        return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()

    def id_(stored: bytes | None) -> str | None:
        return None if stored is None else _names.get(stored) or stored.hex()

    def uuid_(stored: bytes) -> str:
        return _names.get(stored) or uuid_text(stored)

    def keyed(key: int, stored: bytes | None) -> str:
        return "" if stored is None else _names.get(stored) or key_text(key, stored)

    connection.create_function("word", 1, words.__getitem__)
    connection.create_function("iso", 1, iso)
    connection.create_function("id_", 1, id_)
    connection.create_function("uuid_", 1, uuid_)
    connection.create_function("keyed", 2, keyed)
    connection.create_function("member", -1, member)
    connection.executescript(_VIEWS)
