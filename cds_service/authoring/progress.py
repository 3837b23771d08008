"""Show the progress of a long command on standard error.

In a terminal it is a bar, elsewhere a line per file.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_EVERY = 4096  # rows of a file between two readings of the clock
_PAUSE = 0.2  # seconds between two drawings
_WIDTH = 30


class Progress:
    """Show progress over files, one after the other; for use by one thread."""

    def __init__(self, stream: TextIO, *, every: int = _EVERY, what: str = "rows") -> None:
        """`every`: how many `what` pass between two readings of the clock."""
        self._stream = stream
        self._every, self._what = every, what
        self._bar = stream.isatty()
        self._name, self._size, self._rows, self._started, self._drawn = "", 1, 0, 0.0, 0.0

    @contextmanager
    def of(self, name: str, size: int) -> Iterator[Progress]:
        """Start a file of `size` bytes, or work of another measure; print rows and seconds at its end."""
        self._name, self._size, self._rows = name, max(size, 1), 0
        self._started = self._drawn = time.monotonic()
        yield self
        seconds = time.monotonic() - self._started
        self._stream.write(f"{self._clear()}{name}: {self._rows:,} {self._what} in {seconds:.1f} s\n")
        self._stream.flush()

    def advance(self, position: int, rows: int) -> None:
        """Note that `position` bytes and `rows` rows of the file are read."""
        self._rows = rows
        if not self._bar or rows % self._every:
            return
        now = time.monotonic()
        if now - self._drawn < _PAUSE:
            return
        self._drawn = now
        share = position / self._size
        bar = ("#" * round(share * _WIDTH)).ljust(_WIDTH, ".")
        seconds = now - self._started
        self._stream.write(f"{self._clear()}{self._name} [{bar}] {share:4.0%}, {rows:,} {self._what}, {seconds:.0f} s")
        self._stream.flush()

    def _clear(self) -> str:
        return "\r\x1b[2K" if self._bar else ""
