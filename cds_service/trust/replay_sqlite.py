"""Store used tokens in an SQLite file, shared by the workers of one machine.

One thread writes. Tokens that come while a commit runs are written by the next one together. A commit survives the end of the
process but is not forced to the disk (`synchronous=NORMAL`): after a power cut, tokens of the last moments could be used again
until they expire, some minutes later at most.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from cds_service.trust.replay import StoreDownError, Use

T = TypeVar("T")

_BUSY_MS = 1500  # less than what a caller waits
_INSERT = "INSERT INTO used_token (token, until) VALUES (?, ?) ON CONFLICT DO NOTHING"


class SqliteUsedTokens:
    """See `replay.UsedTokens`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "used-tokens")
        self._waiting: list[tuple[Use, asyncio.Future[bool]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._connection: sqlite3.Connection | None = None  # used in the thread only

    async def open(self) -> None:
        await self._in_thread(self._open)

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

    def _open(self) -> None:
        if self._connection is not None:
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._path.exists():
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self._path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS used_token (token BLOB PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID"
            )
            connection.execute("CREATE INDEX IF NOT EXISTS used_token_until ON used_token (until)")
        except sqlite3.Error:
            connection.close()
            raise
        self._file = self._path.stat()
        self._connection = connection

    def _insert(self, uses: Sequence[Use]) -> list[bool]:
        """Insert in one transaction; return for each token whether it is new."""
        connection = self._connected()
        try:
            connection.execute("BEGIN IMMEDIATE")
            new = [connection.execute(_INSERT, use).rowcount == 1 for use in uses]
            connection.execute("COMMIT")
        except sqlite3.Error:
            self._disconnect()  # rolls back; only a new connection reads what is really in the file
            raise
        return new

    def _purge(self, now: int) -> None:
        try:
            self._connected().execute("DELETE FROM used_token WHERE until <= ?", (now,))
        except sqlite3.Error:
            self._disconnect()
            raise

    def _connected(self) -> sqlite3.Connection:
        """Return the connection. Raises OSError where the file was removed or replaced, as other workers would not see writes."""
        if self._connection is None:
            raise sqlite3.OperationalError
        try:
            same = os.path.samestat(self._path.stat(), self._file)
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
