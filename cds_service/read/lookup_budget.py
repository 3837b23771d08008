"""Limit the words of one list that are looked up.

The limit is above the list of any real patient, and keeps one call from delaying the others.
"""

from __future__ import annotations


class Budget:
    """The characters of names that may still be looked up in one list; repeated names cost nothing."""

    def __init__(self, characters: int) -> None:
        self._left = characters
        self._seen: set[tuple[str, ...]] = set()

    def covers(self, words: tuple[str, ...]) -> bool:
        """Take `words` out of the budget and return whether it was enough."""
        if words in self._seen:
            return True
        self._left -= sum(map(len, words))
        if self._left < 0:
            return False
        self._seen.add(words)
        return True
