"""Reads the time of day, once for the whole program; elsewhere it is handed in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]  # aware, UTC


def utc_now() -> datetime:
    """Returns the time of day of this machine, aware, in UTC."""
    return datetime.now(UTC)
