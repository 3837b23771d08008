"""Copy an SQLite file as it is at one moment, while others write it.

SQLite's backup begins again whenever another connection has written meanwhile, so that under load it never ends. Here it reads
inside a transaction: what that sees stays as it is until the end, and the copy takes as long as its size does.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

_PAGES = 64  # of one step: 256 KiB
_PAUSE = 0.001  # seconds after each, for those that write
_SYNC_EVERY = 64  # steps: as the disk takes a little at a time, no commit of a service waits for all of it
_BUSY = 10.0  # seconds

Progress = Callable[[int, int], None]  # pages copied, of how many


def copy_database(source: Path, target: Path, progress: Progress | None = None) -> None:
    """Write what `source` holds now to the new file `target` (0600), one file without a write-ahead log, and sync it.

    Raises sqlite3.Error where the source can't be read or the disk is full, FileExistsError, OSError.
    """
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    steps = 0

    def after_step(_: int, left: int, of: int) -> None:
        nonlocal steps
        steps += 1
        if steps % _SYNC_EVERY == 0:
            os.fdatasync(descriptor)
        if progress is not None:
            progress(of - left, of)
        time.sleep(_PAUSE)

    uri = f"{source.resolve().as_uri()}?mode=ro"
    try:
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=_BUSY, isolation_level=None)) as reading,
            closing(sqlite3.connect(target, isolation_level=None)) as copy,
        ):
            copy.execute("PRAGMA journal_mode = OFF")  # a copy that is cut off is thrown away
            copy.execute("PRAGMA synchronous = OFF")
            reading.execute("BEGIN")
            reading.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here on it sees one moment
            reading.backup(copy, pages=_PAGES, progress=after_step)
            copy.execute("PRAGMA journal_mode = DELETE")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
