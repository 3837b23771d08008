"""The one thread that writes the log, and how a request waits for it.

Records queue up while a commit runs; the next commit takes all of them (group commit). A request waits until its record is
durable, unless the log can't be written: then it goes on at once and the record waits in memory for a retry. The clinician
never waits for a broken disk, and nothing is dropped without being counted.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from cds_service import metrics
from cds_service.alert_log.prior import TIME_LIMIT, PriorCards
from cds_service.alert_log.records import CallRecord, FeedbackRecord, PriorRecord, QuarantineRecord
from cds_service.alert_log.store import Record, Store
from cds_service.clock import utc_now
from cds_service.events import Event, tell

_BATCH = 256  # records per commit
_FIRST_PAUSE = 0.2  # seconds before the first retry; doubles up to the longest
_LONGEST_PAUSE = 5.0

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

_Entry = tuple[Record, "asyncio.Future[bool] | None"]


class LogHealth(msgspec.Struct, frozen=True, gc=False):
    """The log as this process sees it. Counts are records since start."""

    state: Literal["ok", "degraded", "failed"]  # degraded: answers leave before they are logged; failed: nothing is logged
    waiting: int  # in memory, not durable yet
    lost: int  # dropped from memory because too many waited or the service ended
    quarantined: int  # could not be stored whatever the state of the file; listed in the table `quarantine`
    last_error: str  # class name of the latest error, "" for none
    written: int
    unanswered: int  # times that it was not known which cards were shown before; the cards were shown then


class AlertLog:
    """Appends to the log of one event loop. All methods are called on that loop."""

    def __init__(
        self,
        path: Path,
        *,
        max_waiting_calls: int = 10_000,
        patience: float = 1.0,
        grace: float = 10.0,
        prior_limit: float = TIME_LIMIT,
    ) -> None:
        """`patience`: seconds that an answer waits for its record; `grace`: seconds that `close` waits for the last ones;
        `prior_limit`: seconds that an answer waits to hear which cards were shown before.
        """
        self._path = path
        self._prior = PriorCards(path, prior_limit)
        self._max_waiting = max_waiting_calls
        self._patience = patience
        self._grace = grace
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="alert-log", daemon=True)
        self._store: Store | None = None
        # Written by the event loop only:
        self._unsettled: deque[tuple[float, asyncio.Future[bool]]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._stalled = False
        self._dropped = 0
        # Written by the thread only:
        self._batch: Sequence[_Entry] = ()
        self._failing = False
        self._gave_up = False
        self._written = self._quarantined = self._abandoned = 0
        self._last_error = ""
        self._closing = threading.Event()
        self._give_up_at = 0.0

    def start(self) -> None:
        """Open the file and start the thread. A file that can't be written now is retried; the log is degraded meanwhile.

        Raises SchemaMismatchError for a file of a newer program, sqlite3.DatabaseError for a file that is no database.
        """
        self._loop = asyncio.get_running_loop()
        try:
            self._store = Store(self._path)
        except (sqlite3.OperationalError, OSError) as error:
            self._note_failure(error)
        self._thread.start()

    async def close(self) -> None:
        """Write what waits, for at most `grace` seconds; the rest is counted as lost and said in the service's log."""
        await self._prior.close()
        if not self._thread.is_alive():
            return
        self._give_up_at = time.monotonic() + self._grace
        self._closing.set()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, self._grace + 1)
        if self._thread.is_alive():
            tell(Event.LOG_LOST, count=self.health().waiting, state="a commit hangs")
        self._release()
        if self._watch is not None:
            self._watch.cancel()

    async def append(self, record: CallRecord) -> bool:
        """Log a call. True: it is durable. False: it is not, and `health` says whether it waits, is quarantined or lost."""
        waiter = self._put(record)
        return waiter is not None and await waiter

    async def append_feedback(self, records: Sequence[FeedbackRecord | QuarantineRecord]) -> bool:
        """Log feedback in this order, and items of it that could not be read. True: all of it is durable."""
        waiters = [self._put(record) for record in records]
        return all([waiter is not None and await waiter for waiter in waiters])

    async def prior_cards(self, patient_key: str, client: str, since: Mapping[str, datetime]) -> list[PriorRecord]:
        """Live cards shown to `client` about a patient, newest first for each card id in `since`, no older than it says (aware).

        Nothing, and counted in `health`, where the file can't say so in time: then the card is shown.
        """
        return await self._prior.find(patient_key, client, since)

    def health(self) -> LogHealth:
        state: Literal["ok", "degraded", "failed"] = "ok"
        if not self._thread.is_alive():
            state = "failed"
        elif self._failing or self._stalled:
            state = "degraded"
        return LogHealth(
            state=state,
            waiting=self._queue.qsize() + len(self._batch),
            lost=self._dropped + self._abandoned,
            quarantined=self._quarantined,
            last_error=self._last_error,
            written=self._written,
            unanswered=self._prior.unanswered,
        )

    # On the event loop

    def _put(self, record: Record) -> asyncio.Future[bool] | None:
        if self._closing.is_set() or not self._thread.is_alive():
            self._dropped += 1
            metrics.LOG_RECORDS.labels("lost").inc()
            return None
        if self._queue.qsize() >= self._max_waiting:
            self._drop_oldest()
        if self._failing or self._stalled:
            self._queue.put((record, None))
            return None
        waiter = self._loop.create_future()
        self._unsettled.append((self._loop.time() + self._patience, waiter))
        if self._watch is None:
            self._watch = self._loop.call_later(self._patience, self._look_for_stall)
        self._queue.put((record, waiter))
        return waiter

    def _drop_oldest(self) -> None:
        with suppress(queue.Empty):
            entry = self._queue.get_nowait()
            if not self._dropped:
                tell(Event.LOG_FULL, count=self._max_waiting)
            self._dropped += 1
            metrics.LOG_RECORDS.labels("lost").inc()
            if entry is not None and entry[1] is not None:
                _settle((entry[1],), durable=False)

    def _look_for_stall(self) -> None:
        """A commit that neither ends nor fails (a hanging disk) holds up no answer for longer than `patience`."""
        now = self._loop.time()
        while self._unsettled and (self._unsettled[0][1].done() or self._unsettled[0][0] <= now):
            _, waiter = self._unsettled.popleft()
            if not waiter.done():
                waiter.set_result(False)
                self._stalled = True
        self._watch = self._loop.call_at(self._unsettled[0][0], self._look_for_stall) if self._unsettled else None

    def _release(self) -> None:
        """Let every answer go that waits for the log."""
        _settle([waiter for _, waiter in self._unsettled], durable=False)
        self._unsettled.clear()

    def _committed(self, waiters: Iterable[asyncio.Future[bool]]) -> None:
        self._stalled = False
        _settle(waiters, durable=True)

    # In the thread

    def _run(self) -> None:
        try:
            while self._write_next():
                pass
            if self._abandoned:
                tell(Event.LOG_LOST, count=self._abandoned, state="it can not be written")
        finally:
            error = sys.exc_info()[0]
            if error is not None:
                self._last_error = error.__name__
                tell(Event.LOG_ENDED, error=error.__name__)
            if self._store is not None:
                self._store.close()
            self._on_loop(self._release)

    def _write_next(self) -> bool:
        """Write what waits, up to a batch. False when the log is closed."""
        first = self._queue.get()
        if first is None:
            return False
        batch = [first]
        go_on = True
        with suppress(queue.Empty):
            while go_on and len(batch) < _BATCH:
                entry = self._queue.get_nowait()
                if entry is None:
                    go_on = False
                else:
                    batch.append(entry)
        self._batch = batch
        self._write(batch)
        self._batch = ()
        return go_on

    def _write(self, entries: Sequence[_Entry]) -> None:
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
        if durable:
            self._written += len(entries)
            metrics.LOG_RECORDS.labels("written").inc(len(entries))
            self._on_loop(self._committed, [waiter for _, waiter in entries if waiter is not None])
        else:
            self._abandoned += len(entries)
            metrics.LOG_RECORDS.labels("lost").inc(len(entries))

    def _commit(self, records: Sequence[Record]) -> bool:
        """Try until the records are durable. False when the service ends before. Raises the errors of a record."""
        pause = _FIRST_PAUSE
        while not self._gave_up:
            try:
                if self._store is None:
                    self._store = Store(self._path)
                    # A commit that failed may have reached the disk nevertheless.
                    stored = self._store.stored(record.id for record in records if isinstance(record, CallRecord))
                    records = [record for record in records if not (isinstance(record, CallRecord) and record.id in stored)]
                self._store.append(records)
            except _RECORD_ERRORS:
                raise
            except (sqlite3.Error, OSError) as error:
                self._note_failure(error)
                self._on_loop(self._release)
                self._pause(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                if self._failing:
                    self._failing = False
                    tell(Event.LOG_WRITABLE)
                return True
        return False

    def _note_failure(self, error: Exception) -> None:
        """The connection is closed: after an error of the disk only a new one says what is really in the file."""
        if self._store is not None:
            self._store.close()
            self._store = None
        self._last_error = type(error).__name__
        if not self._failing:
            code = getattr(error, "sqlite_errorname", "")
            tell(Event.LOG_UNWRITABLE, error=self._last_error, code=code)
        self._failing = True

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

    def _quarantine(self, entry: _Entry, error: Exception) -> None:
        record, waiter = entry
        kind: Literal["call", "feedback"] = "call" if isinstance(record, CallRecord) else "feedback"
        record_id = ascii(getattr(record, "id", "") or getattr(record, "card_uuid", ""))[1:-1]
        self._quarantined += 1
        metrics.LOG_RECORDS.labels("quarantined").inc()
        self._last_error = type(error).__name__
        if isinstance(record, CallRecord):
            tell(Event.LOG_QUARANTINED, kind=kind, record=record_id, error=self._last_error)
        else:  # the uuid of its card is what was sent, and may be anything
            tell(Event.LOG_QUARANTINED, kind=kind, error=self._last_error)
        if waiter is not None:
            self._on_loop(_settle, (waiter,), False)
        self._commit([QuarantineRecord(utc_now(), kind, record_id, self._last_error)])

    def _on_loop(self, function: Callable[..., None], *args: Any) -> None:
        with suppress(RuntimeError):  # a closed loop has nobody who waits
            self._loop.call_soon_threadsafe(function, *args)


def _settle(waiters: Iterable[asyncio.Future[bool]], durable: bool) -> None:
    for waiter in waiters:
        if not waiter.done():  # a disconnected client cancels, an impatient one went on
            waiter.set_result(durable)
