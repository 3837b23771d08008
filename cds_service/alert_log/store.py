"""The file of the alert log: its tables, opening it, appending to it, reading it.

Several processes may append to one file and others may read it meanwhile (WAL). A commit is on the disk when it returns
(`synchronous=FULL`). JSON is stored as text, so that SQLite's JSON functions work on it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from cds_service.alert_log.records import RETRY, CallRecord, FeedbackRecord, QuarantineRecord

Record = CallRecord | FeedbackRecord | QuarantineRecord

_BUSY_MS = 5_000

# Each entry brings a file from the version of its index to the next one. Entries are never changed, only added.
# Times are ISO 8601 in UTC with microseconds: they sort as text, and SQLite's date functions read them.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE call (
            seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, received_at TEXT NOT NULL, service TEXT NOT NULL,
            hook TEXT NOT NULL, hook_instance TEXT NOT NULL, client TEXT NOT NULL, patient_key TEXT NOT NULL,
            user_key TEXT NOT NULL, encounter_key TEXT NOT NULL, status INTEGER NOT NULL, outcome TEXT NOT NULL,
            evaluations TEXT NOT NULL, sources TEXT NOT NULL, timings TEXT NOT NULL, facts TEXT,
            service_version TEXT NOT NULL, knowledge_hash TEXT NOT NULL, jurisdiction TEXT NOT NULL,
            bytes_in INTEGER NOT NULL, bytes_out INTEGER NOT NULL) STRICT""",
        "CREATE INDEX call_received_at ON call (received_at)",
        """CREATE TABLE card (
            seq INTEGER PRIMARY KEY, call_seq INTEGER NOT NULL REFERENCES call, position INTEGER NOT NULL, uuid TEXT NOT NULL,
            card TEXT NOT NULL, version TEXT NOT NULL, content_hash TEXT NOT NULL, indicator TEXT NOT NULL,
            mode TEXT NOT NULL, order_key TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (call_seq, position)) STRICT""",
        "CREATE INDEX card_uuid ON card (uuid)",
        """CREATE TABLE feedback (
            seq INTEGER PRIMARY KEY, received_at TEXT NOT NULL, service TEXT NOT NULL, card_uuid TEXT NOT NULL,
            outcome TEXT NOT NULL, accepted TEXT NOT NULL, reason_system TEXT NOT NULL, reason_code TEXT NOT NULL,
            reason_display TEXT NOT NULL, comment_length INTEGER NOT NULL, outcome_timestamp TEXT NOT NULL,
            repeats INTEGER NOT NULL DEFAULT 0,
            UNIQUE (card_uuid, service, outcome, outcome_timestamp, accepted, reason_system, reason_code, reason_display,
                    comment_length)) STRICT""",
        """CREATE TABLE quarantine (
            seq INTEGER PRIMARY KEY, noted_at TEXT NOT NULL, kind TEXT NOT NULL, record_id TEXT NOT NULL,
            error TEXT NOT NULL) STRICT""",
    ),
    # Which cards a patient's clinicians were shown before. Cards of before this migration stay without a patient: what they were
    # about was not kept, so they could hold nothing back. Rows are not rewritten: 600 MB of cards take half a second.
    (
        "ALTER TABLE card ADD COLUMN patient_key TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE card ADD COLUMN about TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE card ADD COLUMN table_row INTEGER NOT NULL DEFAULT -1",
        "CREATE INDEX card_of_patient ON card (patient_key, card) WHERE mode = 'live'",
    ),
    # Who sent feedback: it speaks for that caller's cards alone. Feedback of before this migration came from callers that nobody
    # verified; it stays without a client and speaks for every card, as it did. The table is written anew for its new key.
    (
        "ALTER TABLE call ADD COLUMN tenant TEXT NOT NULL DEFAULT ''",
        """CREATE TABLE feedback_of_client (
            seq INTEGER PRIMARY KEY, received_at TEXT NOT NULL, service TEXT NOT NULL, card_uuid TEXT NOT NULL,
            outcome TEXT NOT NULL, accepted TEXT NOT NULL, reason_system TEXT NOT NULL, reason_code TEXT NOT NULL,
            reason_display TEXT NOT NULL, comment_length INTEGER NOT NULL, outcome_timestamp TEXT NOT NULL,
            client TEXT NOT NULL, tenant TEXT NOT NULL, repeats INTEGER NOT NULL DEFAULT 0,
            UNIQUE (card_uuid, client, tenant, service, outcome, outcome_timestamp, accepted, reason_system, reason_code,
                    reason_display, comment_length)) STRICT""",
        """INSERT INTO feedback_of_client SELECT seq, received_at, service, card_uuid, outcome, accepted, reason_system,
            reason_code, reason_display, comment_length, outcome_timestamp, '', '', repeats FROM feedback""",
        "DROP TABLE feedback",
        "ALTER TABLE feedback_of_client RENAME TO feedback",
    ),
    # A call that is sent again adds to `repeats` of its record. Older calls have no digest, so nothing is a repeat of them.
    (
        "ALTER TABLE call ADD COLUMN digest TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE call ADD COLUMN repeats INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX call_digest ON call (digest) WHERE digest != ''",
    ),
    # Items of feedback that could not be read, and who sent them.
    tuple(
        f"ALTER TABLE quarantine ADD COLUMN {column} TEXT NOT NULL DEFAULT ''"
        for column in ("service", "client", "tenant", "item")
    ),
)
SCHEMA_VERSION = len(_MIGRATIONS)

