"""Open the file of the alert log and append to it.

Several processes may append to one file and others may read it meanwhile (WAL). A commit is on the disk when it returns
(`synchronous=FULL`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from cds_service.alert_log.commit_lock import CommitLock
from cds_service.alert_log.compression import PACKAGED, Compressor, dictionary_id
from cds_service.alert_log.condition import ReplacedLogError, expect_usable
from cds_service.alert_log.instants import micros
from cds_service.alert_log.records import CallRecord, FeedbackRecord, Record
from cds_service.alert_log.rows import Rows
from cds_service.alert_log.schema import migrate
from cds_service.clock import Clock, utc_now
from cds_service.files.set_aside import wal_of

_BUSY_MS = 5_000


class Archive(msgspec.Struct, frozen=True):
    """The knowledge that the process runs with, to be kept in the file by its hash."""

    hash: str
    pack: Callable[[], bytes]  # called where the file does not have it yet
    clock: Clock = utc_now  # says since when the file has it


class Store:
    """One connection that appends; any thread may use it, one at a time.

    `file`: which file it has open; `wal`: its write-ahead log.
    """

    def __init__(self, path: Path, archive: Archive | None = None) -> None:
        """Open the file, making it (0600) and its folder (0700) where missing, and migrate its schema.

        Raises UnusableLogError for what can never be the log, which is left as it is; other sqlite3.DatabaseErrors for damage
        that shows later; sqlite3.OperationalError or OSError where the file can't be opened or written now.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._lock = CommitLock(path)
        try:
            with self._lock:  # the file is not set aside meanwhile: its write-ahead log would become that of its successor
                expect_usable(path)
                if not path.exists():
                    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))  # WAL and shared memory files get its mode
                self._connection = self._connected()
                self.file = path.stat()
                self.wal = wal_of(path).stat()
        except BaseException:
            self._lock.close()
            raise
        try:
            self._rows = Rows(self._connection, Compressor(self._dictionary()))
            self._keep(archive)
        except BaseException:
            self.close()
            raise

    def append(self, records: Sequence[Record]) -> None:
        """Store all records durably in one transaction, or none of them.

        They keep their order. A call whose digest is that of one of the last minute, which this connection wrote or which is
        among the patient's latest 100 that are no repeats, is stored as a repeat of it, without cards. Raises
        sqlite3.OperationalError where the file can't be written; sqlite3.IntegrityError for a call id that is already there;
        other sqlite3 errors, TypeError, ValueError or OverflowError for a record that can't be stored.
        """
        with self.transaction() as rows:
            rows.add(records)

    @contextmanager
    def transaction(self) -> Iterator[Rows]:
        """Commit durably what is added inside, or nothing where it raises."""
        with self._lock:
            self._expect_the_file()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._rows.begin()
                yield self._rows
                self._rows.end()
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # some errors have rolled back already
                    self._connection.execute("ROLLBACK")
                self._rows.forget()
                raise

    def _connected(self) -> sqlite3.Connection:
        """Connect and bring the schema up to date."""
        connection = sqlite3.connect(self._path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _dictionary(self) -> bytes:
        """Return the newest dictionary of the file, into which the one of this program is put where it is missing."""
        packaged = PACKAGED.read_bytes()
        known = "SELECT 1 FROM dictionary WHERE id = ?"
        number = dictionary_id(packaged)
        if self._connection.execute(known, (number,)).fetchone() is None:
            row = (number, micros(utc_now()), packaged)
            self._connection.execute("INSERT INTO dictionary VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)
        newest = "SELECT content FROM dictionary ORDER BY made_at DESC, id LIMIT 1"
        return bytes(self._connection.execute(newest).fetchone()[0])

    def _keep(self, archive: Archive | None) -> None:
        """Put the knowledge into the file, once for each of its versions."""
        if archive is None:
            return
        known = "SELECT 1 FROM knowledge JOIN name ON name.id = hash WHERE text = ?"
        if self._connection.execute(known, (archive.hash,)).fetchone() is not None:
            return
        packed = archive.pack()
        self._connection.execute("BEGIN IMMEDIATE")
        row = (self._rows.names[archive.hash], micros(archive.clock()), packed)
        self._connection.execute("INSERT INTO knowledge VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)
        self._connection.execute("COMMIT")

    def _expect_the_file(self) -> None:
        """Raise ReplacedLogError where the file was removed or replaced, because readers would not find new records."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            raise ReplacedLogError from None
        if not os.path.samestat(found, self.file):
            raise ReplacedLogError

    def settle(self) -> None:
        """Make durable what an earlier connection may have left undone. To be called after an error of the disk.

        A page of the write-ahead log whose sync failed may be in memory, never be written by a later sync, and make all pages
        after it worthless. So all of it is written into the file and synced there, and the write-ahead log starts anew. Raises
        sqlite3.OperationalError where that fails, TimeoutError where readers keep it from happening now.
        """
        busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise TimeoutError("the write-ahead log can't be emptied")

    def stored(self, records: Sequence[Record]) -> bool:
        """Say whether these records, which are stored together or not at all, are in the file."""
        known = next((one for one in records if isinstance(one, CallRecord | FeedbackRecord)), None)
        return known is not None and self._rows.holds(known)

    def close(self) -> None:
        self._connection.close()
        self._lock.close()
