"""Move the next records of one file into PostgreSQL, in one transaction with the watermark of the file.

The watermark is the number of the last record that was moved. It moves with the records or not at all, and whatever is sent a
second time meets its own key. So two shippers of one file, a crash at any moment and a file restored from a backup do no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg.types.numeric import Int8BinaryDumper

from cds_service.alert_log.instants import micros
from cds_service.shipping.log_file import Batch, LogFile, Row, Source, mark_of
from cds_service.shipping.own_ids import OwnIds
from cds_service.shipping.partitions import Partitions
from cds_service.shipping.schema import migrate
from cds_service.shipping.tables import PARTITIONED, RECORDS, TABLES, Table
from cds_service.telemetry.log_lines import silence_database_driver

_STATEMENT_SECONDS = 30
_CONNECTION: Mapping[str, Any] = {
    "autocommit": True,
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "cds-service shipping",
    # Not forced to the disk: where a crash of the server takes the last transactions back, it takes the watermark back with them,
    # and the records are in the file for days.
    "options": f"-c synchronous_commit=off -c statement_timeout={_STATEMENT_SECONDS}s -c lock_timeout=10s",
}

# SQLSTATE classes of errors that the record itself has: data, a constraint, a limit of an index row.
_OF_RECORD = ("22", "23", "54")


class RecordRefusedError(Exception):
    """Raised where PostgreSQL refuses a record of the batch. The text is the class of the error."""


class Moved(msgspec.Struct, frozen=True):
    """What one transaction did."""

    records: int  # moved now, or found there because they had been moved before
    whole: bool  # nothing is left in the file
    through: int  # the watermark
    untrue: int = 0  # rows whose month can't be true, which are in a default partition
    restored: bool = False  # the file is not the one that was shipped before: it is shipped from its beginning


class _Watermark(msgspec.Struct, frozen=True):
    number: int  # of the source
    last_seq: int
    last_mark: bytes | None


_WATERMARK: LiteralString = "SELECT number, last_seq, last_mark FROM log.source WHERE id = %s"
_NEW_SOURCE: LiteralString = "INSERT INTO log.source (id, created_at) VALUES (%s, %s) ON CONFLICT DO NOTHING"
_MOVE: LiteralString = """UPDATE log.source SET last_seq = %s, last_mark = %s, file_seq = greatest(%s, %s),
    waiting_since = %s, reported_at = %s WHERE id = %s"""
# A new number, as if it were another file: of one number, greater sequence numbers always come later.
_RESTORED: LiteralString = """UPDATE log.source SET number = nextval(pg_get_serial_sequence('log.source', 'number')),
    last_seq = 0, last_mark = NULL, restored = restored + 1 WHERE id = %s"""
_REPORT: LiteralString = "UPDATE log.source SET file_seq = %s, waiting_since = %s, reported_at = %s WHERE id = %s"
_UNSHIPPED: LiteralString = """INSERT INTO log.unshipped (source, seq, kind, record_id, error, noted_at)
    VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""


