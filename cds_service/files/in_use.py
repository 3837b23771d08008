"""Know whether a process uses an SQLite file, whatever state the file is in."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Where SQLite keeps its locks in a file, and how many bytes those of readers are: part of its file format.
_SHARED_FIRST, _SHARED_SIZE = 0x40000000 + 2, 510


class FileInUseError(Exception):
    """Raised where another process has the file. The text says what to do."""


class Use:
    """A sign that this process uses a file, as long as it lives or until `end`: a shared lock (flock) on "<name>-use"."""

    def __init__(self, path: Path) -> None:
        """Take no lock yet."""
        self._path = path.with_name(f"{path.name}-use")
        self._descriptor = -1

    def begin(self) -> None:
        """Take the lock, after a restore that goes on. Without it where its file can't be made: then nothing else can."""
        with suppress(OSError):
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def end(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


@contextmanager
def unused(path: Path) -> Iterator[None]:
    """Keep services from the file while it is replaced. Raises FileInUseError where a process has it, OSError."""
    lock = os.open(path.with_name(f"{path.name}-use"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileInUseError(f"a service uses {path}: stop it first") from None
        if path.is_file():
            _expect_no_reader(path)
        yield
    finally:
        os.close(lock)


def expect_unused(path: Path) -> None:
    """Raise FileInUseError where a process has the file; OSError. One in a folder that is not there yet is used by none."""
    if path.parent.is_dir():
        with unused(path):
            pass


def _expect_no_reader(path: Path) -> None:
    """Raise FileInUseError where a process has the file open with SQLite: review pages, a shell, a service of version 0.1.0."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED_FIRST)
    except (BlockingIOError, PermissionError):
        raise FileInUseError(
            f"a process has {path} open: end the service, the review pages and other programs that read it"
        ) from None
    finally:
        os.close(file)
