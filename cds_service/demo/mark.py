"""Keep a file beside a made-up log that says how it was made and how far that is."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

ALIVE = timedelta(seconds=60)  # a run that has written nothing for so long has ended


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """How a log is made, and how far that is. All moments are aware."""

    days: int
    calls_per_day: float
    seed: int
    until: datetime  # the end of the made-up period
    written_at: datetime  # by the clock of the machine
    calls: int = 0  # fired so far
    reached: datetime | None = None  # moment of the latest call
    finished: bool = False

    @property
    def share(self) -> float:
        """Return which share of the period is made, from 0 to 1."""
        if self.finished or self.reached is None:
            return float(self.finished)
        return 1 - (self.until - self.reached) / timedelta(days=self.days)

    def state(self, now: datetime) -> Literal["finished", "running", "stopped"]:
        """Return whether the run goes on at `now`, by the clock of the machine."""
        if self.finished:
            return "finished"
        return "running" if now - self.written_at < ALIVE else "stopped"


def read_mark(log_path: Path) -> Mark | None:
    """Return the mark beside a log; None for a log that was not made up. Raises OSError, msgspec.DecodeError."""
    try:
        return msgspec.json.decode(_path(log_path).read_bytes(), type=Mark)
    except FileNotFoundError:
        return None


def write_mark(log_path: Path, mark: Mark) -> None:
    """Write the mark beside a log, in one step. Raises OSError."""
    path = _path(log_path)
    draft = path.with_suffix(".new")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(mark)) + b"\n")
    draft.replace(path)


def _path(log_path: Path) -> Path:
    return log_path.with_name(f"{log_path.name}.made-up.json")
