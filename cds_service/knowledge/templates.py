"""Compile texts with placeholders: `{criterion.field}` for evidence, `{patient.reference}` for the request.

The numbers of criteria are filled in earlier, when the cards load (`card_texts`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\.([a-z_]+)\}")

REQUEST_FIELDS = frozenset({"patient.reference", "order.reference", "order.name"})


class Template:
    """A compiled text: its (name, field) placeholders, and the literal text before, between and after them."""

    __slots__ = ("_pieces", "literals", "placeholders", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.placeholders = [(match[1], match[2]) for match in _PLACEHOLDER.finditer(text)]
        self.literals = _PLACEHOLDER.split(text)[::3]
        self._pieces = [""] * (2 * len(self.placeholders) + 1)  # each placeholder has a place between two literal texts
        self._pieces[::2] = self.literals

    def render(self, text_for: Callable[[str, str], str]) -> str:
        """Return the text with each placeholder replaced by `text_for(name, field)`.

        `present` passes `text_for`, because the values come from facts and findings, which knowledge does not know.
        """
        if not self.placeholders:
            return self.text
        pieces = self._pieces.copy()
        pieces[1::2] = [text_for(name, field) for name, field in self.placeholders]
        return "".join(pieces)
