"""Compile texts with placeholders: `{criterion.field}` for evidence, `{patient.reference}` for the request.

The numbers of criteria are filled in earlier, when the cards load (`card_texts`).
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

    def render(self, text_for: Callable[[str, str], str]) -> str:
        """Return the text with each placeholder replaced by `text_for(name, field)`.

        `present` passes `text_for`, because the values come from facts and findings, which knowledge does not know.
        """
        if not self.placeholders:
            return self.text
        return "".join([part if isinstance(part, str) else text_for(part[0], part[1]) for part in self.parts])
