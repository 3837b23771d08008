"""Describe how far shipping is: for the process that ships, and for those who read the database."""

from __future__ import annotations

from typing import Literal

import msgspec

from cds_service.database import Database
from cds_service.shipping.tables import PARTITIONED

State = Literal[
    "ok",
    "starting",  # nothing was tried yet
    "standby",  # another process of this machine ships the file
    "failing",  # the database or the file can't be used now; it is tried again
    "stopped",  # a schema or a dictionary does not fit: it takes an operator
]


class ShippingHealth(msgspec.Struct, frozen=True):
    """Shipping as this process sees it. Counts are since its start."""

    state: State
    waiting: int | None  # records that are not in PostgreSQL yet; None where that is not known
    lag_seconds: float  # since PostgreSQL last had everything; 0 while it does
    shipped: int
    refused: int  # records that PostgreSQL refused; see `log.unshipped`
    untrue: int  # rows with a month that can't be true, see the default partitions
    restored: int  # times that the file was found restored from a backup
    deleted: int  # records deleted from the file, as they were shipped and old
    last_error: str  # class of the latest error, its cause where that is known; "" for none


class SourceState(msgspec.Struct, frozen=True):
    """One file as the database knows it."""

    id: str  # 32 hex digits
    waiting: int  # records of the file that were not in the database at its last report
    waiting_since: int | None  # microseconds since 1970; None where nothing waits
    reported_at: int | None  # when its shipper was last heard of
    restored: int


class ShippingState(msgspec.Struct, frozen=True):
    """All sources of one database. With SQLite the log is its file, and nothing is shipped."""

    ships: bool
    sources: tuple[SourceState, ...] = ()
    refused: int = 0
    untrue: int = 0  # rows in default partitions, because their month can't be true

    @property
    def waiting(self) -> int:
        return sum(one.waiting for one in self.sources)

    def lag_seconds(self, now: int) -> float:
        """Return for how long the source that is furthest behind has been so, at `now` (microseconds since 1970)."""
        since = [one.waiting_since for one in self.sources if one.waiting_since is not None]
        return max(0.0, (now - min(since)) / 1e6) if since else 0.0

    def silent_seconds(self, now: int) -> float:
        """Return for how long the source that has been silent longest has not reported, at `now`."""
        heard = [one.reported_at or 0 for one in self.sources]
        return max(0.0, (now - min(heard)) / 1e6) if heard else 0.0


_SOURCES = "SELECT id, file_seq, last_seq, waiting_since, reported_at, restored FROM log.source ORDER BY reported_at"

_UNTRUE = " + ".join(f"(SELECT count(*) FROM log.{table}_elsewhen)" for table in PARTITIONED)  # noqa: S608 - our names
_COUNTS = f"SELECT (SELECT count(*) FROM log.unshipped) AS refused, {_UNTRUE} AS untrue"  # noqa: S608


def shipping_state(database: Database) -> ShippingState:
    """Return the state of shipping into the database of a reader (`cds_service.database.Database`)."""
    if database.dialect == "sqlite":
        return ShippingState(ships=False)
    sources = tuple(
        SourceState(
            id=bytes(one["id"]).hex(),
            waiting=max(0, one["file_seq"] - one["last_seq"]),
            waiting_since=one["waiting_since"],
            reported_at=one["reported_at"],
            restored=one["restored"],
        )
        for one in database.rows(_SOURCES)
    )
    counted = database.one(_COUNTS) or {}
    return ShippingState(ships=True, sources=sources, refused=counted.get("refused", 0), untrue=counted.get("untrue", 0))
