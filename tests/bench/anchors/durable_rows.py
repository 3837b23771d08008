"""A table of what was answered, one durable row a request: sqlite3 in a thread, WAL, `synchronous=FULL`."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

LOG_VARIABLE = "BENCH_LOG"  # environment variable with the path of the file


class DurableRows:
    """One connection for all threads, one commit a row."""

    def __init__(self, path: Path) -> None:
        """Open or make the file."""
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(
            """CREATE TABLE IF NOT EXISTS answer
                (seq INTEGER PRIMARY KEY, at TEXT NOT NULL, instance TEXT NOT NULL, body TEXT NOT NULL)"""
        )

    async def append(self, instance: str, body: str) -> None:
        """Write one row; it is durable when this returns."""
        await asyncio.to_thread(self._insert, datetime.now(UTC).isoformat(), instance, body)

    def _insert(self, *row: str) -> None:
        with self._lock:
            self._connection.execute("INSERT INTO answer (at, instance, body) VALUES (?, ?, ?)", row)


def open_rows() -> DurableRows:
    """Open the file that the environment names."""
    return DurableRows(Path(os.environ[LOG_VARIABLE]))
