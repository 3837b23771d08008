"""Read the log's file as a shipper does: the next records after a sequence number, and what their ids stand for."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from cds_service.alert_log.reading import open_for_reading
from cds_service.shipping.tables import BODY, CARD, ORDERED, RECORDS, NameSet, Table

Row = tuple[Any, ...]


class Source(NamedTuple):
    """The file's row about itself."""

    id: bytes
    created_at: int  # microseconds since 1970, UTC
    last_seq: int  # of the newest record, of whatever kind


class Batch(msgspec.Struct, frozen=True):
    """Records that follow each other in one file.

    `rows`: of each table, by its name; where the table has a seq, that comes first, then the columns of `tables.Table`.
    """

    through: int  # seq of the last one
    count: int  # of records; rows that belong to a call are not counted
    whole: bool  # nothing came after them when they were read
    rows: Mapping[str, list[Row]]


class LogFile:
    """A connection that reads, for the thread that opened it."""

    def __init__(self, path: Path) -> None:
        """Raises FileNotFoundError, SchemaMismatchError, sqlite3.DatabaseError."""
        self._path = path
        self._file = path.stat()
        self._connection = open_for_reading(path)
        self._connection.row_factory = None

    def close(self) -> None:
        self._connection.close()

    def source(self) -> Source:
        return Source(*self._connection.execute("SELECT id, created_at, last_seq FROM source").fetchone())

    def next_after(self, seq: int, size: int) -> Batch:
        """Return the next `size` records after `seq` in their order, all that belongs to them with them.

        Raises FileNotFoundError where another file is in its place by now.
        """
        if not os.path.samestat(self._path.stat(), self._file):
            raise FileNotFoundError("the alert log was replaced by another file")
        self._connection.execute("BEGIN")  # all of them as they are at one moment
        try:
            seqs = [found for (found,) in self._connection.execute(_NEXT, {"seq": seq, "size": size + 1})]
            span = {"after": seq, "through": seqs[:size][-1] if seqs else seq}
            rows = {name: self._connection.execute(query, span).fetchall() for name, query in _ROWS.items()} if seqs else {}
        finally:
            self._connection.execute("COMMIT")
        return Batch(through=span["through"], count=len(seqs[:size]), whole=len(seqs) <= size, rows=rows)

    def mark(self, seq: int) -> bytes | None:
        """Return the mark of the record with this number, None where there is none."""
        for table in RECORDS:
            row = self._connection.execute(f"{_selected(table)} WHERE seq = ?", (seq,)).fetchone()
            if row is not None:
                return mark_of(table, row)
        return None

    def names(self, ids: Collection[int]) -> dict[int, str]:
        """Return the texts of ids of names. Raises KeyError where the file lacks one."""
        found = {}
        for one in ids:
            row = self._connection.execute("SELECT text FROM name WHERE id = ?", (one,)).fetchone()
            if row is None:
                raise KeyError(f"name {one}")
            found[one] = row[0]
        return found

    def members(self, kind: NameSet, set_id: int) -> list[Row]:
        """Return the members of a set that calls share."""
        query = f"SELECT {', '.join(kind.columns)} FROM {kind.members} WHERE set_id = ?"  # noqa: S608 - names of this program
        return self._connection.execute(query, (set_id,)).fetchall()

    def dictionaries(self, known: Collection[int]) -> list[Row]:
        """Return (id, made_at, content) of those that are not known."""
        return self._others("dictionary", "id", "made_at", known)

    def knowledge(self, known: Collection[int]) -> list[Row]:
        """Return (name id of the hash, archived_at, content) of those that are not known."""
        return self._others("knowledge", "hash", "archived_at", known)

    def _others(self, table: str, key: str, at: str, known: Collection[int]) -> list[Row]:
        keys = [one for (one,) in self._connection.execute(f"SELECT {key} FROM {table}") if one not in known]  # noqa: S608
        query = f"SELECT {key}, {at}, content FROM {table} WHERE {key} = ?"  # noqa: S608 - names of this program
        return [self._connection.execute(query, (one,)).fetchone() for one in keys]


def mark_of(table: Table, row: Iterable[Any]) -> bytes:
    """Return 16 bytes that tell a record (seq first) from every other that may have had its number."""
    return blake2b(repr((table.name, *row)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _selected(table: Table) -> str:
    return f"SELECT seq, {', '.join(table.columns)} FROM {table.name}"  # noqa: S608 - names of this program


_NEXT = " UNION ALL ".join(f"SELECT seq FROM {one.name} WHERE seq > :seq" for one in RECORDS)  # noqa: S608 - names of this program
_NEXT += " ORDER BY seq LIMIT :size"

_SPAN = "seq > :after AND seq <= :through"
_OF_CALL = "FROM call CROSS JOIN {0} ON {0}.received_at = call.received_at AND {0}.call_id = call.id WHERE " + _SPAN
_ROWS = {
    **{one.name: f"{_selected(one)} WHERE {_SPAN} ORDER BY seq" for one in RECORDS},
    # CROSS JOIN: the calls first, by their number.
    BODY.name: f"""SELECT tenant, received_at, id, content FROM call CROSS JOIN body ON body.seq = call.seq
        WHERE call.{_SPAN.replace("AND seq", "AND call.seq")}""",  # noqa: S608
    CARD.name: f"SELECT {', '.join(f'card.{column}' for column in CARD.columns)} {_OF_CALL.format('card')}",
    ORDERED.name: f"SELECT {', '.join(f'ordered.{column}' for column in ORDERED.columns)} {_OF_CALL.format('ordered')}",
}
