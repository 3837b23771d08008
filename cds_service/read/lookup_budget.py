"""How many words of one list are looked up: all of any real patient, and never so many that one call holds up the others."""

from __future__ import annotations


class Budget:
    """Characters of names that may still be looked up in a list. Names that stand there again cost nothing."""

    def __init__(self, characters: int) -> None:
        self._left = characters
        self._seen: set[tuple[str, ...]] = set()

    def covers(self, words: tuple[str, ...]) -> bool:
        """Takes `words` out of the budget, and says whether there was enough left for them."""
        if words in self._seen:
            return True
        self._left -= sum(map(len, words))
        if self._left < 0:
            return False
        self._seen.add(words)
        return True
