"""An empty log for tests of those who read it, in SQLite or PostgreSQL."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

# Hot tables as the log has them, without bodies: (name, columns, what follows them in SQLite, index columns).
_TABLES: tuple[tuple[str, str, str], ...] = (
    ("name", "id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE", ""),
    ("outcome_set", "id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE", ""),
    (
        "outcome_of_set",
        "set_id INTEGER, card INTEGER, version INTEGER, content_hash INTEGER, outcome INTEGER, table_row INTEGER, "
        "applies INTEGER, n INTEGER, PRIMARY KEY (set_id, card, version, content_hash, outcome, table_row, applies)",
        "",
    ),
    ("missing_set", "id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE", ""),
    (
        "missing_of_set",
        "set_id INTEGER, card INTEGER, criterion INTEGER, cause INTEGER, n INTEGER, PRIMARY KEY (set_id, card, criterion, cause)",
        "",
    ),
    ("knowledge", "hash INTEGER PRIMARY KEY, archived_at INTEGER, content BLOB", ""),
    (
        "call",
        "{seq}, id BLOB NOT NULL, received_at INTEGER NOT NULL, tenant INTEGER, client INTEGER, service INTEGER, hook INTEGER, "
        "status INTEGER, outcome INTEGER, key INTEGER, patient BLOB, user_key BLOB, encounter BLOB, orders INTEGER, "
        "instance BLOB, repeat_of BLOB, digest INTEGER, service_version INTEGER, knowledge INTEGER, jurisdiction INTEGER, "
        "dialect INTEGER, took_us INTEGER, bytes_in INTEGER, bytes_out INTEGER, clock_offset_ms INTEGER, degraded INTEGER, "
        "outcome_set INTEGER, missing_set INTEGER, UNIQUE (received_at, id)",
        "",
    ),
    (
        "ordered",
        "order_key BLOB, received_at INTEGER, call_id BLOB, PRIMARY KEY (order_key, received_at, call_id)",
        "WITHOUT ROWID",
    ),
    (
        "card",
        "received_at INTEGER, call_id BLOB, position INTEGER, uuid BLOB, tenant INTEGER, client INTEGER, hook INTEGER, "
        "card INTEGER, version INTEGER, content_hash INTEGER, table_row INTEGER, indicator INTEGER, mode INTEGER, "
        "state INTEGER, key INTEGER, patient BLOB, order_key BLOB, about INTEGER, PRIMARY KEY (received_at, call_id, position)",
        "WITHOUT ROWID",
    ),
    ("delivery", "{seq}, received_at INTEGER, call_id BLOB, log_us INTEGER, total_us INTEGER, delivered INTEGER", ""),
    ("withdrawal", "{seq}, received_at INTEGER, call_id BLOB, at INTEGER", ""),
    (
        "feedback",
        "{seq}, id BLOB, received_at INTEGER, tenant INTEGER, client INTEGER, service INTEGER, card_uuid BLOB, outcome INTEGER, "
        "reason_system INTEGER, reason_code INTEGER, reason_display INTEGER, accepted TEXT, comment_length INTEGER, "
        "outcome_at INTEGER, outcome_timestamp TEXT",
        "",
    ),
    (
        "refusal",
        "{seq}, received_at INTEGER, tenant INTEGER, client INTEGER, hook INTEGER, status INTEGER, reason INTEGER, n INTEGER",
        "",
    ),
    (
        "quarantine",
        "{seq}, received_at INTEGER, kind INTEGER, record_id TEXT, error TEXT, service INTEGER, client INTEGER, tenant INTEGER, "
        "item TEXT",
        "",
    ),
)
_INDEXES = (
    "call (encounter, received_at)",
    "call (patient, received_at)",
    "ordered (received_at)",
    "card (uuid)",
    "card (patient, card, received_at)",
    "delivery (received_at, call_id)",
    "withdrawal (received_at, call_id)",
    "feedback (card_uuid)",
    "feedback (received_at)",
    "refusal (received_at)",
)
SOURCE = bytes(16)
DATABASE_SERVER = os.environ.get("CDS_TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")


def make_sqlite_log(path: Path) -> None:
    """Make an alert log with its tables and no record."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE source (id BLOB PRIMARY KEY, created_at INTEGER, last_seq INTEGER)")
        connection.execute("INSERT INTO source VALUES (?, 0, 0)", (SOURCE,))
        for name, columns, end in _TABLES:
            connection.execute(f"CREATE TABLE {name} ({columns.format(seq='seq INTEGER PRIMARY KEY')}) {end}")
        connection.execute("INSERT INTO name VALUES (0, '')")
        for number, index in enumerate(_INDEXES):
            connection.execute(f"CREATE INDEX index_{number} ON {index}")


def make_postgres_log(url: str) -> None:
    """Make the schema `log` with its tables and no record."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA log")
        connection.execute(
            "CREATE TABLE log.source (id bytea PRIMARY KEY, number bigint UNIQUE, created_at bigint, last_seq bigint)"
        )
        connection.execute("INSERT INTO log.source VALUES (%s, 1, 0, 0)", (SOURCE,))
        for name, columns, _ in _TABLES:
            made = columns.format(seq="source bigint NOT NULL DEFAULT 1, seq bigint NOT NULL, UNIQUE (source, seq)")
            made = made.replace("BLOB", "bytea").replace("INTEGER", "bigint")
            connection.execute(f"CREATE TABLE log.{name} ({made})".encode())
        connection.execute("INSERT INTO log.name VALUES (0, '')")
        for index in _INDEXES:
            connection.execute(f"CREATE INDEX ON log.{index}".encode())


@contextmanager
def postgres_database() -> Iterator[str]:
    """Lend the URL of a new database on the PostgreSQL server at CDS_TEST_DATABASE_URL; where there is none, raise."""
    name = f"cds_test_{secrets.token_hex(6)}"
    with psycopg.connect(DATABASE_SERVER, autocommit=True, connect_timeout=3) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield f"{DATABASE_SERVER.rpartition('/')[0]}/{name}"
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
