"""Translate between the ids of `log.name` and the texts that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# What the roll-ups say of a card or call that no record names: its response was held back.
WITHDRAWN = -1
_OWN = {WITHDRAWN: "withdrawn"}


class Names:
    """Both directions, remembered once asked. A name is never changed or removed, so nothing here grows stale."""

    def __init__(self, one: Callable[..., dict[str, Any] | None]) -> None:
        """`one`: `Database.one`."""
        self._one = one
        self._texts: dict[int, str] = {0: "", **_OWN}
        self._ids: dict[str, int] = {text: id_ for id_, text in self._texts.items()}

    def text(self, id_: int) -> str:
        """Return the text of an id. Raises KeyError for an id that the log does not have."""
        if id_ not in self._texts:
            row = self._one("SELECT text FROM log.name WHERE id = :id", id=id_)
            if row is None:
                raise KeyError(id_)
            self._remember(id_, row["text"])
        return self._texts[id_]

    def id(self, text: str) -> int | None:
        """Return the id of a text, None where no record has named it yet."""
        if text not in self._ids:
            row = self._one("SELECT id FROM log.name WHERE text = :text", text=text)
            if row is None:
                return None
            self._remember(row["id"], text)
        return self._ids[text]

    def ids(self, *texts: str) -> list[int]:
        """Return the ids of those texts that the log has."""
        return [found for text in texts if (found := self.id(text)) is not None]

    def _remember(self, id_: int, text: str) -> None:
        self._texts[id_] = text
        self._ids[text] = id_
