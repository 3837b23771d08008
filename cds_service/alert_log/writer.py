"""Write records into the file in one thread: group commits, retries, quarantine.

Records queue up while a commit runs; the next commit takes all of them. A record that can't be stored is quarantined, and the
others of its batch are stored. When the file can't be written, the thread tries again until it can; one that is damaged, or not
a log of this version, is set aside and a new one begun. Notes, for which nothing waits, are stored with the next commit.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from cds_service.alert_log.condition import ReplacedLogError, UnusableLogError, expect_usable
from cds_service.alert_log.headers import Headers
from cds_service.alert_log.records import CallRecord, FeedbackRecord, Note, QuarantineRecord, Record
from cds_service.alert_log.store import Archive, Store
from cds_service.clock import utc_now
from cds_service.files.damage import is_damage
from cds_service.files.set_aside import REPLACED, Reason, set_aside, set_wal_aside
from cds_service.telemetry import metrics
from cds_service.telemetry.events import Event, tell

Waiter = asyncio.Future[bool]  # of the event loop; the thread hands it back and leaves it alone otherwise
Entry = tuple[Record, Waiter | None]

_BATCH = 256  # records per commit, and as many notes
_MOST_NOTES = 10_000  # that wait for a commit; the oldest go
_FIRST_PAUSE = 0.2  # seconds before the first retry; doubles up to the longest
_LONGEST_PAUSE = 5.0
_LOOK_EVERY = 2.0  # seconds between two looks at the file behind the connection, each a third of a millisecond
_SURELY = 2  # commits of one batch, each on a connection of its own, that find the file damaged

# Errors of one record (sqlite3's InterfaceError is what a wrong type is on Python 3.11, ProgrammingError later). All other
# errors of SQLite, and OSError, are the file's.
_RECORD_ERRORS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    AttributeError,
    OverflowError,
    TypeError,
    ValueError,
)


class Writer:
    """The thread that writes, and the queue in front of it. Counts are records since start, changed by the thread only."""

    def __init__(
        self,
        path: Path,
        on_settled: Callable[[Sequence[Waiter], bool], None],
        on_failing: Callable[[], None],
        archive: Archive | None = None,
    ) -> None:
        """`on_settled(waiters, durable)` and `on_failing()` are called in the thread.

        The first reports records as stored or not, the second that the file can't be written now or that the thread ends.
        """
        self.failing = False  # the file can't be written now
        self.written = self.quarantined = self.abandoned = 0
        self.last_error = ""  # name of its class
        self._path = path
        self._archive = archive
        self._on_settled = on_settled
        self._on_failing = on_failing
        self._thread = threading.Thread(target=self._run, name="alert-log", daemon=True)
        self._entries: deque[Entry] = deque()
        self._notes: deque[Note] = deque(maxlen=_MOST_NOTES)
        self._bell: queue.SimpleQueue[bool] = queue.SimpleQueue()  # True: the notes too
        self._damaged: deque[os.stat_result] = deque()  # files that a reader found damaged
        self._closing = threading.Event()
        self._give_up_at = 0.0  # of time.monotonic
        # Used in the thread only, once it runs:
        self._store: Store | None = None
        self._headers = Headers(path)
        self._batch: list[Entry] = []
        self._gave_up = False
        self._look_at = 0.0  # of time.monotonic

    # Called on the event loop

    def start(self) -> None:
        """Open the file and start the thread; a file that can't be written now is tried again later."""
        try:
            self._store = self._opened()
        except (sqlite3.Error, OSError) as error:
            self._record_failure(error)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def queued(self) -> int:
        """Return how many records wait for a commit to begin."""
        return len(self._entries)

    @property
    def waiting(self) -> int:
        """Return how many records are not durable yet."""
        return len(self._entries) + sum(not isinstance(record, Note) for record, _ in tuple(self._batch))

    def put(self, entries: Iterable[Entry]) -> None:
        """Queue records for the next commit and wake the thread."""
        self._entries.extend(entries)
        self._bell.put(False)

    def note(self, note: Note) -> None:
        """Keep a note for the next commit."""
        self._notes.append(note)

    @property
    def has_notes(self) -> bool:
        return bool(self._notes)

    def write_notes(self) -> None:
        """Wake the thread to write the notes that wait."""
        self._bell.put(True)

    def report_damage(self, file: os.stat_result) -> None:
        """Have the file set aside that a reader found damaged, unless it is another one by now. For any thread."""
        self._damaged.append(file)
        self._bell.put(False)

    def drop_oldest(self) -> Entry | None:
        """Take the oldest record out of the queue; None where it is empty."""
        with suppress(IndexError):
            return self._entries.popleft()
        return None

    def finish(self, grace: float) -> None:
        """Tell the thread to write what is queued and to end, after `grace` seconds at the latest."""
        self._give_up_at = time.monotonic() + grace
        self._closing.set()
        self._bell.put(True)

    def join(self, timeout: float) -> None:
        """Wait for the end of the thread, at most so many seconds."""
        self._thread.join(timeout)

    # In the thread

    def _run(self) -> None:
        try:
            while not self._finished():
                all_notes = self._bell.get()
                self._set_aside_reported()
                while self._entries or (self._notes and (all_notes or self._closing.is_set()) and not self._gave_up):
                    self._write_batch()
            if self.abandoned:
                tell(Event.LOG_LOST, count=self.abandoned, state="it can not be written")
        finally:
            error = sys.exc_info()[0]
            if error is not None:
                self.last_error = error.__name__
                tell(Event.LOG_ENDED, error=error.__name__)
            if self._store is not None:
                self._store.close()
            self._headers.close()
            self._on_failing()

    def _finished(self) -> bool:
        # In this order: when the log is closing, nothing is put into the queue any more.
        return self._closing.is_set() and not self._entries and (self._gave_up or not self._notes)

    def _write_batch(self) -> None:
        with suppress(IndexError):  # the event loop may take the oldest away
            while len(self._batch) < _BATCH:
                self._batch.append(self._entries.popleft())
        with suppress(IndexError):  # the oldest may have gone meanwhile
            for _ in range(min(_BATCH, len(self._notes))):
                self._batch.append((self._notes.popleft(), None))
        self._write(self._batch)
        self._batch = []

    def _write(self, entries: Sequence[Entry]) -> None:
        """Write the entries in order; halve them to find one that can't be stored."""
        try:
            durable = self._commit([record for record, _ in entries])
        except _RECORD_ERRORS as error:
            if len(entries) > 1:
                middle = len(entries) // 2
                self._write(entries[:middle])
                self._write(entries[middle:])
            else:
                self._quarantine(entries[0], error)
            return
        count = sum(not isinstance(record, Note) for record, _ in entries)
        if durable:
            self.written += count
            metrics.LOG_RECORDS.labels("written").inc(count)
            self._on_settled([waiter for _, waiter in entries if waiter is not None], True)
        else:
            self.abandoned += count
            metrics.LOG_RECORDS.labels("lost").inc(count)

    def _commit(self, records: Sequence[Record]) -> bool:
        """Try until the records are durable. False when the log closes before. Raises the errors of a record."""
        pause, damage = _FIRST_PAUSE, 0
        while not self._gave_up:
            try:
                if self._store is None:
                    self._store = self._opened()
                    self._store.settle()
                    stored = self._store.stored(records)  # a commit that failed may have reached the disk nevertheless
                else:
                    self._look_at_file()
                    stored = False
                if not stored:
                    self._store.append(records)
            except _RECORD_ERRORS:
                raise
            except (sqlite3.Error, OSError) as error:
                store = self._store
                self._record_failure(error)
                self._on_failing()
                damage += is_damage(error)
                if store is not None and isinstance(error, ReplacedLogError):
                    self._set_wal_aside(store)
                if store is not None and (damage == _SURELY or isinstance(error, UnusableLogError)):
                    reason = error.reason if isinstance(error, UnusableLogError) else "damaged"
                    if self._set_aside(reason, store.file):
                        continue
                self._pause(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                if self.failing:
                    self.failing = False
                    tell(Event.LOG_WRITABLE)
                return True
        return False

    def _look_at_file(self) -> None:
        """Raise UnusableLogError where the file is damaged: SQLite writes on from the pages that it has in memory.

        Its header is read before every commit, which costs microseconds; SQLite is asked now and then. A file that a newer
        program has brought to its schema meanwhile is that program's: it is not taken away from it.
        """
        if self._store is not None:
            self._headers.expect_untouched(self._store.file)
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_EVERY
        try:
            expect_usable(self._path)
        except UnusableLogError as error:
            if error.reason != "newer":
                raise

    def _opened(self) -> Store:
        """Open the file; set aside what can never be the log, and begin a new one."""
        try:
            file = self._path.stat()
        except OSError:
            return Store(self._path, self._archive)
        try:
            self._headers.expect_no_copy()
            return Store(self._path, self._archive)
        except sqlite3.DatabaseError as error:
            reason: Reason | None = (
                error.reason if isinstance(error, UnusableLogError) else "damaged" if is_damage(error) else None
            )
            if reason is None or not self._set_aside(reason, file):
                raise
        return Store(self._path, self._archive)

    def _set_aside(self, reason: Reason, file: os.stat_result) -> bool:
        """Move the file out of the way unless another process has done so; say whether another one can be opened now."""
        try:
            kept = set_aside(self._path, reason, utc_now(), file)
        except OSError as error:
            self._record_failure(error)
            return False
        if kept is not None:
            metrics.LOG_SET_ASIDE.labels(reason).inc()
            tell(Event.LOG_SET_ASIDE, why=reason, file=str(self._path), kept=str(kept))
        return True

    def _set_wal_aside(self, store: Store) -> None:
        """Move the write-ahead log of a file that was replaced out of the way of its successor."""
        try:
            kept = set_wal_aside(self._path, utc_now(), store.file, store.wal)
        except OSError as error:
            self._record_failure(error)
            return
        if kept is not None:
            metrics.LOG_SET_ASIDE.labels(REPLACED).inc()
            tell(Event.LOG_SET_ASIDE, why=REPLACED, file=str(self._path), kept=str(kept))

    def _set_aside_reported(self) -> None:
        while self._damaged:
            file = self._damaged.popleft()
            if self._store is not None and os.path.samestat(file, self._store.file):
                self._store.close()
                self._store = None
                if self._set_aside("damaged", file):
                    with suppress(sqlite3.Error, OSError):  # the next commit tries again, and says what is wrong
                        self._store = self._opened()

    def _record_failure(self, error: Exception) -> None:
        """Log the failure and close the connection, as after a disk error only a new one shows the file."""
        if self._store is not None:
            self._store.close()
            self._store = None
        self.last_error = type(error).__name__
        if not self.failing:
            code = getattr(error, "sqlite_errorname", "")
            tell(Event.LOG_UNWRITABLE, error=self.last_error, code=code, file=str(self._path))
        self.failing = True

    def _pause(self, seconds: float) -> None:
        """Wait for the next try; a closing log tries at once, then until its grace ends."""
        if not self._closing.is_set():
            self._closing.wait(seconds)
            return
        left = self._give_up_at - time.monotonic()
        if left <= 0:
            self._gave_up = True
        else:
            time.sleep(min(seconds, left))

    def _quarantine(self, entry: Entry, error: Exception) -> None:
        """Store the trace of a record that can't be stored: its id and the class of the error."""
        record, waiter = entry
        if isinstance(record, CallRecord):
            record_id = record.id.hex()
        elif isinstance(record, FeedbackRecord):
            record_id = ascii(record.card_uuid)[1:-1]
        elif isinstance(record, QuarantineRecord):
            record_id = ""
        else:  # a withdrawal or a note: its call was quarantined for the same error
            return
        kind: Literal["call", "feedback"] = "call" if isinstance(record, CallRecord) else "feedback"
        self.quarantined += 1
        metrics.LOG_RECORDS.labels("quarantined").inc()
        self.last_error = type(error).__name__
        if isinstance(record, CallRecord):
            tell(Event.LOG_QUARANTINED, kind=kind, record=record_id, error=self.last_error)
        else:  # the uuid of its card is what was sent, and may be anything
            tell(Event.LOG_QUARANTINED, kind=kind, error=self.last_error)
        if waiter is not None:
            self._on_settled([waiter], False)
        try:
            self._commit([QuarantineRecord(utc_now(), kind, record_id, self.last_error)])
        except _RECORD_ERRORS as of_trace:  # it is counted and told without its trace in the file
            self.last_error = type(of_trace).__name__
            tell(Event.LOG_QUARANTINED, kind="trace", error=self.last_error)
