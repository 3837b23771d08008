"""How far a long command is, on standard error: a bar in a terminal, else one line per file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_EVERY = 4096  # rows between two looks at the clock
_PAUSE = 0.2  # seconds between two drawings
_WIDTH = 30


class Progress:
    """Progress over files, one after the other. `stream` is written to only by the thread that works."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar = stream.isatty()
        self._name, self._size, self._rows, self._started, self._drawn = "", 1, 0, 0.0, 0.0

    @contextmanager
    def of(self, name: str, size: int) -> Iterator[Progress]:
        """Progress over a file of `size` bytes; ends with the rows and seconds that it took."""
        self._name, self._size, self._rows = name, max(size, 1), 0
        self._started = self._drawn = time.monotonic()
        yield self
        seconds = time.monotonic() - self._started
        self._stream.write(f"{self._clear()}{name}: {self._rows:,} rows in {seconds:.1f} s\n")
        self._stream.flush()

    def at(self, position: int, rows: int) -> None:
        """`position` bytes, `rows` rows of the file are read."""
        self._rows = rows
        if not self._bar or rows % _EVERY:
            return
        now = time.monotonic()
        if now - self._drawn < _PAUSE:
            return
        self._drawn = now
        share = position / self._size
        bar = ("#" * round(share * _WIDTH)).ljust(_WIDTH, ".")
        seconds = now - self._started
        self._stream.write(f"{self._clear()}{self._name} [{bar}] {share:4.0%}, {rows:,} rows, {seconds:.0f} s")
        self._stream.flush()

    def _clear(self) -> str:
        return "\r\x1b[2K" if self._bar else ""
