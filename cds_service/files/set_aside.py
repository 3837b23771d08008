"""Move a file that can't be used out of the way, under a name that says why and since when."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

# newer: of a newer version of this program; foreign: a database of another program; unreadable: for this user
Reason = Literal["damaged", "newer", "foreign", "not-a-file", "unreadable"]
REASONS: tuple[Reason, ...] = get_args(Reason)

REPLACED = "replaced"  # a write-ahead log alone: its file was moved away or replaced
_STAMP = r"\d{8}T\d{6}Z(-\d+)?"
_NAME = re.compile(rf".+\.(({'|'.join(REASONS)})-{_STAMP}|{REPLACED}-{_STAMP}-wal)")
_WAIT, _PAUSE = 5.0, 0.005  # seconds for the lock, and between two tries


def set_aside(path: Path, reason: str, at: datetime, seen: os.stat_result | None = None) -> Path | None:
    """Rename the file, and its write-ahead log with it, to "<name>.<reason>-<time>"; return the new path.

    `at` is aware. `seen`: the file as it was found unusable; where another one is there by now, or none, nothing is done and None
    returned, because another process was first. Processes that open the file do so under `lock_beside`. Raises OSError where it
    can't be renamed (a read-only folder, a mount point) or the lock can't be taken.
    """
    path = path.resolve()  # of a link: SQLite has the write-ahead log beside the file itself
    with lock_beside(path):
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        if seen is not None and not os.path.samestat(found, seen):
            return None
        kept = _free_name(path, f"{path.name}.{reason}-{at:%Y%m%dT%H%M%SZ}")
        path.rename(kept)
        _move_wal(path, kept)
    return kept


def set_wal_aside(path: Path, at: datetime, file: os.stat_result, wal: os.stat_result) -> Path | None:
    """Rename the write-ahead log that `file` left at `path` to "<name>.replaced-<time>-wal"; return the new path.

    SQLite would write it over the file that is there now, or delete it where there is none. None, with nothing done, where
    `file` is still there, or `wal` is not: another process was first. Raises OSError.
    """
    path = path.resolve()
    with lock_beside(path):
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), file):
                return None
        try:
            found = wal_of(path).stat()
        except FileNotFoundError:
            return None
        if not found.st_size or not os.path.samestat(found, wal):
            return None
        kept = _free_name(path, f"{path.name}.{REPLACED}-{at:%Y%m%dT%H%M%SZ}")
        _move_wal(path, kept)
    return wal_of(kept)


def wal_of(path: Path) -> Path:
    """Return the path of the write-ahead log of a database."""
    return path.with_name(f"{path.name}-wal")


def _move_wal(path: Path, kept: Path) -> None:
    with suppress(FileNotFoundError):
        wal_of(path).rename(wal_of(kept))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)


def files_set_aside(folder: Path) -> list[str]:
    """Return the names of the files in the folder that were set aside because they could not be used, in order."""
    try:
        return sorted(path.name for path in folder.iterdir() if _NAME.fullmatch(path.name))
    except OSError:
        return []


@contextmanager
def lock_beside(path: Path) -> Iterator[None]:
    """Hold the lock (flock on "<name>-lock") under which the file is opened and renamed. Raises OSError, after some seconds."""
    descriptor = os.open(path.with_name(f"{path.name}-lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _WAIT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)
        yield
    finally:
        os.close(descriptor)


def _free_name(path: Path, name: str) -> Path:
    wanted, number = path.with_name(name), 1
    while wanted.exists() or wal_of(wanted).exists():
        number += 1
        wanted = path.with_name(f"{name}-{number}")
    return wanted
