"""Texts with {placeholders}, compiled once: `{criterion.field}` is evidence, `{patient.reference}` a part of the request.

Numbers of the criteria themselves are filled in before, when the cards load (`card_texts`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\.([a-z_]+)\}")

REQUEST_FIELDS = frozenset({"patient.reference", "order.reference", "order.name"})


class Template:
    """A compiled text. `parts` alternates between literal text and (name, field) placeholders."""

    __slots__ = ("parts", "placeholders", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.parts: list[str | tuple[str, str]] = []
        self.placeholders: list[tuple[str, str]] = []
        end = 0
        for match in _PLACEHOLDER.finditer(text):
            self.parts.append(text[end : match.start()])
            placeholder = (match[1], match[2])
            self.parts.append(placeholder)
            self.placeholders.append(placeholder)
            end = match.end()
        self.parts.append(text[end:])

    def render(self, say: Callable[[str, str], str]) -> str:
        """Return the text with each placeholder replaced by `say(name, field)`.

        `present` passes `say`, because the values come from facts and findings, which knowledge does not know.
        """
        if not self.placeholders:
            return self.text
        return "".join([part if isinstance(part, str) else say(part[0], part[1]) for part in self.parts])
