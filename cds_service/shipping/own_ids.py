"""Translate ids that the file gave out (names, sets) into those of PostgreSQL, and store there what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from hashlib import blake2b
from typing import Any, LiteralString

import msgspec
import psycopg

from cds_service.shipping.log_file import Batch, LogFile, Row
from cds_service.shipping.tables import CALL, SETS, TABLES, NameSet, insert_of

Connection = psycopg.Connection[Any]


class DictionaryConflictError(RuntimeError):
    """Raised where PostgreSQL has another dictionary under the id of one of the file: bodies could not be read any more."""


class OwnIds:
    """What is known of the ids of one file in one database, while the connection to it lasts.

    Names and sets are stored in transactions of their own, before the records that use them: two shippers that meet a new name
    wait for each other no longer than that takes. Nothing of it is ever deleted.
    """

    def __init__(self, connection: Connection, file: LogFile) -> None:
        self._connection = connection
        self._file = file
        self._names: dict[int | None, int | None] = {None: None, 0: 0}
        self._sets: dict[str, dict[int | None, int | None]] = {kind.name: {None: None} for kind in SETS}
        self._dictionaries: set[int] = set()
        self._knowledge: set[int] = set()

    def learn(self, batch: Batch) -> None:
        """Store what the records of the batch refer to. Raises KeyError for an id that the file lacks, psycopg.Error."""
        self._learn_names(
            row[place + table.sent] for table in TABLES for place in table.of_names for row in batch.rows.get(table.name, ())
        )
        for kind in SETS:
            place = CALL.columns.index(kind.name) + 1
            for set_id in {row[place] for row in batch.rows.get(CALL.name, ())} - self._sets[kind.name].keys():
                self._learn_set(kind, set_id)
        self._ship_dictionaries()
        self._ship_knowledge()

    def translated(self, table: str, sent: bool) -> Callable[[Row], list[Any]]:
        """Return a function that replaces the file's ids in a row of a table."""
        described = next(one for one in TABLES if one.name == table)
        names, places = self._names, [place + sent for place in described.of_names]
        tenant = described.columns.index("tenant") + sent if "tenant" in described.columns else None
        sets = [(CALL.columns.index(kind.name) + 1, self._sets[kind.name]) for kind in SETS] if table == CALL.name else []

        def translate(row: Row) -> list[Any]:
            new = list(row)
            for place in places:
                new[place] = names[new[place]]
            for place, ids in sets:
                new[place] = ids[new[place]]
            if tenant is not None and new[tenant] is None:
                new[tenant] = 0  # a part of the key
            return new

        return translate

    def _learn_names(self, ids: Iterable[int | None]) -> None:
        new = {one for one in ids if one not in self._names}
        if not new:
            return
        texts = self._file.names([one for one in new if one is not None])
        found = self._names_in_database(texts.values())
        missing = sorted(set(texts.values()) - found.keys())
        if missing:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                cursor.executemany(insert_of("name", ("text",)), [(one,) for one in missing])
            found |= self._names_in_database(missing)
        self._names.update((one, found[text]) for one, text in texts.items())

    def _names_in_database(self, texts: Iterable[str]) -> dict[str, int]:
        query = "SELECT text, id FROM log.name WHERE text = ANY(%s)"
        return dict(self._connection.execute(query, ([*texts],)).fetchall())

    def _learn_set(self, kind: NameSet, set_id: int) -> None:
        members = self._file.members(kind, set_id)
        self._learn_names(row[place] for row in members for place in kind.of_names)
        names = self._file.names({row[place] for row in members for place in kind.of_names})
        digest = _digest(_replaced(members, kind.of_names, names))
        with self._connection.transaction():
            self._connection.execute(insert_of(kind.name, ("digest",)), (digest,))
            query: LiteralString = f"SELECT id FROM log.{kind.name} WHERE digest = %s"  # noqa: S608 - names of this program
            found = self._connection.execute(query, (digest,)).fetchone()
            assert found is not None  # noqa: S101 - nothing deletes sets
            with self._connection.cursor() as cursor:
                rows = _replaced(members, kind.of_names, self._names)
                cursor.executemany(insert_of(kind.members, ("set_id", *kind.columns)), [(found[0], *row) for row in rows])
        self._sets[kind.name][set_id] = found[0]

    def _ship_dictionaries(self) -> None:
        for id_, made_at, content in self._file.dictionaries(self._dictionaries):
            self._connection.execute(insert_of("dictionary", ("id", "made_at", "content")), (id_, made_at, content))
            same = self._connection.execute("SELECT content = %s FROM log.dictionary WHERE id = %s", (content, id_)).fetchone()
            if same != (True,):
                raise DictionaryConflictError(f"dictionary {id_} in PostgreSQL is not that of the file")
            self._dictionaries.add(id_)

    def _ship_knowledge(self) -> None:
        for hash_, archived_at, content in self._file.knowledge(self._knowledge):
            self._learn_names([hash_])
            archived = (self._names[hash_], archived_at, content)
            self._connection.execute(insert_of("knowledge", ("hash", "archived_at", "content")), archived)
            self._knowledge.add(hash_)


def _replaced(rows: Iterable[Row], places: Collection[int], by: Any) -> list[Row]:
    return [tuple(by[value] if place in places else value for place, value in enumerate(row)) for row in rows]


def _digest(members: list[Row]) -> bytes:
    """Return the digest of a set by its words: the ids of a file mean nothing elsewhere."""
    return blake2b(msgspec.json.encode(sorted(members, key=repr)), digest_size=16).digest()
