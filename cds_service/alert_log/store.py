"""Open the file of the alert log, append to it, and open it for reading.

Several processes may append to one file and others may read it meanwhile (WAL). A commit is on the disk when it returns
(`synchronous=FULL`). JSON is stored as text, so that SQLite's JSON functions work on it.
"""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from cds_service.alert_log.commit_lock import CommitLock
from cds_service.alert_log.records import RETRY, CallRecord, FeedbackRecord, QuarantineRecord, WithdrawnRecord
from cds_service.alert_log.schema import SCHEMA_VERSION, SchemaMismatchError, migrate, version_of

Record = CallRecord | WithdrawnRecord | FeedbackRecord | QuarantineRecord

_BUSY_MS = 5_000

_REPEATED = """UPDATE call SET repeats = repeats + 1
    WHERE seq = (SELECT max(seq) FROM call WHERE digest = ? AND digest != '' AND received_at >= ?) RETURNING seq"""
_NOT_REPEATED = """UPDATE call SET repeats = repeats - 1, id = iif(id = ?, lower(hex(randomblob(16))), id)
    WHERE seq = ? AND repeats > 0"""
_WITHDRAWN = "UPDATE call SET id = ?, status = ?, outcome = ?, bytes_out = ?, digest = ? WHERE seq = ?"
_CALL = """INSERT INTO call (id, received_at, service, hook, hook_instance, client, patient_key, user_key, encounter_key,
    status, outcome, evaluations, sources, timings, facts, service_version, knowledge_hash, jurisdiction, bytes_in, bytes_out,
    tenant, digest)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_CARD = """INSERT INTO card (call_seq, position, uuid, card, version, content_hash, indicator, mode, order_key, body,
    patient_key, about, table_row) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_FEEDBACK = """INSERT INTO feedback (received_at, service, card_uuid, outcome, accepted, reason_system, reason_code,
    reason_display, comment_length, outcome_timestamp, client, tenant) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET repeats = repeats + 1"""
