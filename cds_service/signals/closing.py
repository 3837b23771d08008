"""Say whether a signal may be closed: it takes cases that were seen right since, a backtest, or a quiet week."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from cds_service.database import Database
from cds_service.rollups.days import SiteDays, plus
from cds_service.signals.inbox import Signal

RIGHT_CASES = 5  # judged appropriate, of calls after the signal was last seen
QUIET_DAYS = 7  # without a sighting, for a signal that is about no card and so has no cases

# The newest verdict of each reviewer.
_LATER = """SELECT v.call_id, v.nth, v.verdict, c.tenant, c.client FROM review.verdict v
    JOIN log.call c ON c.received_at = v.received_at AND c.id = v.call_id
    WHERE v.card = :card AND v.received_at >= :after AND NOT EXISTS (SELECT 1 FROM review.verdict n
        WHERE n.call_id = v.call_id AND n.card = v.card AND n.nth = v.nth AND n.reviewer = v.reviewer AND n.seq > v.seq)"""


class Later(NamedTuple):
    """Cases of later calls: those that every reader judged appropriate, and the others that were judged."""

    right: int
    not_right: int


def later_cases(database: Database, days: SiteDays, signal: Signal) -> Later:
    """Return how cases of the signal's card and client were judged whose calls came after it was last seen."""
    last = signal.last.day if signal.last is not None else days.day_of(signal.opened_at)
    verdicts = defaultdict(set)
    names = database.names
    for row in database.rows(_LATER, card=signal.place.card, after=days.bounds(last).end):
        here = (names.text(row["tenant"]), names.text(row["client"])) == (signal.place.tenant, signal.place.client)
        if here or not signal.place.client:
            verdicts[bytes(row["call_id"]), row["nth"]].add(row["verdict"])
    right = sum(found == {"appropriate"} for found in verdicts.values())
    return Later(right, len(verdicts) - right)


def why_not_closed(signal: Signal, later: Later, today: int) -> str:
    """Return what is missing before the signal may be closed without a backtest; "" where nothing is."""
    if not signal.place.card:
        last = signal.last.day if signal.last is not None else 0
        return "" if last < plus(today, -QUIET_DAYS) else f"it was seen within the last {QUIET_DAYS} days"
    if later.not_right:
        return f"{later.not_right} later cases were judged, and not as appropriate"
    if later.right < RIGHT_CASES:
        return f"{later.right} of {RIGHT_CASES} later cases were judged appropriate so far"
    return ""
