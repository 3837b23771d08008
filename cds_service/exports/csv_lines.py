"""Write rows as CSV (RFC 4180, UTF-8): the fields that US rules ask for first."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from cds_service.exports.card_rows import ExportedRow
from cds_service.exports.columns import FEEDBACK_COLUMNS, Column
from cds_service.files.csv_cells import safe_cell

_CHUNK = 200  # rows written at once

_json = msgspec.json.Encoder()


class CsvLines:
    """Writes rows as chunks of CSV, with a header."""

    def __init__(self, columns: Sequence[Column], *, feedback: bool) -> None:
        """`feedback`: put the six fields of US rules before the columns; only rows of cards have them."""
        self._columns = columns
        self._feedback = feedback

    def __call__(self, rows: Iterable[ExportedRow]) -> Iterator[tuple[bytes, int]]:
        """Yield chunks, each with how many rows it holds."""
        first = FEEDBACK_COLUMNS if self._feedback else ()
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow([one.name for one in (*first, *self._columns)])
        held = 0
        for row in rows:
            writer.writerow(self._cells(row.members))
            held += 1
            if held == _CHUNK:
                yield text.getvalue().encode(), held
                text.seek(0)
                text.truncate()
                held = 0
        yield text.getvalue().encode(), held

    def _cells(self, members: dict[str, Any]) -> list[Any]:
        cells: list[Any] = [safe_cell(one) for one in feedback_fields(members).values()] if self._feedback else []
        for name, kind, _ in self._columns:
            value = members[name]
            # JSON of a list and null begin with no sign of a formula; nor do times. -1 is a number.
            cells.append(safe_cell(value) if kind == "text" else _json.encode(value).decode() if kind == "json" else value)
        return cells


def feedback_fields(members: dict[str, Any]) -> dict[str, str]:
    """Return the six fields of 45 CFR 170.315(b)(11)(ii)(C) of a card's row."""
    said = members["feedback"][-1] if members["feedback"] else None
    reason = (said["reason"] or {}) if said is not None else {}
    words = [str(reason.get("display") or members["reason"])]
    if said is not None and said["commentLength"]:
        words.append(f"comment of {said['commentLength']} characters")
    return {
        "intervention": f"{members['cardId']} {members['version']}".strip(),
        "actionTaken": members["response"],
        "userFeedback": "; ".join(one for one in words if one),
        "user": members["userKey"],
        "date": members["receivedAt"],
        "location": members["client"],
    }
