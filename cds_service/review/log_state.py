"""Tell how far the pages are behind the log, for the line above each page."""

from __future__ import annotations

from datetime import datetime

import msgspec

from cds_service.database import Database
from cds_service.rollups.days import SECOND, moment
from cds_service.rollups.rollup import rollup_state

_LATE_SECONDS = 120  # counts are brought up to date every few seconds; beyond this, something is wrong


class LogState(msgspec.Struct, frozen=True):
    """How old the counts are, and what is not in them."""

    counted_seconds_ago: int | None  # None: never
    days_waiting: int  # days that are still to be counted anew
    quarantined: int  # records that could not be written

    @property
    def late(self) -> bool:
        """Whether the counts are older than they should be."""
        return self.counted_seconds_ago is None or self.counted_seconds_ago > _LATE_SECONDS


def log_state(database: Database, now: datetime) -> LogState:
    """Return the state at `now`."""
    state = rollup_state(database)
    quarantined = database.one("SELECT count(*) AS n FROM log.quarantine") or {"n": 0}
    return LogState(
        counted_seconds_ago=max(moment(now) - state.looked_at, 0) // SECOND if state.looked_at else None,
        days_waiting=state.days_waiting,
        quarantined=quarantined["n"],
    )
