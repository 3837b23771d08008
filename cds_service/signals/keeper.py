"""Run the detectors in the background of the process that serves the pages."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cds_service.alert_log.instants import micros
from cds_service.alert_log.sealing import SealingKey
from cds_service.clock import Clock
from cds_service.database import Database
from cds_service.rollups.days import SiteDays
from cds_service.signals.inbox import open_signals
from cds_service.signals.update import update_signals
from cds_service.telemetry.events import Event, tell
from cds_service.telemetry.metrics import SIGNALS_OPEN

EVERY_SECONDS = 300.0  # hours and days are looked at, so that a few minutes more do not matter
_UNTIL_COUNTED = 0.5  # seconds


class SignalKeeper:
    """A thread that looks for signals again and again. The database being away costs lateness and nothing else."""

    def __init__(
        self,
        open_one: Callable[[], Database],
        days: SiteDays,
        clock: Clock,
        key: SealingKey | None,
        counted: threading.Event,
        every: float = EVERY_SECONDS,
    ) -> None:
        """`open_one`: opens a connection without a limit of time that writes review. `every`: seconds between two looks.

        `counted`: set once the log is counted, before which there is nothing to look at.
        """
        self._open = open_one
        self._days = days
        self._clock = clock
        self._key = key
        self._counted = counted
        self._every = every
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)
        self.failing = False

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the look that it takes now."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def step(self) -> None:
        """Look once. What fails, mostly a database that is away, is told once and tried again."""
        try:
            database = self._open()
            try:
                update_signals(database, self._days, self._clock, self._key)
                SIGNALS_OPEN.set(open_signals(database, self._days, self._days.day_of(micros(self._clock()))))
            finally:
                database.close()
        except Exception as error:  # noqa: BLE001 - a thread that ended would look like a log without signals
            if not self.failing:
                tell(Event.SIGNALS_NOT_SOUGHT, error=type(error).__name__)
            self.failing = True
        else:
            if self.failing:
                tell(Event.SIGNALS_SOUGHT)
            self.failing = False

    def _run(self) -> None:
        while not self._stopped.is_set():
            if self._counted.is_set():
                self.step()
            self._stopped.wait(self._every if self._counted.is_set() else _UNTIL_COUNTED)
