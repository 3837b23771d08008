"""Open the alert log's file for reading: names behind their numbers, and the bodies of calls."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Protocol

from cds_service.alert_log.body import CallBody, decode_body
from cds_service.alert_log.compression import Decompressor
from cds_service.alert_log.schema import SCHEMA_VERSION, SchemaMismatchError, version_of

_BUSY_MS = 5_000


def open_for_reading(path: Path, busy_ms: int = _BUSY_MS) -> sqlite3.Connection:
    """Open a connection that only reads; services go on writing meanwhile. Rows are sqlite3.Row.

    `busy_ms`: how long to wait where the file is locked as a whole.

    Raises FileNotFoundError, SchemaMismatchError for a file that isn't of this program's schema, sqlite3.DatabaseError.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no alert log at {path}")
    file = path.stat()
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=busy_ms / 1000, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        version = version_of(connection)
        if 0 < version < SCHEMA_VERSION:
            raise SchemaMismatchError(
                f"the alert log has schema {version}, this program reads {SCHEMA_VERSION}: the service brings it up to date when"
                " it starts, and so does `cds-service log compact`"
            )
        if version != SCHEMA_VERSION:
            raise SchemaMismatchError(f"the alert log has schema {version}, this program reads {SCHEMA_VERSION}")
        if not os.path.samestat(file, path.stat()):  # with its successor's write-ahead log it would be read as damaged
            raise FileNotFoundError(f"{path} was replaced while it was opened")
    except (sqlite3.Error, OSError):
        connection.close()
        raise
    return connection


def has_old_rows(connection: sqlite3.Connection) -> bool:
    """Say whether rows of version 0.1.0 wait for `cds-service log compact`."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'old_call'").fetchone() is not None


def old_calls(path: Path) -> int:
    """Return how many calls wait for `cds-service log compact`. Raises what `open_for_reading` raises."""
    with closing(open_for_reading(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM old_call").fetchone()[0]) if has_old_rows(connection) else 0


class NameTexts(dict[int, str]):
    """The texts of names by their ids, read where they are needed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __missing__(self, number: int) -> str:
        text: str = self._connection.execute("SELECT text FROM name WHERE id = ?", (number,)).fetchone()[0]
        self[number] = text
        return text


def ids_of(connection: sqlite3.Connection, texts: Iterable[str]) -> dict[str, int]:
    """Return the ids of those of the texts that the file knows."""
    wanted = list(texts)
    query = f"SELECT text, id FROM name WHERE text IN ({', '.join('?' * len(wanted))})"  # noqa: S608 - question marks
    return {row[0]: row[1] for row in connection.execute(query, wanted)}


class Bodies(Protocol):
    """Return the body of a call by its row's `seq`; None where it has none."""

    def __call__(self, seq: int) -> CallBody | None: ...


def bodies_of(connection: sqlite3.Connection) -> Bodies:
    """Return a function that reads bodies.

    It raises msgspec.DecodeError and CompressionError for a damaged body, ValueError for one of a newer program.
    """

    def dictionary(number: int) -> bytes | None:
        found = connection.execute("SELECT content FROM dictionary WHERE id = ?", (number,)).fetchone()
        return None if found is None else bytes(found[0])

    decompress = Decompressor(dictionary)

    def body(seq: int) -> CallBody | None:
        found = connection.execute("SELECT content FROM body WHERE seq = ?", (seq,)).fetchone()
        return None if found is None else decode_body(decompress(found[0]))

    return body
