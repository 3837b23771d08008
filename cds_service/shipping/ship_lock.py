"""Choose the process that ships a file: the one that holds a lock (flock) beside it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class ShipLock:
    """The lock is free as soon as its holder ends, however it ends. Two shippers would do no harm, only the work twice."""

    def __init__(self, log: Path) -> None:
        self._path = log.with_name(f"{log.name}-ship")
        self._descriptor = -1

    def take(self) -> bool:
        """Return whether this process holds the lock now. Raises OSError where the file can't be made or locked."""
        if self._descriptor >= 0:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
