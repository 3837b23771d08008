"""Store used tokens in an SQLite file, shared by the workers of one machine.

One thread writes. Tokens that come while a commit runs are written by the next one together. A commit survives the end of the
process but is not forced to the disk (`synchronous=NORMAL`): after a power cut, tokens of the last moments could be used again
until they expire, some minutes later at most.

A damaged file is set aside and a new one begun by one of the processes; the new one knows since when it is there.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from cds_service.files.damage import is_damage
from cds_service.files.set_aside import Reason, lock_beside, set_aside
from cds_service.telemetry.events import Event, tell
from cds_service.telemetry.metrics import TOKENS_SET_ASIDE
from cds_service.trust.replay import StoreDownError, Use

T = TypeVar("T")

_BUSY_MS = 1500  # less than what a caller waits
_TABLES = (
    "CREATE TABLE IF NOT EXISTS used_token (token BLOB PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS used_token_until ON used_token (until)",
    "CREATE TABLE IF NOT EXISTS begun (at REAL NOT NULL) STRICT",  # a row where the store took the place of a damaged one
)
_INSERT = "INSERT INTO used_token (token, until) VALUES (?, ?) ON CONFLICT DO NOTHING"


class SqliteUsedTokens:
    """See `replay.UsedTokens`."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        """`now`: seconds since 1970. Opens nothing yet."""
        self._path = path
        self._now = now
        self._file: os.stat_result | None = None  # the one that is or was open
        self._damaged: os.stat_result | None = None  # the file in which a statement met damage
        self._thread = ThreadPoolExecutor(1, "used-tokens")
        self._waiting: list[tuple[Use, asyncio.Future[bool]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._connection: sqlite3.Connection | None = None  # used in the thread only

    async def open(self) -> float:
        return await self._in_thread(self._open)

    async def insert(self, use: Use) -> bool:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((use, answer))
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_all())
        return await answer

    async def insert_all(self, uses: Sequence[Use]) -> None:
        await self._in_thread(partial(self._insert, uses))

    async def purge(self, now: int) -> None:
        await self._in_thread(partial(self._purge, now))

    async def close(self) -> None:
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    new = await self._in_thread(partial(self._insert, [use for use, _ in batch]))
                except StoreDownError as error:
                    for _, answer in batch:
                        if not answer.done():
                            answer.set_exception(error)
                else:
                    for (_, answer), is_new in zip(batch, new, strict=True):
                        if not answer.done():  # cancelled where the caller has disconnected
                            answer.set_result(is_new)
        finally:
            self._writing = None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError, RuntimeError) as error:  # RuntimeError: the thread has ended, the service stops
            raise StoreDownError(type(error).__name__) from None

    # In the thread

    def _open(self) -> float:
        if self._connection is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lost = self._set_aside_damaged()
            with lock_beside(self._path):
                if not self._path.exists():
                    os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600))
                    lost = lost or self._file is not None  # the one that this process had was removed
                self._connection = self._connected_anew()
                self._file = self._path.stat()
                if lost:
                    self._connection.execute("INSERT INTO begun VALUES (?)", (self._now(),))
        (begun,) = self._connection.execute("SELECT coalesce(max(at), 0.0) FROM begun").fetchone()
        return float(begun)

    def _connected_anew(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            for statement in _TABLES:
                connection.execute(statement)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _set_aside_damaged(self) -> bool:
        """Move a file out of the way that can't be the store; say whether this process has done it."""
        try:
            file = self._path.stat()
        except FileNotFoundError:
            return False
        reason: Reason | None = None
        if not self._path.is_file():
            reason = "not-a-file"
        elif self._damaged is not None and os.path.samestat(file, self._damaged):
            reason = "damaged"
        else:
            try:
                with lock_beside(self._path):
                    self._connected_anew().close()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                reason = "damaged"
        if reason is None:
            return False
        kept = set_aside(self._path, reason, datetime.fromtimestamp(self._now(), UTC), file)
        if kept is not None:
            TOKENS_SET_ASIDE.inc()
            tell(Event.TOKENS_SET_ASIDE, why=reason, file=str(self._path), kept=str(kept))
        return kept is not None

    def _insert(self, uses: Sequence[Use]) -> list[bool]:
        """Insert in one transaction; return for each token whether it is new."""
        connection = self._connected()
        try:
            connection.execute("BEGIN IMMEDIATE")
            new = [connection.execute(_INSERT, use).rowcount == 1 for use in uses]
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up(error)
            raise
        return new

    def _purge(self, now: int) -> None:
        try:
            self._connected().execute("DELETE FROM used_token WHERE until <= ?", (now,))
        except sqlite3.Error as error:
            self._give_up(error)
            raise

    def _give_up(self, error: sqlite3.Error) -> None:
        """Close the connection, which rolls back: only a new one reads what is really in the file."""
        if is_damage(error):
            with suppress(FileNotFoundError):
                self._damaged = self._path.stat()
        self._disconnect()

    def _connected(self) -> sqlite3.Connection:
        """Return the connection. Raises OSError where the file was removed or replaced, as other workers would not see writes."""
        if self._connection is None:
            raise sqlite3.OperationalError
        try:
            same = self._file is not None and os.path.samestat(self._path.stat(), self._file)
        except FileNotFoundError:
            same = False
        if not same:
            self._disconnect()
            raise FileNotFoundError
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
