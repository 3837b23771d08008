"""Let the processes that write one log commit one after another."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from cds_service.telemetry import metrics
from cds_service.telemetry.events import Event, tell


class CommitLock:
    """Hold an advisory lock (flock) on a file beside the log while a commit runs.

    SQLite's own lock keeps commits apart, but processes wait for it by sleeping, up to 100 ms at a time. This one wakes the next
    process as soon as it is free, also where its holder was killed. Commits without it are as safe and slower: where the file
    can't be opened or locked, that is counted and the commit goes on.
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
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            except OSError as error:
                self.close()
                self._go_without(error)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _go_without(self, error: OSError) -> None:
        metrics.LOG_WITHOUT_LOCK.inc()
        tell(Event.LOG_WITHOUT_LOCK, error=type(error).__name__)
