"""The log and review files of SQLite, both attached to one connection."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cds_service.database.database import Database, Row
from cds_service.database.errors import DatabaseUnavailableError, StatementTooLongError
from cds_service.database.statement import Dialect

_BUSY_MS = 5_000
_LOOK_EVERY = 5_000  # instructions of SQLite's machine between two looks at the clock: about 0.2 ms
CACHE_MB = 32  # for each file


class SqliteDatabase(Database):
    """See `Database`. The log is opened read-only, whatever is done with the other file."""

    dialect: Dialect = "sqlite"  # type: ignore[misc]

    def __init__(
        self, log_path: Path, review_path: Path, *, limit_ms: int | None, writes_review: bool, cache_mb: int = CACHE_MB
    ) -> None:
        """Attach both files; the review file is made (0600) where it is missing and `writes_review`.

        Raises DatabaseUnavailableError where a file is missing or can't be opened.
        """
        super().__init__()
        self._limit_ms = limit_ms
        self._files: dict[Path, os.stat_result] = {}
        self._ends_at: float | None = None
        self._cache_kib = cache_mb * 1024
        if not log_path.exists():
            raise DatabaseUnavailableError(f"there is no alert log at {log_path}")
        if writes_review:
            review_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(review_path)
        elif not review_path.exists():
            raise DatabaseUnavailableError(f"there is no review database at {review_path}; `cds-service log rollup` makes it")
        self._connection = sqlite3.connect(
            "file::memory:", uri=True, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False
        )
        self._connection.row_factory = _as_dict
        try:
            with _said():
                self._attach("log", log_path, "ro")
                self._attach("review", review_path, "rwc" if writes_review else "ro")
                if writes_review:
                    self._connection.execute("PRAGMA review.journal_mode = WAL")
                    self._connection.execute("PRAGMA review.synchronous = FULL")
                    self._connection.execute("PRAGMA review.secure_delete = ON")  # counts by user hold hashes of people
        except BaseException:
            self._connection.close()
            raise
        if limit_ms is not None:
            self._connection.set_progress_handler(self._too_long, _LOOK_EVERY)

    def _attach(self, name: str, path: Path, mode: str) -> None:
        self._connection.execute(f"ATTACH ? AS {name}", (f"{path.resolve().as_uri()}?mode={mode}",))
        self._connection.execute(f"PRAGMA {name}.cache_size = -{self._cache_kib}")
        self._files[path] = path.stat()

    @property
    def usable(self) -> bool:
        """Return whether both files are still the ones under their paths: a log can be set aside or restored meanwhile."""
        try:
            return all(os.path.samestat(path.stat(), file) for path, file in self._files.items())
        except FileNotFoundError:
            return False

    def close(self) -> None:
        self._connection.close()

    def _too_long(self) -> bool:
        return self._ends_at is not None and time.monotonic() > self._ends_at

    @contextmanager
    def _limited(self) -> Iterator[None]:
        if self._limit_ms is None:
            with _said():
                yield
            return
        self._ends_at = time.monotonic() + self._limit_ms / 1000
        try:
            with _said(self._limit_ms):
                yield
        finally:
            self._ends_at = None

    def _fetch(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        with self._limited():
            return self._connection.execute(sql, parameters).fetchall()

    def _execute(self, sql: str, parameters: Mapping[str, Any]) -> int:
        with self._limited():
            return self._connection.execute(sql, parameters).rowcount

    def _execute_many(self, sql: str, rows: Iterable[Mapping[str, Any]]) -> None:
        with self._limited():
            self._connection.executemany(sql, rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE waits for the write lock of the review file and takes a snapshot of the log, which is read-only.
        with self._limited():
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            with _said():
                self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # some errors have rolled back already
                self._connection.execute("ROLLBACK")
            raise


def _make(path: Path) -> None:
    """Make an empty file where there is none, with a mode that its -wal and -shm get too.

    A file that is there is not opened: closing a second descriptor of it would drop the locks that all connections of this
    process hold on it. Another process would then take its write-ahead log away from under them.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _as_dict(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> Row:
    return dict(zip([column[0] for column in cursor.description], values, strict=True))


@contextmanager
def _said(limit_ms: int = 0) -> Iterator[None]:
    """Raise SQLite's errors as those of this package; errors of a statement itself stay what they are."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise StatementTooLongError(limit_ms) from None
        if error.sqlite_errorcode in _AWAY:
            raise DatabaseUnavailableError(f"the database file can't be used now ({error})") from None
        raise
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode in _BROKEN:
            raise DatabaseUnavailableError(f"not a usable SQLite file ({error})") from None
        raise


_AWAY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY_SNAPSHOT,
    sqlite3.SQLITE_IOERR,
}
_BROKEN = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
