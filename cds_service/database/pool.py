"""Lend connections to the threads that draw pages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cds_service.database.database import Database
from cds_service.database.errors import DatabaseUnavailableError

_WAIT_SECONDS = 2.0


class DatabasePool:
    """At most `size` connections, opened when first needed and kept; each is lent to one thread at a time."""

    def __init__(self, open_one: Callable[[], Database], size: int = 4) -> None:
        """`open_one`: opens a connection; its errors reach the borrower."""
        self._open = open_one
        self._free: list[Database] = []
        self._left = threading.BoundedSemaphore(size)

    @contextmanager
    def borrow(self) -> Iterator[Database]:
        """Lend a connection. Raises DatabaseUnavailableError where none comes free in two seconds, or what opening raises."""
        if not self._left.acquire(timeout=_WAIT_SECONDS):
            raise DatabaseUnavailableError("all connections to the database are in use")
        try:
            database = self._taken()
            try:
                yield database
            finally:
                if database.usable:
                    self._free.append(database)
                else:
                    database.close()
        finally:
            self._left.release()

    def _taken(self) -> Database:
        while True:
            try:
                database = self._free.pop()
            except IndexError:
                return self._open()
            if database.usable:
                return database
            database.close()

    def close(self) -> None:
        """Close the connections that are not lent."""
        while self._free:
            self._free.pop().close()