class Link:
    """A connection from one file to one database, for the thread that opened it."""

    def __init__(self, path: Path, url: str) -> None:
        """Open both and bring the database to this program's schema.

        Raises SchemaMismatchError and NewerSchemaError where one is of another program, FileNotFoundError, sqlite3.Error,
        psycopg.Error.
        """
        silence_database_driver()
        self.file = LogFile(path)
        try:
            self._connection = psycopg.connect(url, **_CONNECTION)
        except BaseException:
            self.file.close()
            raise
        # Each int as int8: else its type depends on its size, and every mixture of types is a statement of its own.
        self._connection.adapters.register_dumper(int, Int8BinaryDumper)
        self._ids = OwnIds(self._connection, self.file)
        self._partitions = Partitions(self._connection)
        try:
            migrate(self._connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._connection.close()
        self.file.close()

    def cancel(self) -> None:
        """End the statement under way. For other threads."""
        self._connection.cancel_safe(timeout=1)

    def move(self, size: int, now: datetime, waiting_since: int | None = None) -> Moved:
        """Move the next `size` records; none where another shipper was faster, or nothing is left.

        `waiting_since` (microseconds since 1970) is what readers are told where some are left. Raises RecordRefusedError where
        one of them is refused (nothing is moved then), psycopg.Error, sqlite3.Error.
        """
        source = self.file.source()
        mark = self._watermark(source)
        if mark.last_seq and self.file.mark(mark.last_seq) != mark.last_mark:
            return self._begin_again(source, mark)
        batch = self.file.next_after(mark.last_seq, size)
        if not batch.count:
            return Moved(records=0, whole=True, through=mark.last_seq)
        try:
            self._ids.learn(batch)
            moments = [row[table.columns.index("received_at") + table.sent] for table, row in _partitioned(batch)]
            untrue = self._partitions.make_for(moments, now)
            return self._insert(source, mark, batch, micros(now), waiting_since, untrue)
        except psycopg.Error as error:
            if not _is_of_record(error):
                raise
            raise RecordRefusedError(type(error).__name__) from error
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise RecordRefusedError(type(error).__name__) from error

    def set_aside(self, error: str, now: datetime) -> str:
        """Leave out the next record, which was refused, and note that. Return its kind, "" where another shipper was faster."""
        source = self.file.source()
        mark = self._watermark(source)
        batch = self.file.next_after(mark.last_seq, 1)
        for table in RECORDS:
            for row in batch.rows.get(table.name, ()):
                with self._connection.transaction():
                    if not self._locked(source, mark):
                        return ""
                    noted = (mark.number, batch.through, table.name, _id_of(table, row), error, micros(now))
                    self._connection.execute(_UNSHIPPED, noted)
                    self._set_watermark(source, batch, self.file.mark(batch.through), None, micros(now))
                return str(table.name)
        return ""

    def begin_again(self) -> None:
        """Let everything in the file be moved again from its beginning; what is there already stays as it is."""
        self._connection.execute(_RESTORED, (self.file.source().id,))

    def report(self, waiting_since: int | None, now: datetime) -> None:
        """Tell readers of the database where the file is, although nothing moves."""
        source = self.file.source()
        self._connection.execute(_REPORT, (source.last_seq, waiting_since, micros(now), source.id))

    def complete_at(self) -> int | None:
        """Return when the database last had all of the file, as far as it knows (microseconds since 1970)."""
        query = "SELECT coalesce(waiting_since, reported_at) FROM log.source WHERE id = %s"
        found = self._connection.execute(query, (self.file.source().id,)).fetchone()
        return found[0] if found else None

    def set_aside_seqs(self) -> frozenset[int]:
        """Return the numbers of the records of the file that were refused and are nowhere else."""
        query = "SELECT seq FROM log.unshipped JOIN log.source ON number = source WHERE id = %s"
        return frozenset(seq for (seq,) in self._connection.execute(query, (self.file.source().id,)))

    def _watermark(self, source: Source) -> _Watermark:
        found = self._connection.execute(_WATERMARK, (source.id,)).fetchone()
        if found is None:
            self._connection.execute(_NEW_SOURCE, (source.id, source.created_at))
            found = self._connection.execute(_WATERMARK, (source.id,)).fetchone()
        assert found is not None  # noqa: S101 - sources are not deleted
        return _Watermark(*found)

    def _locked(self, source: Source, expected: _Watermark) -> bool:
        """Lock the source's row for this transaction. False where another shipper has moved records meanwhile."""
        found = self._connection.execute(_WATERMARK + " FOR UPDATE", (source.id,)).fetchone()
        return found is not None and _Watermark(*found) == expected

    def _begin_again(self, source: Source, mark: _Watermark) -> Moved:
        with self._connection.transaction():
            changed = self._locked(source, mark)
            if changed:
                self._connection.execute(_RESTORED, (source.id,))
        return Moved(records=0, whole=False, through=0, restored=changed)

    def _insert(self, source: Source, mark: _Watermark, batch: Batch, now: int, waiting_since: int | None, untrue: int) -> Moved:
        last = self.file.mark(batch.through)
        with self._connection.transaction(), self._connection.cursor() as cursor:
            if not self._locked(source, mark):
                return Moved(records=0, whole=False, through=mark.last_seq)
            for table in TABLES:
                if rows := batch.rows[table.name]:
                    cursor.executemany(table.insert, self._ready(table, rows, source, mark.number))
            self._set_watermark(source, batch, last, None if batch.whole else waiting_since, now)
        return Moved(records=batch.count, whole=batch.whole, through=batch.through, untrue=untrue)

    def _ready(self, table: Table, rows: list[Row], source: Source, number: int) -> list[list[Any]]:
        """Return the rows as PostgreSQL gets them."""
        translate = self._ids.translated(table.name, table.sent)
        ready = [translate(row) for row in rows]
        if table.sent:
            for row in ready:
                row.insert(0, number)
        if table.marked:
            for row, own in zip(ready, rows, strict=True):
                row.append(mark_of(table, (source.id, *own)))
        return ready

    def _set_watermark(self, source: Source, batch: Batch, last: bytes | None, waiting_since: int | None, now: int) -> None:
        moved = (batch.through, last, source.last_seq, batch.through, waiting_since, now, source.id)
        self._connection.execute(_MOVE, moved)


def _partitioned(batch: Batch) -> list[tuple[Table, Row]]:
    return [(table, row) for table in TABLES if table.name in PARTITIONED for row in batch.rows[table.name]]


def _is_of_record(error: psycopg.Error) -> bool:
    """Say whether the error is that of a record: without SQLSTATE it is one of the client, which found it in the data."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.DataError | psycopg.ProgrammingError)
    return error.sqlstate.startswith(_OF_RECORD)


def _id_of(table: Table, row: Row) -> str:
    """Return the id of the record, of its call where it has none of its own; "" for a count."""
    for column in ("id", "call_id", "of"):
        if column in table.columns:
            return bytes(row[table.columns.index(column) + 1] or b"").hex()
    return ""
