"""The schemas `log` and `review` of one PostgreSQL database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.rows import dict_row

from cds_service.database.causes import described
from cds_service.database.database import Database, Row
from cds_service.database.errors import DatabaseUnavailableError, StatementTooLongError
from cds_service.database.statement import Dialect

_CONNECT_SECONDS = 3


class _WholeNumber(Loader):
    """`sum` of bigint is numeric in PostgreSQL: read it as int, as SQLite gives it."""

    def load(self, data: Buffer) -> int | float:
        number = Decimal(bytes(data).decode())
        return int(number) if number == number.to_integral_value() else float(number)


class PostgresDatabase(Database):
    """See `Database`."""

    dialect: Dialect = "postgres"  # type: ignore[misc]

    def __init__(self, url: str, *, limit_ms: int | None, writes_review: bool) -> None:
        """Connect. Raises DatabaseUnavailableError where the server does not let us in."""
        super().__init__()
        self._limit_ms = limit_ms or 0
        options = {
            "statement_timeout": self._limit_ms,
            "default_transaction_read_only": "off" if writes_review else "on",
            "jit": "off",  # compiling a page of the log took 3 s, running it 10 ms: each partition has a plan of its own
        }
        try:
            self._connection = psycopg.connect(
                url, autocommit=True, connect_timeout=_CONNECT_SECONDS, row_factory=dict_row, application_name="cramp-cds"
            )
            self._connection.adapters.register_loader("numeric", _WholeNumber)
            for name, value in options.items():
                self._connection.execute(f"SET {name} = '{value}'".encode())
        except psycopg.Error as error:
            raise _unavailable(error) from None

    @contextmanager
    def exclusive(self, lock: int) -> Iterator[None]:
        self.rows("SELECT pg_advisory_lock(:lock)", lock=lock)  # not inside a transaction, which sees the moment of its start
        try:
            yield
        finally:
            if self.usable:
                self.rows("SELECT pg_advisory_unlock(:lock)", lock=lock)

    @property
    def usable(self) -> bool:
        return not self._connection.closed

    def close(self) -> None:
        self._connection.close()

    def _fetch(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        with self._said():
            return self._connection.execute(sql.encode(), parameters).fetchall()

    def _execute(self, sql: str, parameters: Mapping[str, Any]) -> int:
        with self._said():
            return self._connection.execute(sql.encode(), parameters).rowcount

    def _execute_many(self, sql: str, rows: Iterable[Mapping[str, Any]]) -> None:
        with self._said(), self._connection.cursor() as cursor:
            cursor.executemany(sql.encode(), rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._said(), self._connection.transaction():
            # One moment for all that is read in it.
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except psycopg.errors.QueryCanceled:
            raise StatementTooLongError(self._limit_ms) from None
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
            raise
        except _NOT_OF_THE_STATEMENT as error:
            raise _unavailable(error) from None


# Also a user that may not do it, and a server that only reads: a standby after a failover.
_NOT_OF_THE_STATEMENT = (
    psycopg.OperationalError,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ReadOnlySqlTransaction,
)


def _unavailable(error: psycopg.Error) -> DatabaseUnavailableError:
    return DatabaseUnavailableError(f"PostgreSQL of CDS_LOG_DATABASE_URL can't be used now ({described(error)})")
