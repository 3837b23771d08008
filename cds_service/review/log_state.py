"""Tell how far the pages are behind the log, for the line above each page."""

from __future__ import annotations

from datetime import datetime

import msgspec

from cds_service.alert_log.instants import micros
from cds_service.database import Database
from cds_service.rollups.days import SECOND
from cds_service.rollups.rollup import rollup_state
from cds_service.shipping.state import shipping_state

_LATE_SECONDS = 120  # counts are brought up to date every few seconds; beyond this, something is wrong


class LogState(msgspec.Struct, frozen=True):
    """How old the counts are, and what is not in them."""

    counted_seconds_ago: int | None  # None: never
    days_waiting: int  # days that are still to be counted anew
    quarantined: int  # records that could not be written, here or in PostgreSQL
    shipped: bool  # the pages read PostgreSQL, to which the files of one or more machines are shipped
    waiting: int  # records of these files that are not there yet
    lag_seconds: int  # for how long the first of them has waited
    silent_seconds: int  # since the machine that has been silent longest last reported
    open_signals: int  # of the clients that the reader may see

    @property
    def late(self) -> bool:
        """Whether the counts are older than they should be."""
        return self.counted_seconds_ago is None or self.counted_seconds_ago > _LATE_SECONDS

    @property
    def behind(self) -> bool:
        """Whether shipping is further behind than it should be."""
        return self.shipped and max(self.lag_seconds, self.silent_seconds) > _LATE_SECONDS


def log_state(database: Database, now: datetime, open_signals: int) -> LogState:
    """Return the state at `now`; `open_signals` is told with it."""
    counts, shipping, at = rollup_state(database), shipping_state(database), micros(now)
    quarantined = database.one("SELECT count(*) AS n FROM log.quarantine") or {"n": 0}
    return LogState(
        counted_seconds_ago=max(at - counts.looked_at, 0) // SECOND if counts.looked_at else None,
        days_waiting=counts.days_waiting,
        quarantined=quarantined["n"] + shipping.refused,
        shipped=shipping.ships,
        waiting=shipping.waiting,
        lag_seconds=int(shipping.lag_seconds(at)),
        silent_seconds=int(shipping.silent_seconds(at)),
        open_signals=open_signals,
    )
