"""What readers of the log and writers of the review database have in hand, whichever the database is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

from cds_service.database.names import Names
from cds_service.database.statement import Dialect, prepared

Row = dict[str, Any]


class Database(ABC):
    """One connection to the schemas `log` (only read) and `review`; any thread may use it, one at a time.

    SQL is that which SQLite and PostgreSQL share, with `:name` parameters: `count(*) FILTER (WHERE ...)`, `ON CONFLICT`,
    window functions, `WITH ... AS MATERIALIZED`; no `max(a, b)`, no JSON functions, no date functions. Truth values are the
    integers 0 and 1. Sums come back as int.

    Each method raises StatementTooLongError for a statement that runs longer than the limit of the connection, and
    DatabaseUnavailableError where the file is locked or the connection was lost.
    """

    dialect: ClassVar[Dialect]
    names: Names

    def __init__(self) -> None:
        """See `open_database`."""
        self.names = Names(self.one)

    def rows(self, sql: str, **parameters: Any) -> list[Row]:
        """Return all rows, each by column name."""
        return self._fetch(*prepared(sql, parameters, self.dialect))

    def one(self, sql: str, **parameters: Any) -> Row | None:
        """Return the first row, None where there is none."""
        found = self.rows(sql, **parameters)
        return found[0] if found else None

    def execute(self, sql: str, **parameters: Any) -> int:
        """Run a statement; return how many rows it changed."""
        return self._execute(*prepared(sql, parameters, self.dialect))

    def execute_many(self, sql: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run a statement once for each row of parameters (no lists for `IN` here)."""
        self._execute_many(prepared(sql, {}, self.dialect)[0], rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all or nothing; what is read in it is of one moment. Not nested."""
        with self._transaction():
            yield

    def exclusive(self, lock: int) -> AbstractContextManager[None]:
        """Let one process at a time do what is inside. `lock`: which one, a number of the caller's.

        In SQLite nothing is locked: transactions that write follow each other anyway.
        """
        return nullcontext()

    @property
    @abstractmethod
    def usable(self) -> bool:
        """Return whether the connection has not been lost."""

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def _fetch(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]: ...

    @abstractmethod
    def _execute(self, sql: str, parameters: Mapping[str, Any]) -> int: ...

    @abstractmethod
    def _execute_many(self, sql: str, rows: Iterable[Mapping[str, Any]]) -> None: ...

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[None]: ...
