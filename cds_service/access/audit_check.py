"""Check the audit: find entries that were altered, removed or put in, and an end that was cut off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from cds_service.access.audit import FIRST, Head, entry_hash
from cds_service.database import Database
from cds_service.database.database import Row

_AT_ONCE = 1000
_BATCH = "SELECT * FROM review.audit WHERE seq > :after ORDER BY seq LIMIT :most"


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it was written. `seq`: of the entry at which it shows."""

    seq: int
    kind: Literal["altered", "missing", "does not follow", "not as noted", "cut off"]

    def __str__(self) -> str:
        meaning = {
            "altered": "is not what was written: its hash is another",
            "missing": "is not there",
            "does not follow": "does not follow the one before: it was put in, or the one before was exchanged",
            "not as noted": "has another hash than was noted when it was the newest",
            "cut off": "was noted as the newest once and is not there: the end was cut off",
        }
        return f"entry {self.seq} {meaning[self.kind]}"


class Checked(msgspec.Struct, frozen=True):
    """What was looked at, and what was found. `head`: the newest entry, None for an empty audit."""

    entries: int
    head: Head | None
    findings: list[Finding]


def check_audit(database: Database, noted: Iterable[Head] = ()) -> Checked:
    """Check every entry. `noted`: heads that were noted elsewhere (the log of the service), which tell of a cut or new end.

    Raises DatabaseError.
    """
    left = {one.seq: one.hash for one in noted}
    findings: list[Finding] = []
    entries, before, last = 0, FIRST, 0
    for row in _entries(database):
        entries += 1
        findings += (Finding(seq, "missing") for seq in range(last + 1, min(row["seq"], last + 1 + _AT_ONCE)))
        hash_ = bytes(row["hash"])
        if entry_hash(row) != hash_:
            findings.append(Finding(row["seq"], "altered"))
        if row["seq"] == last + 1 and bytes(row["before"]) != before:
            findings.append(Finding(row["seq"], "does not follow"))
        if left.pop(row["seq"], hash_) != hash_:
            findings.append(Finding(row["seq"], "not as noted"))
        before, last = hash_, row["seq"]
    findings += (Finding(seq, "cut off") for seq in sorted(left) if seq > last)
    return Checked(entries, Head(last, before) if entries else None, findings)


def _entries(database: Database) -> Iterator[Row]:
    last = 0
    while rows := database.rows(_BATCH, after=last, most=_AT_ONCE):
        yield from rows
        last = rows[-1]["seq"]
