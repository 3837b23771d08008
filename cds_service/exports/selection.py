"""Choose what is exported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from cds_service.database import Database
from cds_service.exports.cursor import Cursor, Snapshot
from cds_service.rollups.days import Bounds, SiteDays, days_between
from cds_service.rollups.filter import Filter


class CaseRef(NamedTuple):
    """One case: the call (16 bytes), its card, and which evaluation of the card in the call, from 1."""

    call: bytes
    card: str
    nth: int


class Selection(msgspec.Struct, frozen=True):
    """What is exported: all that the filter matches, or the cases that are listed.

    `since`: µs since 1970, later than the beginning of the filter's first day. `after`: where an earlier run stopped, whose
    snapshot is used again.
    """

    chosen: Filter
    days: SiteDays
    snapshot: Snapshot
    since: int | None = None
    after: Cursor | None = None
    cases: tuple[CaseRef, ...] = ()

    def spans(self, database: Database, table: str) -> Iterator[tuple[int, Bounds]]:
        """Yield the days that may have rows of a table of the log, oldest first, each a short statement's work."""
        found = database.one(f"SELECT min(received_at) AS first, max(received_at) AS last FROM log.{table}")
        if found is None or found["first"] is None:
            return
        start = max(found["first"], self.since or 0, self.after.at if self.after is not None else 0)
        first = max(self.days.day_of(start), self.chosen.since or 0)
        last = min(self.days.day_of(found["last"]), self.chosen.until or 99991231)
        for day in days_between(first, last) if first <= last else ():
            start_of_day, end = self.days.bounds(day)
            yield day, Bounds(max(start_of_day, self.since or 0), end)
