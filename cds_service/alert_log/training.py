"""Make a dictionary of a log's own calls, which compresses them better than the one that comes with the program."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from cds_service.alert_log.compression import Compressor, Decompressor, train
from cds_service.alert_log.instants import micros
from cds_service.alert_log.reading import open_for_reading
from cds_service.alert_log.store import Store
from cds_service.clock import utc_now

_MOST = 3000  # calls, the newest; more make no better dictionary
_FEWEST = 500
_TESTED = 10  # one call of so many is kept apart, to measure by

_NEWEST = "SELECT content FROM body ORDER BY seq DESC LIMIT ?"


class NotEnoughCallsError(ValueError):
    """Raised where the log has too few calls to learn from."""


class Trained(msgspec.Struct, frozen=True):
    """A new dictionary, and the bytes of a body (mean) before and after it."""

    dictionary_id: int
    calls: int
    before: int
    after: int


def train_from(path: Path) -> Trained:
    """Make a dictionary of the newest calls and put it into the file; services use it from their next start.

    Bodies that are there stay as they are. Raises NotEnoughCallsError, FileNotFoundError, SchemaMismatchError,
    sqlite3.DatabaseError.
    """
    with closing(open_for_reading(path)) as connection:
        decompress = Decompressor(_dictionaries(connection).get)
        stored = [bytes(row[0]) for row in connection.execute(_NEWEST, (_MOST,))]
    if len(stored) < _FEWEST:
        raise NotEnoughCallsError(f"{len(stored)} calls are too few to learn from, {_FEWEST} are needed")
    bodies = [decompress(one) for one in stored]
    dictionary = train(body for n, body in enumerate(bodies) if n % _TESTED)
    compress = Compressor(dictionary)
    with closing(Store(path)) as store, store.transaction() as rows:
        row = (compress.dictionary_id, micros(utc_now()), dictionary)
        rows.execute("INSERT INTO dictionary VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)
    tested = range(0, len(bodies), _TESTED)
    before = sum(len(stored[n]) for n in tested) // len(tested)
    after = sum(len(compress(bodies[n])) for n in tested) // len(tested)
    return Trained(compress.dictionary_id, len(bodies), before, after)


def _dictionaries(connection: sqlite3.Connection) -> dict[int, bytes]:
    return {number: bytes(content) for number, content in connection.execute("SELECT id, content FROM dictionary")}
