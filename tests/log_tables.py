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

from cds_service.alert_log.schema import migrate
from cds_service.shipping.schema import migrate as migrate_postgres

SOURCE = bytes(16)
# Values of the columns that may not be empty, for tests that care about others.
BLANK: dict[str, dict[str, object]] = {
    "call": dict.fromkeys(
        (
            *("tenant", "client", "service", "hook", "outcome", "orders", "service_version", "knowledge", "jurisdiction"),
            *("dialect", "bytes_in", "bytes_out", "degraded"),
        ),
        0,
    )
    | {"status": 200, "key": 1, "instance": bytes(16)},
    "card": dict.fromkeys(("tenant", "client", "hook", "version", "content_hash"), 0)
    | {"about": "", "table_row": -1, "key": 1, "order_key": None},
    "feedback": dict.fromkeys(("tenant", "client", "service", "reason_system", "reason_code", "reason_display"), 0)
    | {"accepted": "[]", "comment_length": 0, "outcome_timestamp": ""},
}
DATABASE_SERVER = os.environ.get("CDS_TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")


def make_sqlite_log(path: Path) -> None:
    """Make an alert log with its tables and no record."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection)
        connection.execute("UPDATE source SET id = ?", (SOURCE,))


def make_postgres_log(url: str) -> None:
    """Make the schema `log` with its tables and no record; rows inserted without one are of source 1."""
    with psycopg.connect(url, autocommit=True) as connection:
        migrate_postgres(connection)
        connection.execute("INSERT INTO log.source (id, number) VALUES (%s, 1)", (SOURCE,))
        for table in ("call", "delivery", "withdrawal", "feedback", "refusal"):
            connection.execute(f"ALTER TABLE log.{table} ALTER source SET DEFAULT 1".encode())


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
