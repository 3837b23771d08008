"""Store used tokens in PostgreSQL, shared by all machines.

A commit is not forced to the disk (`synchronous_commit=off`): after a crash of the server, tokens of its last half second could
be used again until they expire, some minutes later at most. Connections are made when they are needed and dropped when broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from cds_service.telemetry.log_lines import silence_database_driver
from cds_service.trust.replay import ANSWER_SECONDS, StoreDownError, Use

_CONNECTIONS = 4  # for each process
_LOCK = 0x63726D70  # of the transaction that makes the table: processes that start together do it one after another
_TABLE = "CREATE TABLE IF NOT EXISTS used_token (token bytea PRIMARY KEY, until bigint NOT NULL)"
_INDEX = "CREATE INDEX IF NOT EXISTS used_token_until ON used_token (until)"
_INSERT = "INSERT INTO used_token (token, until) VALUES (%s, %s) ON CONFLICT DO NOTHING"
_FAULTS = (psycopg.Error, PoolTimeout, PoolClosed, OSError)


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.execute("SET synchronous_commit = off")
    await connection.execute(f"SET statement_timeout = {int(2 * ANSWER_SECONDS * 1000)}")


class PostgresUsedTokens:
    """See `replay.UsedTokens`."""

    def __init__(self, url: str) -> None:
        """`url`: postgresql://… with the parameters of libpq. Does not connect yet."""
        self._url = url
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] | None = None
        silence_database_driver()

    async def open(self) -> float:
        try:
            if self._pool is None:
                pool = AsyncConnectionPool(
                    self._url,
                    kwargs={"autocommit": True, "connect_timeout": 2},
                    min_size=1,
                    max_size=_CONNECTIONS,
                    configure=_configure,
                    timeout=2 * ANSWER_SECONDS,  # callers give up before
                    reconnect_timeout=5,
                    open=False,
                    name="used-tokens",
                )
                await pool.open()
                self._pool = pool
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                await connection.execute(_TABLE)
                await connection.execute(_INDEX)
        except _FAULTS as error:
            raise StoreDownError(type(error).__name__) from None
        return 0.0

    async def insert(self, use: Use) -> bool:
        try:
            async with self._connections().connection() as connection:
                return (await connection.execute(_INSERT, use)).rowcount == 1
        except _FAULTS as error:
            raise StoreDownError(type(error).__name__) from None

    async def insert_all(self, uses: Sequence[Use]) -> None:
        if not uses:
            return
        try:
            async with self._connections().connection() as connection, connection.cursor() as cursor:
                await cursor.executemany(_INSERT, uses)
        except _FAULTS as error:
            raise StoreDownError(type(error).__name__) from None

    async def purge(self, now: int) -> None:
        try:
            async with self._connections().connection() as connection:
                await connection.execute("DELETE FROM used_token WHERE until <= %s", (now,))
        except _FAULTS as error:
            raise StoreDownError(type(error).__name__) from None

    async def close(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.close()

    def _connections(self) -> AsyncConnectionPool[psycopg.AsyncConnection[Any]]:
        if self._pool is None:
            raise StoreDownError("NotOpened")
        return self._pool
