"""Give the rows of the alert log page, newest first: the counts say which days to look into, so no filter means a scan."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from cds_service.database import WITHDRAWN, Database
from cds_service.rollups.counting import NO_RESPONSE, conditions, dimensions, text_of, totals, value_of
from cds_service.rollups.days import SiteDays, days_between
from cds_service.rollups.filter import Filter, FilterError

PAGE = 50


class Match(NamedTuple):
    """A day with matches: `at_most` so many cards, exactly so many where only fields of `daily_card` are chosen."""

    day: int
    at_most: int


@dataclass(frozen=True)
class LogRow:
    """One card that fired, with the response to it. Times are microseconds since 1970."""

    received_at: int
    call_id: bytes
    position: int  # of the card in the call's body
    uuid: bytes
    tenant: str
    client: str
    hook: str
    card: str
    version: str
    content_hash: str
    row: int
    indicator: str
    mode: str
    state: str  # shown, repeated, gave_way, capped, withdrawn
    about_order: bool
    response: str  # accepted, overridden, none
    reason: str  # code of the override reason, "" for none
    commented: bool
    answered_at: int | None
    us: int | None  # how long the call took

    @property
    def cursor(self) -> str:
        """Return where this row stands, for `newest(before=...)`."""
        return f"{self.received_at}-{self.call_id.hex()}-{self.position}"


@dataclass(frozen=True)
class LogPage:
    """Rows of one page; `before` is the cursor of the next page, None on the last."""

    rows: tuple[LogRow, ...]
    before: str | None


class _Cursor(NamedTuple):
    at: int
    call: bytes
    position: int

    @classmethod
    def of(cls, text: str) -> _Cursor:
        found = re.fullmatch(r"([0-9]{1,18})-([0-9a-f]{32})-([0-9]{1,6})", text)
        if not found:
            raise FilterError("before must be that of a link on the page")
        return cls(int(found[1]), bytes.fromhex(found[2]), int(found[3]))


# Fields that another table than daily_card counts by day.
_INDEXES = {"user": "user", "reason": "reason", "comment": "reason", "row": "evaluation", "ms_from": "call", "ms_to": "call"}
# Fields with an index of the log itself.
_DIRECT = frozenset({"patient", "encounter", "order", "uuid"})


def days_with_matches(database: Database, chosen: Filter) -> list[Match]:
    """Return the counted days on which cards may match the filter, newest first."""
    found = {row["day"]: row["n"] for row in totals(database, "card", chosen, ("day",))}
    for table in sorted({_INDEXES[name] for name in chosen.names & _INDEXES.keys()}):
        counted = _days_of(database, table, chosen)
        found = {day: min(n, counted[day]) for day, n in found.items() if counted.get(day)}
    return [Match(day, n) for day, n in sorted(found.items(), reverse=True)]


def _days_of(database: Database, table: str, chosen: Filter) -> dict[int, int]:
    """Return how many cards of each day `table` allows for, at most."""
    if table == "call":  # how many cards a call has is not counted there
        sums, most = {"n": "sum(n)"}, 1_000
        rows = [
            row
            for row in totals(database, "call", chosen, ("day", "ms_bucket"), sums)
            if _bucket_may_match(row["ms_bucket"], chosen)
        ]
    elif table == "user":
        most = 1_000  # shown live only: a card in shadow is not counted for its user
        rows = totals(database, "user", chosen, ("day",), {"n": "sum(shown)"})
    elif table == "reason":
        most = 1
        commented = chosen["comment"]
        sums = {"n": "sum(comments)" if commented == ("yes",) else "sum(n - comments)" if commented == ("no",) else "sum(n)"}
        rows = totals(database, "reason", chosen, ("day",), sums)
    else:
        most = 1
        rows = totals(database, "evaluation", chosen, ("day",), {"n": "sum(n)"})
    found: dict[int, int] = {}
    for row in rows:
        found[row["day"]] = found.get(row["day"], 0) + row["n"] * most
    return found