_REPEATED = """UPDATE call SET repeats = repeats + 1
    WHERE seq = (SELECT max(seq) FROM call WHERE digest = ? AND digest != '' AND received_at >= ?)"""
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


class SchemaMismatchError(sqlite3.DatabaseError):
    """The file has a schema that this program can't use."""


class Store:
    """One connection that appends. It may be used by any thread, by one at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file; make it (0600) and its folder (0700) where they are missing, bring its schema up to date.

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
            self._migrate()
            self._file = path.stat()
        except (sqlite3.Error, OSError):
            self._connection.close()
            raise
        self._path = path

    def append(self, records: Sequence[Record]) -> None:
        """Store all records durably in one transaction, or none of them.

        Cards and feedback keep their order. Feedback equal to one that is stored adds to its `repeats`, and so does a call whose
        digest is that of a call of the last minute: its cards are there already. Raises
        sqlite3.OperationalError where the file can't be written; sqlite3.IntegrityError for a call id that is already
        there; other sqlite3 errors, TypeError, ValueError or OverflowError for a record that can't be stored.
        """
        self._expect_the_file()
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            for record in records:
                if isinstance(record, CallRecord):
                    self._append_call(record)
                elif isinstance(record, FeedbackRecord):
                    execute(_FEEDBACK, _feedback_row(record))
                else:
                    what = (record.kind, record.record_id, record.error)
                    execute(
                        _QUARANTINE, (instant(record.noted_at), *what, record.service, record.client, record.tenant, record.item)
                    )
            execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # some errors have rolled back already
                execute("ROLLBACK")
            raise

    def _append_call(self, call: CallRecord) -> None:
        execute = self._connection.execute
        if call.digest and execute(_REPEATED, (call.digest, instant(call.received_at - RETRY))).rowcount:
            return
        seq = execute(_CALL, _call_row(call)).lastrowid
        if call.cards:
            self._connection.executemany(_CARD, _card_rows(call, seq))

    def _expect_the_file(self) -> None:
        """Raises OSError where the file was removed or replaced since it was opened: what SQLite writes then nobody finds."""
        if not os.path.samestat(self._path.stat(), self._file):
            raise FileNotFoundError("the alert log was replaced by another file")

    def stored(self, call_ids: Iterable[str]) -> set[str]:
        """Those of the ids that are in the file."""
        execute = self._connection.execute
        return {one for one in call_ids if execute("SELECT 1 FROM call WHERE id = ?", (one,)).fetchone()}

    def close(self) -> None:
        self._connection.close()

    def _migrate(self) -> None:
        if _version(self._connection) == SCHEMA_VERSION:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        version = _version(self._connection)  # under the lock: another process may have been first
        if version > SCHEMA_VERSION:
            raise SchemaMismatchError(
                f"the alert log has schema {version}, written by a newer program; this one knows schema {SCHEMA_VERSION}"
            )
        for migration in _MIGRATIONS[version:]:
            for statement in migration:
                self._connection.execute(statement)
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._connection.execute("COMMIT")


def open_for_reading(path: Path, busy_ms: int = _BUSY_MS) -> sqlite3.Connection:
    """A connection that can't write; services go on writing meanwhile. Rows are sqlite3.Row.

    `busy_ms`: how long to wait where the file is locked as a whole.

    Raises FileNotFoundError, SchemaMismatchError for a file that isn't of this program's schema, sqlite3.DatabaseError.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no alert log at {path}")
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=busy_ms / 1000, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        version = _version(connection)
        if version != SCHEMA_VERSION:
            raise SchemaMismatchError(f"the alert log has schema {version}, this program reads {SCHEMA_VERSION}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def instant(at: datetime) -> str:
    """The moment as it is stored: ISO 8601, UTC, microseconds. Raises ValueError for a naive one."""
    if at.utcoffset() is None:
        raise ValueError("a time without a time zone can't be logged")
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


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
