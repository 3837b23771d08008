"""Notice that another program writes over the log's file in place, as `cp` does.

SQLite doesn't notice: it goes on from the pages that it has in memory and in the write-ahead log, and mixes them with the new
ones. The first bytes of the file tell. While the log is open they say that it has a write-ahead log, which a copy made by
`log backup` does not, and their change counter never goes back.
"""

from __future__ import annotations

import os
from pathlib import Path

from cds_service.alert_log.condition import ReplacedLogError, UnusableLogError

_BYTES = 100  # of the header (SQLite's file format, section 1.3)
_MAGIC = b"SQLite format 3\0"
_VERSIONS, _COUNTER = slice(18, 20), slice(24, 28)
_WITH_WAL = b"\2\2"
_WITHOUT_WAL = b"\1\1"


class Headers:
    """Read the headers of the files that were the log, in one thread.

    Each file stays open until `close`: a process that closes a file loses all of its locks on it, SQLite's among them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: dict[tuple[int, int], int] = {}  # descriptors by device and number of the file
        self._counters: dict[int, bytes] = {}  # the newest that was read, by descriptor

    def expect_no_copy(self) -> None:
        """Raise UnusableLogError for a copy that was put beside the write-ahead log of another file.

        To be called before SQLite opens the file. Raises OSError.
        """
        wal = self._path.with_name(f"{self._path.name}-wal")
        if not self._path.is_file() or not wal.is_file() or not wal.stat().st_size:
            return
        header = os.pread(self._descriptor(self._path.stat()), _BYTES, 0)
        if header.startswith(_MAGIC) and header[_VERSIONS] == _WITHOUT_WAL:
            raise UnusableLogError(self._path, "damaged")

    def expect_untouched(self, file: os.stat_result) -> None:
        """Raise UnusableLogError where the file that SQLite has open was cut off or written over.

        Raises ReplacedLogError where another file is there by now; OSError.
        """
        descriptor = self._descriptor(file)
        if not (self._is_untouched(descriptor) or self._is_untouched(descriptor)):  # once more: a checkpoint may be writing it
            raise UnusableLogError(self._path, "damaged")

    def close(self) -> None:
        """Close the files. Call it when the process has no connection to any of them."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()
        self._counters.clear()

    def _is_untouched(self, descriptor: int) -> bool:
        header = os.pread(descriptor, _BYTES, 0)
        counter = header[_COUNTER]
        if len(header) < _BYTES or not header.startswith(_MAGIC) or header[_VERSIONS] != _WITH_WAL:
            return False
        if counter < self._counters.get(descriptor, b""):
            return False
        self._counters[descriptor] = counter
        return True

    def _descriptor(self, file: os.stat_result) -> int:
        known = self._open.get((file.st_dev, file.st_ino))
        if known is not None:
            return known
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ReplacedLogError from None
        found = os.fstat(descriptor)
        self._open[found.st_dev, found.st_ino] = descriptor
        if not os.path.samestat(found, file):
            raise ReplacedLogError
        return descriptor
