"""Let the processes that write one log commit one after another."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from cds_service.telemetry import metrics
from cds_service.telemetry.events import Event, tell

_WAIT = 5.0  # seconds, as long as SQLite waits for its own lock
_PAUSE = 0.0005  # seconds between two tries; a commit takes some milliseconds


class CommitLock:
    """Hold an advisory lock (flock) on a file beside the log while a commit runs.

    SQLite's own lock keeps commits apart, but processes wait for it by sleeping, up to 100 ms at a time. This one is tried
    far more often, and it is free at once where its holder was killed. Commits without it are as safe and slower: where the file
    can't be opened or locked, or a stopped process holds it for too long, that is counted and commits go on without it.
    """

    def __init__(self, log: Path) -> None:
        """Open the lock's file beside `log`, made (0600) where it is missing."""
        self._descriptor = -1
        try:
            self._descriptor = os.open(log.with_name(f"{log.name}-lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._go_without(error)

    def __enter__(self) -> None:
        if self._descriptor >= 0:
            try:
                self._lock()
            except OSError as error:
                self._go_without(error)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._descriptor >= 0:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            except OSError as unlocking:  # raised, it would make the batch, which is on the disk, be written again
                self._go_without(unlocking)

    def close(self) -> None:
        """Close the lock's file, which frees the lock."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):  # it is closed nevertheless
                os.close(descriptor)

    def _lock(self) -> None:
        """Wait for the lock. Raises BlockingIOError where another process holds it for too long, other OSErrors."""
        deadline = time.monotonic() + _WAIT
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)
            else:
                return

    def _go_without(self, error: OSError) -> None:
        self.close()
        metrics.LOG_WITHOUT_LOCK.inc()
        tell(Event.LOG_WITHOUT_LOCK, error=type(error).__name__)
