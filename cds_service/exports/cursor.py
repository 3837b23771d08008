"""Say where an export stands, so that another run goes on there and gives the same bytes."""

from __future__ import annotations

import re

import msgspec

from cds_service.database import Database

_CURSOR = re.compile(r"s((?:[0-9]{1,9}\.[0-9]{1,18}(?:_|(?=v)))*)v([0-9]{1,18})-([0-9]{1,18})-([0-9a-f]{32})-([0-9]{1,6})")


class CursorError(ValueError):
    """Raised for a cursor that is none."""


class Snapshot(msgspec.Struct, frozen=True):
    """The newest record that an export knows of each source, and the newest verdict. What comes later does not exist for it."""

    last: dict[int, int]  # seq by number of the source; a file is source 0
    verdict: int

    @classmethod
    def now(cls, database: Database) -> Snapshot:
        """Return the snapshot of this moment."""
        number = "0" if database.dialect == "sqlite" else "number"
        rows = database.rows(f"SELECT {number} AS number, last_seq FROM log.source ORDER BY 1")
        newest = database.one("SELECT coalesce(max(seq), 0) AS seq FROM review.verdict")
        return cls({int(row["number"]): int(row["last_seq"]) for row in rows}, int(newest["seq"]) if newest else 0)

    def holds(self, source: int, seq: int) -> bool:
        """Return whether a record was there at the moment of the snapshot."""
        return seq <= self.last.get(source, 0)

    @property
    def text(self) -> str:
        return "s" + "_".join(f"{source}.{seq}" for source, seq in self.last.items()) + f"v{self.verdict}"


class Cursor(msgspec.Struct, frozen=True):
    """A place behind one row: its call's time (µs since 1970) and id, and its position in the call."""

    snapshot: Snapshot
    at: int
    call: bytes
    position: int

    @property
    def text(self) -> str:
        """Return the cursor as `parse` reads it."""
        return f"{self.snapshot.text}-{self.at}-{self.call.hex()}-{self.position}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a cursor. Raises CursorError."""
        found = _CURSOR.fullmatch(text)
        if found is None:
            raise CursorError("a cursor is the text of a row's `cursor`, the last whole one that was received")
        pairs = [one.split(".") for one in found[1].split("_") if one]
        snapshot = Snapshot({int(source): int(seq) for source, seq in pairs}, int(found[2]))
        return cls(snapshot, int(found[3]), bytes.fromhex(found[4]), int(found[5]))
