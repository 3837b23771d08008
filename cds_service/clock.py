"""Read the system's clock; all other modules get the time passed in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]  # aware, UTC


def utc_now() -> datetime:
    """Return the date and time of this machine, aware, in UTC."""
    return datetime.now(UTC)