_QUARANTINE = """INSERT INTO quarantine (noted_at, kind, record_id, error, service, client, tenant, item)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""


class Store:
    """One connection that appends; any thread may use it, one at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file, making it (0600) and its folder (0700) where missing, and migrate its schema.

        Raises SchemaMismatchError for a file of a newer program, sqlite3.DatabaseError for one that is no database,
        sqlite3.OperationalError or OSError where it can't be opened or written now.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))  # WAL and shared memory files get the mode of this one
        self._connection = sqlite3.connect(path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            migrate(self._connection)
            self._file = path.stat()
        except (sqlite3.Error, OSError):
            self._connection.close()
            raise
        self._path = path
        self._lock = CommitLock(path)
        # Ids of the latest repeats and the seq of the record that counts each. A withdrawal follows its call within seconds.
        self._repeats: deque[tuple[str, int]] = deque(maxlen=1000)

    def append(self, records: Sequence[Record]) -> None:
        """Store all records durably in one transaction, or none of them.

        Cards and feedback keep their order. Feedback equal to one that is stored adds to its `repeats`, and so does a call whose
        digest is that of a call of the last minute: its cards are there already. A withdrawn call ends without cards, whether or
        not its first record is stored. Raises
        sqlite3.OperationalError where the file can't be written; sqlite3.IntegrityError for a call id that is already
        there; other sqlite3 errors, TypeError, ValueError or OverflowError for a record that can't be stored.
        """
        self._expect_the_file()
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for record in records:
                    self._append(record)
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # some errors have rolled back already
                    self._connection.execute("ROLLBACK")
                raise

    def _append(self, record: Record) -> None:
        if isinstance(record, CallRecord):
            self._append_call(record)
        elif isinstance(record, WithdrawnRecord):
            self._withdraw(record.call)
        elif isinstance(record, FeedbackRecord):
            self._connection.execute(_FEEDBACK, _feedback_row(record))
        else:
            self._connection.execute(_QUARANTINE, _quarantine_row(record))

    def _append_call(self, call: CallRecord) -> None:
        execute = self._connection.execute
        if call.digest and (counted := execute(_REPEATED, (call.digest, instant(call.received_at - RETRY))).fetchall()):
            self._repeats.append((call.id, counted[0][0]))
            return
        seq = execute(_CALL, _call_row(call)).lastrowid
        if call.cards:
            self._connection.executemany(_CARD, _card_rows(call, seq))

    def _withdraw(self, call: CallRecord) -> None:
        """Store the withdrawn call in place of its first record.

        A record with repeats stands for several responses with the same cards. It keeps them for the others, under a new id where
        it had this call's, and the withdrawn call gets a row of its own.
        """
        execute = self._connection.execute
        found = execute("SELECT seq FROM call WHERE id = ?", (call.id,)).fetchone()
        seq = found[0] if found else dict(self._repeats).get(call.id)
        if seq is None or execute(_NOT_REPEATED, (call.id, seq)).rowcount:
            execute(_CALL, _call_row(call))
        else:
            execute(_WITHDRAWN, (call.id, call.status, call.outcome, call.bytes_out, call.digest, seq))
            execute("DELETE FROM card WHERE call_seq = ?", (seq,))

    def _expect_the_file(self) -> None:
        """Raise OSError where the file was removed or replaced, because readers would not find new records."""
        if not os.path.samestat(self._path.stat(), self._file):
            raise FileNotFoundError("the alert log was replaced by another file")

    def stored(self, call_ids: Iterable[str]) -> set[str]:
        """Return those of the ids that are in the file."""
        execute = self._connection.execute
        return {one for one in call_ids if execute("SELECT 1 FROM call WHERE id = ?", (one,)).fetchone()}

    def close(self) -> None:
        self._connection.close()
        self._lock.close()


def open_for_reading(path: Path, busy_ms: int = _BUSY_MS) -> sqlite3.Connection:
    """Open a connection that only reads; services go on writing meanwhile. Rows are sqlite3.Row.

    `busy_ms`: how long to wait where the file is locked as a whole.

    Raises FileNotFoundError, SchemaMismatchError for a file that isn't of this program's schema, sqlite3.DatabaseError.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no alert log at {path}")
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=busy_ms / 1000, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        version = version_of(connection)
        if version != SCHEMA_VERSION:
            raise SchemaMismatchError(f"the alert log has schema {version}, this program reads {SCHEMA_VERSION}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def instant(at: datetime) -> str:
    """Return the moment as it is stored: ISO 8601, UTC, microseconds. Raises ValueError for a naive one."""
    if at.utcoffset() is None:
        raise ValueError("a time without a time zone can't be logged")
    return at.astimezone(UTC).isoformat(timespec="microseconds")


Row = tuple[Any, ...]


def _call_row(r: CallRecord) -> Row:
    return (
        *(r.id, instant(r.received_at), r.service, r.hook, r.hook_instance, r.client),
        *(r.patient_key, r.user_key, r.encounter_key, r.status, r.outcome),
        *(r.evaluations.decode(), r.sources.decode(), r.timings.decode(), r.facts.decode() or None),
        *(r.service_version, r.knowledge_hash, r.jurisdiction, r.bytes_in, r.bytes_out, r.tenant, r.digest),
    )


def _card_rows(r: CallRecord, seq: int | None) -> list[Row]:
    rows = []
    for position, c in enumerate(r.cards):
        what = (c.uuid, c.card, c.version, c.content_hash, c.indicator, c.mode, c.order_key, c.body.decode())
        rows.append((seq, position, *what, r.patient_key, c.about, c.row))
    return rows


def _feedback_row(r: FeedbackRecord) -> Row:
    reason = (r.reason_system, r.reason_code, r.reason_display, r.comment_length, r.outcome_timestamp)
    accepted = msgspec.json.encode(r.accepted).decode()
    return (instant(r.received_at), r.service, r.card_uuid, r.outcome, accepted, *reason, r.client, r.tenant)


def _quarantine_row(r: QuarantineRecord) -> Row:
    return (instant(r.noted_at), r.kind, r.record_id, r.error, r.service, r.client, r.tenant, r.item)
