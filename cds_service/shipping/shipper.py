"""Ship the log's file to PostgreSQL in a thread: batches, pauses after failures, deletion of what is shipped and old.

Whatever happens to PostgreSQL costs lag and nothing else: no answer and no record waits for this thread.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg

from cds_service.alert_log.deletion import Deletion
from cds_service.alert_log.instants import micros
from cds_service.alert_log.schema import SchemaMismatchError
from cds_service.clock import Clock, utc_now
from cds_service.database.causes import cause_of, described
from cds_service.shipping.link import Link, Moved, RecordRefusedError
from cds_service.shipping.log_file import LogFile
from cds_service.shipping.own_ids import DictionaryConflictError
from cds_service.shipping.schema import NewerSchemaError
from cds_service.shipping.ship_lock import ShipLock
from cds_service.shipping.state import ShippingHealth, State
from cds_service.telemetry import metrics
from cds_service.telemetry.events import Event, tell

BATCH = 2_000  # records of one transaction, where the database is quick
KEPT = timedelta(days=7)  # that a shipped record stays in the file, for a PostgreSQL that is restored from a backup

_SLOW, _QUICK = 1.0, 0.25  # seconds of a batch: above, the next is half as large; below, twice
_IDLE = 0.5  # seconds between two looks at a file of which everything is shipped
_REPORT = 15.0  # seconds after which readers hear from a shipper that has nothing to move
_STANDBY = 5.0  # seconds until a process asks for the lock again
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds after failures, each twice the one before
_STOPPED = 60.0  # seconds between two looks at a schema that does not fit
_CLEAN_EVERY, _CLEAN_FOR = 3600.0, 2.0  # seconds between deletions of old records, and how long one goes on before shipping

_MISFITS = (SchemaMismatchError, NewerSchemaError, DictionaryConflictError)


class Shipper:
    """The thread that ships one file to one database, where no other process of this machine does."""

    def __init__(
        self,
        path: Path,
        url: str,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        shares: bool = True,
    ) -> None:
        """Connects to nothing yet. `shares`: leave the work to another process that has the ship lock."""
        self._path = path
        self._url = url
        self._clock = clock
        self._monotonic = monotonic
        self._lock = ShipLock(path) if shares else None
        self._thread: threading.Thread | None = None  # made at the start: one made before a fork would never run
        self._stopping = threading.Event()
        self._give_up_at = 0.0  # of `monotonic`, once it is stopping
        self._state: State = "starting"
        self._counts = dict.fromkeys(("shipped", "refused", "untrue", "restored", "deleted"), 0)
        self._last_error = ""
        self._waiting: int | None = None
        self._through: int | None = None  # the watermark, once it is known
        self._complete_at = monotonic()  # when everything was last in PostgreSQL; the start, until that is known
        # Used in the thread only:
        self._link: Link | None = None
        self._size = BATCH
        self._pause = _FIRST_PAUSE
        self._reported_at = self._cleaned_at = float("-inf")

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="log-shipping", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 2.0) -> None:
        """Ship what is left, for so many seconds, and end the thread. The rest is shipped after the next start.

        A statement that hangs is left behind.
        """
        self._give_up_at = self._monotonic() + seconds / 2
        self._stopping.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(seconds / 2)
            if self._thread.is_alive() and (link := self._link) is not None:
                link.cancel()
                self._thread.join(seconds / 2)

    def health(self) -> ShippingHealth:
        lag = self._monotonic() - self._complete_at if self._waiting != 0 and self._state != "standby" else 0.0
        waiting = None if self._state == "standby" else self._waiting
        return ShippingHealth(
            state=self._state, waiting=waiting, lag_seconds=round(lag, 3), last_error=self._last_error, **self._counts
        )

    def step(self) -> float:
        """Move one batch, or find out why that can't be done. Return the seconds until the next step. For one thread."""
        try:
            if self._lock is not None and not self._lock.take():
                self._state = "standby"
                return _STANDBY
            if self._link is None:
                self._link = Link(self._path, self._url)
                self._remember(self._link)
            return self._move(self._link)
        except _MISFITS as error:
            self._fail("stopped", error)
            return _STOPPED
        except (psycopg.Error, sqlite3.Error, OSError) as error:
            self._fail("failing", error)
            if isinstance(error, psycopg.errors.QueryCanceled):  # it took too long
                self._size = max(1, self._size // 2)
            pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
            return pause

    def close(self) -> None:
        """Close the connections. For the thread that calls `step`."""
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._lock is not None:
            self._lock.release()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self.step()):
                pass
            # The log is closed by now: what came at its end is shipped, too, as this machine may be gone soon.
            while self._link is not None and self.step() == 0.0 and self._monotonic() < self._give_up_at:
                pass
        finally:
            self._state = "failing"
            self.close()

    def _move(self, link: Link) -> float:
        began = self._monotonic()
        try:
            moved = link.move(self._size, self._clock(), self._waiting_since())
        except RecordRefusedError as refusal:
            self._narrow_down(link, str(refusal))
            return 0.0
        self._working()
        self._note(moved, began)
        if moved.records:
            self._fit_size(self._monotonic() - began)
        if moved.restored or not moved.whole:
            self._waiting = link.file.source().last_seq - moved.through
            return 0.0
        self._waiting, self._complete_at = 0, began
        self._do_when_idle(link, moved.through)
        return _IDLE

    def _narrow_down(self, link: Link, error: str) -> None:
        """Halve the batch that holds a refused record, until it is that record alone, which is left out."""
        self._working()
        if self._size > 1:
            self._size //= 2
            return
        kind = link.set_aside(error, self._clock())
        if kind:
            self._count("refused", 1)
            metrics.SHIPPING_RECORDS.labels("refused").inc()
            tell(Event.SHIPPING_REFUSED, kind=kind, error=error)

    def _note(self, moved: Moved, began: float) -> None:
        self._through = moved.through
        self._count("shipped", moved.records)
        metrics.SHIPPING_RECORDS.labels("shipped").inc(moved.records)
        if moved.records:
            self._reported_at = began
        if moved.restored:
            self._count("restored", 1)
            tell(Event.SHIPPING_RESTORED)
        if moved.untrue:
            self._count("untrue", moved.untrue)
            metrics.SHIPPING_UNTRUE.inc(moved.untrue)
            tell(Event.SHIPPING_UNTRUE, count=moved.untrue)

    def _fit_size(self, seconds: float) -> None:
        if seconds > _SLOW:
            self._size = max(1, self._size // 2)
        elif seconds < _QUICK:
            self._size = min(BATCH, 2 * self._size)

    def _do_when_idle(self, link: Link, through: int) -> None:
        now = self._monotonic()
        if now - self._reported_at >= _REPORT:
            link.report(None, self._clock())
            self._reported_at = now
        if now - self._cleaned_at >= _CLEAN_EVERY and self._clean(link, through):
            self._cleaned_at = now

    def _clean(self, link: Link, through: int) -> bool:
        """Delete records that are shipped and old; True where none are left.

        The record at the watermark stays, because by it a restored file is recognised; so do those that PostgreSQL refused.
        """
        before = micros(self._clock() - KEPT)
        until = self._monotonic() + _CLEAN_FOR
        with Deletion(self._path) as deletion:
            deletion.keep(link.set_aside_seqs())
            while deleted := deletion.delete_some(before, through):
                self._count("deleted", deleted)
                if self._monotonic() > until or self._stopping.is_set():
                    return False
            deletion.empty_wal()
        return True

    def _remember(self, link: Link) -> None:
        """Take over from an earlier process since when PostgreSQL has not had everything."""
        since = link.complete_at()
        if self._through is None and since is not None:
            self._complete_at = self._monotonic() - max(0.0, self._clock().timestamp() - since / 1e6)

    def _backlog(self) -> int | None:
        """Return how many records wait in the file while PostgreSQL can't be asked; None where that is not known."""
        if self._through is None:
            return None
        try:
            with closing(LogFile(self._path)) as file:
                return file.source().last_seq - self._through
        except (sqlite3.Error, OSError):
            return None

    def _waiting_since(self) -> int:
        lag = timedelta(seconds=self._monotonic() - self._complete_at)
        return micros(self._clock() - lag)

    def _count(self, what: str, number: int) -> None:
        self._counts[what] += number

    def _working(self) -> None:
        if self._state in ("failing", "stopped"):
            tell(Event.SHIPPING_WORKS)
        self._state = "ok"
        self._pause = _FIRST_PAUSE

    def _fail(self, state: State, error: Exception) -> None:
        """Note the failure and close the connections: what is wrong with them may be anything."""
        if self._link is not None:
            self._link.close()
            self._link = None
        self._last_error = f"{type(error).__name__}: {error}" if isinstance(error, _MISFITS) else described(error)
        self._waiting = self._backlog()
        if self._state != state:
            if state == "stopped":
                tell(Event.SHIPPING_STOPPED, error=type(error).__name__)
            else:
                code = getattr(error, "sqlstate", None) or cause_of(error)
                tell(Event.SHIPPING_FAILS, error=type(error).__name__, code=code)
        self._state = state
