"""Write the head of the audit to the log of the process, at its start, each day and at its end.

Who can write the database could cut off the end of the audit, or write all of it anew; lines that have left the machine tell.
"""

from __future__ import annotations

import threading

from cds_service.access.audit import head
from cds_service.clock import Clock
from cds_service.database import DatabasePool
from cds_service.telemetry.events import Event, tell

_LOOK_SECONDS = 60.0


class HeadLog:
    """A thread that looks at the day of the clock every minute."""

    def __init__(self, pool: DatabasePool, clock: Clock, every: float = _LOOK_SECONDS) -> None:
        """`every`: seconds between two looks."""
        self._pool = pool
        self._clock = clock
        self._every = every
        self._day = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit head", daemon=True)

    def start(self) -> None:
        """Write the head and start the thread."""
        self.step()
        self._thread.start()

    def stop(self) -> None:
        """End the thread and write the head once more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self._tell()

    def step(self) -> None:
        """Write the head where it was not written this day (UTC); tried again in a minute where the database is away."""
        day = self._clock().date().isoformat()
        if day != self._day and self._tell():
            self._day = day

    def _tell(self) -> bool:
        try:
            with self._pool.borrow() as database:
                newest = head(database)
        except Exception as error:  # noqa: BLE001 - the thread goes on, so that the next head is written
            tell(Event.AUDIT_UNREAD, error=type(error).__name__)
            return False
        tell(Event.AUDIT_HEAD, count=newest.seq if newest else 0, hash=newest.hash.hex() if newest else "")
        return True

    def _run(self) -> None:
        while not self._stopped.wait(self._every):
            self.step()
