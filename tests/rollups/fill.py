"""Write the rows of a made-up log into SQLite or PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from cds_service.shipping.partitions import Partitions
from tests.rollups.synthetic import COLUMNS, WITH_SEQ, Rows, SyntheticLog

_SETS = {
    "outcome_set": "id, digest",
    "outcome_of_set": "set_id, card, version, content_hash, outcome, table_row, applies, n",
    "missing_set": "id, digest",
    "missing_of_set": "set_id, card, criterion, cause, n",
}


class Filler:
    """Appends rows and numbers them, as a service does; `fill` is one transaction."""

    def __init__(self) -> None:
        self._seq = 0
        self._named = 1  # '' is there

    def start(self, log: SyntheticLog) -> None:
        """Write the sets, once."""
        self.fill(log, {})
        for table, rows in log.sets().items():
            self._insert(f"{table} ({_SETS[table]})", rows)

    def fill(self, log: SyntheticLog, rows: Rows) -> None:
        """Append the rows of each table, and the names that are new."""
        self._begin()
        self._insert("name (id, text)", enumerate(log.names[self._named :], self._named))
        self._named = len(log.names)
        for table, found in rows.items():
            if table in WITH_SEQ:
                self._insert(f"{table} (seq, {COLUMNS[table]})", [(self._seq + n, *row) for n, row in enumerate(found, 1)])
                self._seq += len(found)
            else:
                self._insert(f"{table} ({COLUMNS[table]})", found)
        self._end(self._seq)

    def delete_before(self, at: int) -> None:
        """Delete the records of before a moment."""
        self._begin()
        for table in COLUMNS:
            self._delete(table, at)
        self._end(self._seq)

    def _delete(self, table: str, at: int) -> None:
        raise NotImplementedError

    def _begin(self) -> None:
        raise NotImplementedError

    def _insert(self, into: str, rows: Iterable[tuple[Any, ...]]) -> None:
        raise NotImplementedError

    def _end(self, last_seq: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class SqliteFiller(Filler):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = OFF")

    def _begin(self) -> None:
        self.connection.execute("BEGIN")

    def _insert(self, into: str, rows: Iterable[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * (into.count(",") + 1))
        self.connection.executemany(f"INSERT INTO {into} VALUES ({marks})", rows)  # noqa: S608 - names of this module

    def _delete(self, table: str, at: int) -> None:
        self.connection.execute(f"DELETE FROM {table} WHERE received_at < ?", (at,))  # noqa: S608

    def _end(self, last_seq: int) -> None:
        self.connection.execute("UPDATE source SET last_seq = ?", (last_seq,))
        self.connection.execute("COMMIT")

    def close(self) -> None:
        self.connection.close()


class PostgresFiller(Filler):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.connection = psycopg.connect(url)
        self._partitions = Partitions(self.connection)

    def fill(self, log: SyntheticLog, rows: Rows) -> None:
        moments = [row[1] for row in rows.get("call", ())]
        if moments:
            self._partitions.make_for({min(moments), max(moments)}, datetime.fromtimestamp(max(moments) / 1e6, UTC))
        super().fill(log, rows)

    def _begin(self) -> None:
        pass

    def _insert(self, into: str, rows: Iterable[tuple[Any, ...]]) -> None:
        if into.startswith("refusal"):  # has no other id here
            into, rows = into.replace("(seq", "(mark, seq"), [(row[0].to_bytes(16), *row) for row in rows]
        with self.connection.cursor() as cursor, cursor.copy(f"COPY log.{into} FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row(row)

    def _delete(self, table: str, at: int) -> None:
        self.connection.execute(f"DELETE FROM log.{table} WHERE received_at < %s".encode(), (at,))  # noqa: S608

    def _end(self, last_seq: int) -> None:
        self.connection.execute("UPDATE log.source SET last_seq = %s WHERE number = 1", (last_seq,))
        self.connection.commit()

    def close(self) -> None:
        self.connection.close()
