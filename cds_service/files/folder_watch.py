"""Notice that files in folders have changed, by looking at them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_SUFFIXES = (".yaml", ".toml", ".json", ".csv")  # what the service reads; not what editors leave beside it


class _Look(NamedTuple):
    path: Path
    modified: int
    size: int


class FolderWatch:
    """Files, and folders with all files in them, as they were at the last look."""

    def __init__(self, places: Iterable[Path]) -> None:
        self._places = tuple(places)
        self._told = self._last = self._look()

    def changed(self) -> bool:
        """Tell, once for each change, whether files are others than before; a change counts once they rest between two looks."""
        now = self._look()
        rests, self._last = now == self._last, now
        if not rests or now == self._told:
            return False
        self._told = now
        return True

    def _look(self) -> frozenset[_Look]:
        return frozenset(self._files())

    def _files(self) -> Iterator[_Look]:
        for place in self._places:
            for path in place.rglob("*") if place.is_dir() else (place,):
                if path.suffix in _SUFFIXES and not path.name.startswith("."):
                    try:
                        seen = path.stat()
                    except OSError:  # it has just gone, or was never there
                        continue
                    yield _Look(path, seen.st_mtime_ns, seen.st_size)
