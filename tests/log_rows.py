"""Rows in the alert log's file, written without the service: many of them, soon, or of kinds that a test wants."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

from cds_service.alert_log.schema import migrate

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = 1_000_000  # microseconds
DAY = 86_400 * SECOND


def micros(at: datetime) -> int:
    return int(at.timestamp()) * SECOND


AT = micros(NOW)


def hashed(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


class FileWriter:
    """Appends rows with one sequence over all kinds, as the log's writer does."""

    def __init__(self, path: Path, seed: int = 1) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = OFF")  # no power fails in a test
        migrate(self.connection)
        self._seq: int = self.connection.execute("SELECT last_seq FROM source").fetchone()[0]
        self._names: dict[str, int] = {text: id_ for id_, text in self.connection.execute("SELECT id, text FROM name")}
        self._random = Random(seed)

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        (self._seq,) = self.connection.execute("SELECT last_seq FROM source").fetchone()
        yield
        self.connection.execute("UPDATE source SET last_seq = ?", (self._seq,))
        self.connection.execute("COMMIT")

    def name(self, text: str) -> int:
        if text not in self._names:
            self._names[text] = self.connection.execute("INSERT INTO name (text) VALUES (?) RETURNING id", (text,)).fetchone()[0]
        return self._names[text]

    def insert(self, table: str, **values: Any) -> None:
        places = ", ".join("?" * len(values))
        self.connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})", tuple(values.values()))  # noqa: S608 - written here

    def record(self, table: str, **values: Any) -> int:
        """Insert a row that is a record of its own; return its number."""
        self._seq += 1
        self.insert(table, seq=self._seq, **values)
        return self._seq

    def call(
        self, at: int, *, id_: bytes = b"", patient: bytes | None = None, cards: int = 1, body: bytes = b"", **changes: Any
    ) -> bytes:
        """Insert a call with a body, an order and so many cards. Return its id."""
        name, random = self.name, self._random
        call_id = id_ or (at // 1000).to_bytes(6) + random.randbytes(10)
        patient = patient or hashed(f"patient {random.randrange(1000)}")
        who = {"tenant": name(f"hospital {random.randrange(3)}"), "client": name("ehr"), "hook": name("order-sign")}
        values: dict[str, Any] = {
            "id": call_id,
            "received_at": at,
            **who,
            "service": name("cramp-care-order-sign"),
            "status": 200,
            "outcome": name("fired"),
            "key": 1,
            "patient": patient,
            "user_key": hashed(f"user {random.randrange(50)}"),
            "encounter": hashed(f"encounter {random.randrange(2000)}"),
            "orders": 1,
            "instance": random.randbytes(16),
            "repeat_of": None,
            "digest": random.getrandbits(63) - (1 << 62),
            "service_version": name("0.1.0"),
            "knowledge": name("feed" * 16),
            "jurisdiction": name("US"),
            "dialect": 0,
            "took_us": random.randrange(2000, 9000),
            "bytes_in": 9000,
            "bytes_out": 1800,
            "clock_offset_ms": None,
            "degraded": 0,
            "outcome_set": self.outcome_set(random.randrange(20)),
            "missing_set": None,
        }
        seq = self.record("call", **values | changes)
        self.insert("body", seq=seq, content=body or random.randbytes(1200))
        self.insert("ordered", order_key=random.randbytes(16), received_at=at, call_id=call_id)
        for position in range(cards):
            self.insert(
                "card",
                received_at=at,
                call_id=call_id,
                position=position,
                uuid=random.randbytes(16),
                **who,
                card=name(f"card {random.randrange(18)}"),
                version=name("1.0.0"),
                content_hash=name("c0ffee"),
                table_row=random.randrange(4),
                indicator=name("warning"),
                mode=name("live"),
                state=name("shown"),
                key=1,
                patient=patient,
                order_key=random.randbytes(16),
                about="",
            )
        return call_id

    def delivery(self, at: int, call_id: bytes) -> int:
        return self.record("delivery", received_at=at, call_id=call_id, log_us=900, total_us=5000, delivered=1)

    def feedback(self, at: int, card_uuid: bytes, outcome: str = "overridden", reason: str = "", **changes: Any) -> int:
        name = self.name
        values: dict[str, Any] = {
            "id": self._random.randbytes(16),
            "received_at": at,
            "tenant": name("hospital 0"),
            "client": name("ehr"),
            "service": name("cramp-care-order-sign"),
            "card_uuid": card_uuid,
            "outcome": name(outcome),
            "reason_system": 0,
            "reason_code": name(reason),
            "reason_display": 0,
            "accepted": "[]",
            "comment_length": 0,
            "outcome_at": at,
            "outcome_timestamp": "2026-11-20T12:00:00Z",
        }
        return self.record("feedback", **values | changes)

    def outcome_set(self, number: int) -> int:
        digest = hashed(f"set {number}")
        found = self.connection.execute("SELECT id FROM outcome_set WHERE digest = ?", (digest,)).fetchone()
        if found is not None:
            return int(found[0])
        (set_id,) = self.connection.execute("INSERT INTO outcome_set (digest) VALUES (?) RETURNING id", (digest,)).fetchone()
        for card in range(3):
            self.insert(
                "outcome_of_set",
                set_id=set_id,
                card=self.name(f"card {card}"),
                version=self.name("1.0.0"),
                content_hash=self.name("c0ffee"),
                outcome=self.name("not_fired"),
                table_row=-1,
                applies=1,
                n=number + 1,
            )
        return int(set_id)


def fill(path: Path, calls: int, begin: int | None = None, seed: int = 1) -> None:
    """Append so many calls, a second apart, each with its delivery; every second one has feedback on a card. Few commits."""
    at = AT if begin is None else begin
    writer = FileWriter(path, seed)
    for first in range(0, calls, 1000):
        with writer.transaction():
            for number in range(first, min(calls, first + 1000)):
                moment = at + number * SECOND
                call_id = writer.call(moment)
                writer.delivery(moment, call_id)
                if number % 2:
                    writer.feedback(moment + SECOND, hashed(f"card of {seed} {number}"))
    writer.close()
