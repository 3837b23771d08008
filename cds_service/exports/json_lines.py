"""Write rows as JSON, one a line, each with the cursor from which another export goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from cds_service.exports.card_rows import ExportedRow

SCHEMA = 1  # of the rows: a member that changes its meaning raises it, a new member does not
_CHUNK = 200  # rows written at once

_encode_lines = msgspec.json.Encoder().encode_lines


class JsonLines:
    """Writes rows as chunks of NDJSON."""

    def __init__(self, kind: str) -> None:
        """`kind`: what a row is, its member `row`."""
        self._kind = kind

    def __call__(self, rows: Iterable[ExportedRow]) -> Iterator[tuple[bytes, int]]:
        """Yield chunks of whole lines, each with how many rows it holds."""
        left = iter(rows)
        while chunk := list(islice(left, _CHUNK)):
            lines = [{"row": self._kind, "schema": SCHEMA, **one.members, "cursor": one.cursor.text} for one in chunk]
            yield _encode_lines(lines), len(chunk)
