"""Keep the counts up to date in the background of the process that serves the pages."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cds_service.clock import Clock
from cds_service.database import Database
from cds_service.rollups.days import SiteDays
from cds_service.rollups.rollup import roll_up
from cds_service.telemetry.events import Event, tell

EVERY_SECONDS = 10.0  # so that today lags 30 s at most where counting a day takes less than 10


class RollupKeeper:
    """A thread that counts what changed, again and again. The database being away costs age of the figures and nothing else."""

    def __init__(self, open_one: Callable[[], Database], days: SiteDays, clock: Clock, every: float = EVERY_SECONDS) -> None:
        """`open_one`: opens a connection without a limit of time that writes review. `every`: seconds between two looks."""
        self._open = open_one
        self._days = days
        self._clock = clock
        self._every = every
        self._database: Database | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rollups", daemon=True)
        self.failing = False
        self.counted = threading.Event()  # set once everything is counted

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the day that it counts now."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def step(self) -> None:
        """Look once. What fails, mostly a database that is away, is told once and tried again with a new connection."""
        try:
            if self._database is None:
                self._database = self._open()
            roll_up(self._database, self._days, self._clock, progress=self._between_days)
        except _Stopped:
            self._close()
        except Exception as error:  # noqa: BLE001 - a thread that ended would leave old figures, and say so once at most
            if not self.failing:
                tell(Event.LOG_NOT_COUNTED, error=type(error).__name__)
            self.failing = True
            self._close()
        else:
            if self.failing:
                tell(Event.LOG_COUNTED)
            self.failing = False
            self.counted.set()

    def _between_days(self, done: int, of: int) -> None:
        if self._stopped.is_set() and done < of:
            raise _Stopped

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.step()
            self._stopped.wait(self._every)
        self._close()

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


class _Stopped(Exception):  # noqa: N818 - ends the work under way
    pass
