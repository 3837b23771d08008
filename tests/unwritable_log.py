"""An alert log that can't be written now, as on a disk that is away, and can be later."""

from __future__ import annotations

from pathlib import Path


def make_unwritable(log: Path) -> None:
    """Put a folder where SQLite has its write-ahead log."""
    log.with_name(f"{log.name}-wal").mkdir()


def make_writable(log: Path) -> None:
    log.with_name(f"{log.name}-wal").rmdir()
