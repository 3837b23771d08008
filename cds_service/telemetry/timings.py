"""Measure how long each phase of a call takes, by a clock that never goes back."""

from __future__ import annotations

import time
from datetime import datetime


class Timings:
    """Durations of phases in milliseconds since `started` (of `time.perf_counter`), in the order of the phases."""

    __slots__ = ("_last", "cards", "phases", "recorded", "started")

    def __init__(self, started: float | None = None) -> None:
        self.started = self._last = time.perf_counter() if started is None else started
        self.phases: dict[str, float] = {}
        self.cards = 0  # in the answer
        self.recorded: tuple[bytes, datetime] | None = None  # id and receipt in the call's record, once the log has one

    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self.started) * 1000

    def mark(self, phase: str) -> None:
        """End a phase, which began when the one before ended."""
        now = time.perf_counter()
        self.phases[phase] = round((now - self._last) * 1000, 3)
        self._last = now
