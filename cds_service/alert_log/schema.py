"""Make the tables of the alert log's file, and bring files of earlier versions up to date.

Rows are never changed: a repeat, a withdrawal, a second feedback item is a row of its own. `seq` counts through all kinds of rows
of one file, so that a reader knows what came since it last looked. Times are microseconds since 1970 in UTC. Ids of people,
encounters and orders are the 16 bytes of their keyed hash, and `key` is the generation of the hash key. Columns whose comment
says "name" hold ids of `name`; the empty text is 0.
"""

from __future__ import annotations

import os
import sqlite3

from cds_service.alert_log.instants import micros
from cds_service.alert_log.old_schema import OLD_MIGRATIONS, OLD_TABLES
from cds_service.clock import utc_now

# The tables of a new file. Changed only together with a migration that does the same to files of the schema before.
TABLES: tuple[str, ...] = (
    "CREATE TABLE source (id BLOB PRIMARY KEY, created_at INTEGER NOT NULL, last_seq INTEGER NOT NULL) STRICT",
    "CREATE TABLE name (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT",
    "INSERT INTO name VALUES (0, '')",
    # Needed by bodies: never deleted while one of them is there. The id stands in each zstd frame.
    "CREATE TABLE dictionary (id INTEGER PRIMARY KEY, made_at INTEGER NOT NULL, content BLOB NOT NULL) STRICT",
    "CREATE TABLE knowledge (hash INTEGER PRIMARY KEY, archived_at INTEGER NOT NULL, content BLOB NOT NULL) STRICT",
    # Each distinct combination of a call's decisions, and of what was unknown and mattered, once. Files agree on `digest`.
    "CREATE TABLE outcome_set (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE) STRICT",
    """CREATE TABLE outcome_of_set (set_id INTEGER, card INTEGER, version INTEGER, content_hash INTEGER, outcome INTEGER,
        table_row INTEGER, applies INTEGER, n INTEGER NOT NULL,
        PRIMARY KEY (set_id, card, version, content_hash, outcome, table_row, applies)) STRICT, WITHOUT ROWID""",
    "CREATE TABLE missing_set (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE) STRICT",
    """CREATE TABLE missing_of_set (set_id INTEGER, card INTEGER, criterion INTEGER, cause INTEGER, n INTEGER NOT NULL,
        PRIMARY KEY (set_id, card, criterion, cause)) STRICT, WITHOUT ROWID""",
    # `orders`: number of draft orders. `repeat_of`: id of the call that this one repeats, whose cards and body it shares.
    # `digest`: by which a repeat is recognised. `took_us`: from receipt until the record was handed to the log. NULL: not known.
    """CREATE TABLE call (
        seq INTEGER PRIMARY KEY, id BLOB NOT NULL, received_at INTEGER NOT NULL,
        tenant INTEGER NOT NULL, client INTEGER NOT NULL, service INTEGER NOT NULL, hook INTEGER NOT NULL,
        status INTEGER NOT NULL, outcome INTEGER NOT NULL,
        key INTEGER NOT NULL, patient BLOB, user_key BLOB, encounter BLOB, orders INTEGER NOT NULL, instance BLOB NOT NULL,
        repeat_of BLOB, digest INTEGER,
        service_version INTEGER NOT NULL, knowledge INTEGER NOT NULL, jurisdiction INTEGER NOT NULL, dialect INTEGER NOT NULL,
        took_us INTEGER, bytes_in INTEGER NOT NULL, bytes_out INTEGER NOT NULL, clock_offset_ms INTEGER,
        degraded INTEGER NOT NULL, outcome_set INTEGER, missing_set INTEGER) STRICT""",
    "CREATE UNIQUE INDEX call_of_time ON call (received_at, id)",
    "CREATE INDEX call_of_patient ON call (patient, received_at) WHERE patient IS NOT NULL",
    "CREATE INDEX call_of_encounter ON call (encounter, received_at) WHERE encounter IS NOT NULL",
    "CREATE TABLE body (seq INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT",
    """CREATE TABLE ordered (order_key BLOB, received_at INTEGER, call_id BLOB,
        PRIMARY KEY (order_key, received_at, call_id)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX ordered_of_time ON ordered (received_at)",
    # Cards that fired: shown, in shadow, or held back; also the notice. `position`: in the body's cards. `about` may hold words
    # of the chart, so it stands here, where it is deleted with the card, and never among the names.
    """CREATE TABLE card (
        received_at INTEGER, call_id BLOB, position INTEGER, uuid BLOB NOT NULL,
        tenant INTEGER NOT NULL, client INTEGER NOT NULL, hook INTEGER NOT NULL,
        card INTEGER NOT NULL, version INTEGER NOT NULL, content_hash INTEGER NOT NULL, table_row INTEGER NOT NULL,
        indicator INTEGER NOT NULL, mode INTEGER NOT NULL, state INTEGER NOT NULL,
        key INTEGER NOT NULL, patient BLOB, order_key BLOB, about TEXT NOT NULL,
        PRIMARY KEY (received_at, call_id, position)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX card_of_uuid ON card (uuid)",
    "CREATE INDEX card_of_patient_at ON card (patient, card, received_at) WHERE patient IS NOT NULL",
    # After the bytes left; `delivered` 0: the client had gone. Rides along with the next commit, may be missing after a crash.
    """CREATE TABLE delivery (seq INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, call_id BLOB NOT NULL, log_us INTEGER,
        total_us INTEGER NOT NULL, delivered INTEGER NOT NULL) STRICT""",
    "CREATE INDEX delivery_of_call ON delivery (received_at, call_id)",
    # The response was held back (status 503): its cards were not shown.
    """CREATE TABLE withdrawal (seq INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, call_id BLOB NOT NULL,
        at INTEGER NOT NULL) STRICT""",
    "CREATE INDEX withdrawal_of_call ON withdrawal (call_id)",
    """CREATE TABLE feedback (
        seq INTEGER PRIMARY KEY, id BLOB NOT NULL, received_at INTEGER NOT NULL,
        tenant INTEGER NOT NULL, client INTEGER NOT NULL, service INTEGER NOT NULL, card_uuid BLOB NOT NULL,
        outcome INTEGER NOT NULL, reason_system INTEGER NOT NULL, reason_code INTEGER NOT NULL, reason_display INTEGER NOT NULL,
        accepted TEXT NOT NULL, comment_length INTEGER NOT NULL, outcome_at INTEGER, outcome_timestamp TEXT NOT NULL) STRICT""",
    "CREATE INDEX feedback_of_card ON feedback (card_uuid)",
    "CREATE INDEX feedback_of_time ON feedback (received_at)",
    # What never became a call, counted for each minute (`received_at`: its start).
    """CREATE TABLE refusal (seq INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, tenant INTEGER NOT NULL,
        client INTEGER NOT NULL, hook INTEGER NOT NULL, status INTEGER NOT NULL, reason INTEGER NOT NULL,
        n INTEGER NOT NULL) STRICT""",
    "CREATE INDEX refusal_of_time ON refusal (received_at)",
    """CREATE TABLE quarantine (seq INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, kind INTEGER NOT NULL,
        record_id TEXT NOT NULL, error TEXT NOT NULL, service INTEGER NOT NULL, client INTEGER NOT NULL,
        tenant INTEGER NOT NULL, item TEXT NOT NULL) STRICT""",
    # Off unless a site gives a second key. `of`: id of the call or feedback; `content`: nonce and AES-GCM.
    """CREATE TABLE sealed (seq INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, of BLOB NOT NULL, kind INTEGER NOT NULL,
        key_id INTEGER NOT NULL, content BLOB NOT NULL) STRICT""",
    "CREATE INDEX sealed_of_time ON sealed (received_at)",
    "CREATE INDEX sealed_of ON sealed (of)",
    # The same id under two generations of the hash key.
    """CREATE TABLE key_pair (seq INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, kind INTEGER NOT NULL,
        old_key INTEGER NOT NULL, old BLOB NOT NULL, new_key INTEGER NOT NULL, new BLOB NOT NULL,
        UNIQUE (old_key, old)) STRICT""",
    "CREATE INDEX key_pair_of_new ON key_pair (new_key, new)",
)
# The tables of version 0.1.0 and before keep their rows under another name until `cds-service log compact` has rewritten them:
# renaming takes no time, rewriting a gigabyte takes minutes.
_OLD_TO_6 = tuple(f"ALTER TABLE {name} RENAME TO old_{name}" for name in OLD_TABLES) + TABLES

# Each entry brings a file from the version of its index to the next one. Entries are never changed, only added.
MIGRATIONS: tuple[tuple[str, ...], ...] = (*OLD_MIGRATIONS, _OLD_TO_6)
SCHEMA_VERSION = len(MIGRATIONS)


class SchemaMismatchError(sqlite3.DatabaseError):
    """Raised where the file has a schema that this program can't use."""


def version_of(connection: sqlite3.Connection) -> int:
    """Return the schema version of the file, 0 for a new one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def expect_not_newer(version: int) -> None:
    """Raise SchemaMismatchError for the schema version of a newer program."""
    if version > SCHEMA_VERSION:
        raise SchemaMismatchError(
            f"the alert log has schema {version}, written by a newer program; this one knows schema {SCHEMA_VERSION}"
        )


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to SCHEMA_VERSION in one transaction. Raises SchemaMismatchError for a file of a newer program."""
    if version_of(connection) == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    version = version_of(connection)  # under the lock: another process may have been first
    expect_not_newer(version)
    for migration in MIGRATIONS[version:] if version else (TABLES,):
        for statement in migration:
            connection.execute(statement)
    if version < len(OLD_MIGRATIONS) + 1:
        connection.execute("INSERT INTO source VALUES (?, ?, 0)", (os.urandom(16), micros(utc_now())))
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")
