"""The time of day, read at one place and handed in everywhere else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]  # aware, UTC


def utc_now() -> datetime:
    """Returns the time of day of this machine, aware, in UTC."""
    return datetime.now(UTC)
