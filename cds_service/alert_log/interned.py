"""Write texts, and combinations of decisions, once for each file, and give their numbers to the rows that use them.

What the writer has seen is remembered, so that most rows cost no look-up.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import TypeVar

import msgspec

from cds_service.alert_log.records import MissingRow, OutcomeRow

_MOST = 50_000  # remembered of each kind; a site has some hundred names and some thousand combinations
_encode = msgspec.json.Encoder().encode

SetRow = TypeVar("SetRow", bound=OutcomeRow | MissingRow)


class Names(dict[str, int]):
    """The ids of texts for one connection that writes: `names[text]` adds what is new within the transaction that runs."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __missing__(self, text: str) -> int:
        found = self._connection.execute("SELECT id FROM name WHERE text = ?", (text,)).fetchone()
        if found is None:
            found = self._connection.execute("INSERT INTO name (text) VALUES (?) RETURNING id", (text,)).fetchone()
        if len(self) >= _MOST:
            self.clear()
        self[text] = number = int(found[0])
        return number


class Sets:
    """The ids of combinations for one connection that writes.

    The digest of a combination is made of its texts, so that it is the same in each file.
    """

    def __init__(self, connection: sqlite3.Connection, names: Names) -> None:
        self._execute = connection.execute
        self._names = names
        self._outcomes: dict[tuple[OutcomeRow, ...], int] = {}
        self._missing: dict[tuple[MissingRow, ...], int] = {}

    def of_outcomes(self, rows: tuple[OutcomeRow, ...]) -> int | None:
        """Return the id of a call's decisions; None for none."""
        number = self._outcomes.get(rows)
        return number if number is not None or not rows else self._add("outcome", rows, self._outcomes)

    def of_missing(self, rows: tuple[MissingRow, ...]) -> int | None:
        """Return the id of what was unknown and mattered; None for nothing."""
        number = self._missing.get(rows)
        return number if number is not None or not rows else self._add("missing", rows, self._missing)

    def forget(self) -> None:
        """Forget all, because the transaction that may have added some of it was rolled back."""
        self._names.clear()
        self._outcomes.clear()
        self._missing.clear()

    def _add(self, kind: str, rows: tuple[SetRow, ...], known: dict[tuple[SetRow, ...], int]) -> int:
        counted = sorted(Counter(rows).items())
        digest = blake2b(_encode(counted), digest_size=16).digest()
        found = self._execute(f"SELECT id FROM {kind}_set WHERE digest = ?", (digest,)).fetchone()  # noqa: S608 - two kinds
        if found is None:
            insert = f"INSERT INTO {kind}_set (digest) VALUES (?) RETURNING id"  # noqa: S608 - two kinds
            found = self._execute(insert, (digest,)).fetchone()
            for decided, n in counted:
                values = (found[0], *self._numbered(decided), n)
                marks = ", ".join("?" * len(values))
                self._execute(f"INSERT INTO {kind}_of_set VALUES ({marks})", values)  # noqa: S608 - two kinds
        if len(known) >= _MOST:
            known.clear()
        known[rows] = number = int(found[0])
        return number

    def _numbered(self, row: Sequence[str | int]) -> Iterable[int]:
        return (self._names[one] if isinstance(one, str) else one for one in row)
