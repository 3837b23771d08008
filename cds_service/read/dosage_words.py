"""Take out of a dosage text the words that its reading does not need, such as names of people."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cds_service.read.daily_dose import NOT_ORAL, SUCCESSOR
from cds_service.read.medications import WHEN_NEEDED
from cds_service.read.sig_plain import REWRITES
from cds_service.read.sig_tokens import PATTERNS, tokens
from cds_service.read.sig_words import Kind, Token
from cds_service.short_cache import short_cache

if TYPE_CHECKING:
    from cds_service.terminology.terminology import Terminology

_WORD = re.compile(r"[^\W\d_]{2,}")
_NO_WORD = "z"  # a run of it means nothing in a dosage
_NOTHING_SAID = (Token(Kind.WORD),)
_ESCAPED = re.compile(r"\\[A-Za-z]")


class DosageWords:
    """The words that readers know in dosages, with the words about routes of one terminology."""

    def __init__(self, terminology: Terminology) -> None:
        self._terminology = terminology
        routes = _words_of(terminology.searched("routes"))
        self._known = _WRITTEN | routes
        self._stems = tuple(word for word in routes if len(word) > 3)  # "inhal" is searched for at the beginning of words
        self.masked = short_cache(4096)(self._masked)  # they repeat from refill to refill

    def _masked(self, text: str) -> str | None:
        """Return the text with letters in place of each unknown word, as many; None where it would be read differently."""
        masked = _WORD.sub(lambda word: word[0] if self._is_known(word[0].lower()) else _NO_WORD * len(word[0]), text)
        return masked if masked == text or self._reading(masked) == self._reading(text) else None

    def _is_known(self, word: str) -> bool:
        return word in self._known or word.startswith(self._stems) or tokens(word) != _NOTHING_SAID

    def _reading(self, text: str) -> tuple[object, ...]:
        """Return all that readers see in a text."""
        found = [expression.search(text) is not None for expression in (NOT_ORAL, WHEN_NEEDED)]
        return tokens(text), SUCCESSOR.match(text) is not None, found, self._terminology.route_words(text)


def _words_of(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(word for text in texts for word in _WORD.findall(_ESCAPED.sub(" ", text).lower()))


# Of the expressions that read dosages, and of their examples, because an expression may hold a word in parts.
_WRITTEN = _words_of(
    (
        *(text for one in PATTERNS for text in (one.regex, one.example)),
        *(text for one in REWRITES for text in (one.pattern.pattern, one.before, one.after)),
        *(one.pattern for one in (NOT_ORAL, SUCCESSOR, WHEN_NEEDED)),
    )
)
