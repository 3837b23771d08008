"""Turn records into the rows of the log's tables, within a transaction that the caller begins and ends."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from cds_service.alert_log.body import FACTS_VERSION, encode_body
from cds_service.alert_log.compression import Compressor
from cds_service.alert_log.instants import key_bytes, micros, short_hash, uuid_bytes
from cds_service.alert_log.interned import Names, Sets
from cds_service.alert_log.records import (
    RETRY,
    CallRecord,
    DeliveryRecord,
    FeedbackRecord,
    KeyPair,
    QuarantineRecord,
    Record,
    RefusalRecord,
    SealedText,
    WithdrawnRecord,
)

Row = tuple[Any, ...]

_RETRY = RETRY // RETRY.resolution  # microseconds

# A repeat is about the same patient, so it is found among the patient's calls of the last minute: an index of digests would cost
# each call a page. A call that was withdrawn is nothing to repeat: its cards were not shown.
_FIRST = """SELECT received_at, id FROM (SELECT received_at, id, digest FROM call
        WHERE patient = ? AND received_at >= ? AND digest IS NOT NULL ORDER BY received_at DESC LIMIT ?) AS call
    WHERE digest = ? AND NOT EXISTS (SELECT 1 FROM withdrawal WHERE call_id = call.id) ORDER BY received_at DESC LIMIT 1"""
_LATEST = 100  # of the patient's calls that are no repeats; a benchmark's only patient has thousands in a minute
_WITHDRAWN_FIRST = "SELECT 1 FROM withdrawal WHERE call_id = ?"
_MOST_FIRSTS = 1000  # remembered, so that the equal calls of a monitor cost no walk over its repeats
_CALL = "INSERT INTO call VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_BODY = "INSERT INTO body VALUES (?, ?)"
_ORDERED = "INSERT INTO ordered VALUES (?, ?, ?)"
_CARD = "INSERT INTO card VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_DELIVERY = "INSERT INTO delivery VALUES (?, ?, ?, ?, ?, ?)"
_WITHDRAWAL = "INSERT INTO withdrawal VALUES (?, ?, ?, ?)"
_FEEDBACK = "INSERT INTO feedback VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SEALED = "INSERT INTO sealed VALUES (?, ?, ?, ?, ?, ?)"
_KEY_PAIR = "INSERT INTO key_pair VALUES (?, ?, ?, ?, ?, ?, ?)"
_HAS_PAIR = "SELECT 1 FROM key_pair WHERE old_key = ? AND old = ?"
_REFUSAL = "INSERT INTO refusal VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_QUARANTINE = "INSERT INTO quarantine VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

# The first call and its repeats, those that were not withdrawn before.
_SAME_CALLS = """SELECT id, received_at FROM call
    WHERE received_at BETWEEN :since AND :until AND (id = :first OR repeat_of = :first)
        AND NOT EXISTS (SELECT 1 FROM withdrawal WHERE call_id = call.id)
    ORDER BY repeat_of IS NULL, id != :own, seq"""
_WITHDRAWN = """SELECT 1 FROM withdrawal JOIN call ON call.id = call_id AND call.received_at = withdrawal.received_at
    WHERE at = :at AND (call_id = :first OR repeat_of = :first)"""


class Rows:
    """Add rows over one connection. `seq` counts through all kinds of rows, and is kept in `source`."""

    def __init__(self, connection: sqlite3.Connection, compressor: Compressor) -> None:
        self.connection = connection
        self.names = Names(connection)
        self._sets = Sets(connection, self.names)
        self.execute = self._execute = connection.execute
        self._executemany = connection.executemany
        self._compress = compressor
        self._seq = 0
        self._firsts: dict[int, tuple[int, bytes]] = {}  # by digest: time and id of calls that this connection wrote or found
        # Rows that wait for `flush`:
        self._calls: list[Row] = []
        self._bodies: list[Row] = []
        self._ordered: list[Row] = []
        self._cards: list[Row] = []
        self._deliveries: list[Row] = []

    def add(self, records: Sequence[Record]) -> None:
        """Add the rows of records in their order. See `Store.append` for what is raised; then all is rolled back."""
        for record in records:
            if isinstance(record, CallRecord):
                self.call(record)
            elif isinstance(record, DeliveryRecord):
                self._deliveries.append(self._delivery(record))
            elif isinstance(record, FeedbackRecord):
                self._add_feedback(record)
            elif isinstance(record, WithdrawnRecord):
                self._withdraw(record)
            elif isinstance(record, RefusalRecord):
                self._execute(_REFUSAL, self._refusal(record))
            else:
                self._execute(_QUARANTINE, self._quarantine(record))

    def begin(self) -> None:
        """Go on with the sequence where the last transaction ended, whichever process wrote it."""
        self._seq = int(self._execute("SELECT last_seq FROM source").fetchone()[0])

    def end(self) -> None:
        """Insert what is queued, and keep the end of the sequence."""
        self.flush()
        self._execute("UPDATE source SET last_seq = ?", (self._seq,))

    def forget(self) -> None:
        """Forget what was added, because it was rolled back."""
        self._sets.forget()
        self._firsts.clear()
        for _, queued in self._queues():
            queued.clear()

    def holds(self, record: CallRecord | FeedbackRecord) -> bool:
        """Say whether the record is in the file."""
        table = "call" if isinstance(record, CallRecord) else "feedback"
        query = f"SELECT 1 FROM {table} WHERE received_at = ? AND id = ?"  # noqa: S608 - two tables
        return self._execute(query, (micros(record.received_at), record.id)).fetchone() is not None

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def call(self, call: CallRecord, facts_version: int = FACTS_VERSION) -> None:
        """Add a call with its body, orders and cards; a repeat without them."""
        received_at = micros(call.received_at)
        repeat_of = self._first(call, received_at)
        if repeat_of is not None:
            self.repeat(call, repeat_of)
            return
        seq = self.next_seq()
        self._calls.append(self._call(call, received_at, seq, None))
        self._bodies.append((seq, self._compress(encode_body(call, facts_version))))
        self._ordered += [(key_bytes(order_key)[1], received_at, call.id) for order_key in call.order_keys]
        if call.cards:
            self._cards += self._card_rows(call, received_at)
        for sealed in call.sealed:
            self._seal(sealed, received_at, call.id)
        for pair in call.key_pairs:
            self._pair(pair, received_at)

    def repeat(self, call: CallRecord, first: bytes) -> None:
        """Add a call that repeats the one with the id `first`."""
        self._calls.append(self._call(call, micros(call.received_at), self.next_seq(), first))

    def flush(self) -> None:
        """Insert the rows that are queued: several at once cost less."""
        for insert, queued in self._queues():
            if queued:
                self._executemany(insert, queued)
                queued.clear()

    def _queues(self) -> tuple[tuple[str, list[Row]], ...]:
        """Return the queued rows with the statement that inserts each."""
        return (
            (_CALL, self._calls),
            (_BODY, self._bodies),
            (_ORDERED, self._ordered),
            (_CARD, self._cards),
            (_DELIVERY, self._deliveries),
        )

    def _first(self, call: CallRecord, received_at: int) -> bytes | None:
        """Return the id of the call that this one repeats; None where it repeats none."""
        patient = key_bytes(call.patient_key)[1]
        if call.digest is None or patient is None:
            return None
        since = received_at - _RETRY
        first = self._firsts.pop(call.digest, None)
        if first is None or first[0] < since or self._execute(_WITHDRAWN_FIRST, (first[1],)).fetchone() is not None:
            first = self._execute(_FIRST, (patient, since, _LATEST, call.digest)).fetchone()
        self._remember(call.digest, first or (received_at, call.id))
        return first[1] if first is not None else None

    def _remember(self, digest: int, first: tuple[int, bytes]) -> None:
        """Remember when a call with this digest came first, and its id; the one that was longest not asked for goes."""
        self._firsts[digest] = first
        if len(self._firsts) > _MOST_FIRSTS:
            del self._firsts[next(iter(self._firsts))]

    def _call(self, r: CallRecord, received_at: int, seq: int, repeat_of: bytes | None) -> Row:
        names = self.names
        key, patient = key_bytes(r.patient_key)
        if repeat_of is None:
            known = (r.digest, self._sets.of_outcomes(r.outcomes), self._sets.of_missing(r.missing))
        else:
            known = (None, None, None)  # decided once
        return (
            *(seq, r.id, received_at, names[r.tenant], names[r.client], names[r.service], names[r.hook]),
            *(r.status, names[r.outcome]),
            *(key, patient, key_bytes(r.user_key)[1], key_bytes(r.encounter_key)[1], r.orders, short_hash(r.hook_instance)),
            *(repeat_of, known[0], names[r.service_version], names[r.knowledge_hash], names[r.jurisdiction], names[r.dialect]),
            *(r.took_us, r.bytes_in, r.bytes_out, r.clock_offset_ms, names[r.degraded], known[1], known[2]),
        )

    def _card_rows(self, r: CallRecord, received_at: int) -> list[Row]:
        names = self.names
        key, patient = key_bytes(r.patient_key)
        caller = (names[r.tenant], names[r.client], names[r.hook])
        return [
            (
                *(received_at, r.id, position, uuid_bytes(c.uuid), *caller),
                *(names[c.card], names[c.version], names[c.content_hash], c.row, names[c.indicator], names[c.mode]),
                *(names[c.state], key, patient, key_bytes(c.order_key)[1], c.about),
            )
            for position, c in enumerate(r.cards)
        ]

    def _add_feedback(self, r: FeedbackRecord) -> None:
        row = self._feedback(r)
        self._execute(_FEEDBACK, row)
        if r.comment is not None:
            self._seal(r.comment, row[2], row[1])

    def _seal(self, sealed: SealedText, received_at: int, of: bytes) -> None:
        row = (self.next_seq(), received_at, of, self.names[sealed.kind], sealed.key_id, sealed.content)
        self._execute(_SEALED, row)

    def _pair(self, pair: KeyPair, received_at: int) -> None:
        """Add both hashes of an id, unless they are there."""
        old, new = key_bytes(pair.old), key_bytes(pair.new)
        if self._execute(_HAS_PAIR, old).fetchone() is None:
            self._execute(_KEY_PAIR, (self.next_seq(), received_at, self.names[pair.kind], *old, *new))

    def _withdraw(self, record: WithdrawnRecord) -> None:
        """Add the withdrawal of a call, and the call where it is not there.

        Of a call and its repeats, each response that was held back withdraws one row, a repeat before the first: so the cards,
        which are rows of the first, count as shown while one of the responses was.
        """
        call = record.call
        self.flush()
        if not self.holds(call):
            self.call(call)
            self.flush()
        at = (micros(call.received_at), call.id)
        own = self._execute("SELECT coalesce(repeat_of, id) FROM call WHERE received_at = ? AND id = ?", at).fetchone()
        same = {"first": own[0], "own": call.id, "since": at[0] - _RETRY, "until": at[0] + _RETRY, "at": micros(record.at)}
        if self._execute(_WITHDRAWN, same).fetchone() is not None:
            return  # a commit that failed may have reached the disk
        found = self._execute(_SAME_CALLS, same).fetchone()
        if found is not None:
            self._execute(_WITHDRAWAL, (self.next_seq(), found[1], found[0], same["at"]))

    def _delivery(self, r: DeliveryRecord) -> Row:
        return (self.next_seq(), micros(r.received_at), r.call_id, r.log_us, r.total_us, int(r.delivered))

    def _feedback(self, r: FeedbackRecord) -> Row:
        names = self.names
        return (
            *(self.next_seq(), r.id or os.urandom(16), micros(r.received_at), names[r.tenant], names[r.client], names[r.service]),
            *(uuid_bytes(r.card_uuid), names[r.outcome], names[r.reason_system], names[r.reason_code], names[r.reason_display]),
            *(msgspec.json.encode(r.accepted).decode(), r.comment_length, _outcome_at(r.outcome_timestamp), r.outcome_timestamp),
        )

    def _refusal(self, r: RefusalRecord) -> Row:
        names = self.names
        return (
            *(self.next_seq(), micros(r.minute), names[r.tenant], names[r.client], names[r.hook]),
            *(r.status, names[r.reason], r.n),
        )

    def _quarantine(self, r: QuarantineRecord) -> Row:
        names = self.names
        return (
            *(self.next_seq(), micros(r.noted_at), names[r.kind], r.record_id, r.error),
            *(names[r.service], names[r.client], names[r.tenant], r.item),
        )


def _outcome_at(timestamp: str) -> int | None:
    """Return the instant of a feedback's own time stamp; None where it has none, or one without a time zone."""
    try:
        return micros(datetime.fromisoformat(timestamp))
    except ValueError:
        return None
