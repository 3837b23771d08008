"""Look up the cards that were shown for a patient before, within a few milliseconds."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from cds_service.alert_log.records import PriorRecord
from cds_service.alert_log.store import instant, open_for_reading
from cds_service.telemetry import metrics
from cds_service.telemetry.events import Event, tell

# Seconds. A healthy file takes a fraction of a millisecond. A busy disk gets a tenth of the half second that a clinician waits
# for a hook, a broken one no more than that.
TIME_LIMIT = 0.05

# The newest cards of one id that are looked at: bounded work also for a patient whose chart is opened a thousand times a day.
_NEWEST = 50

_INSTRUCTIONS = 1000  # of SQLite's machine between two looks at the clock, some 10 us

# Feedback from before a card was shown answers an earlier card of the same uuid (a repeated call returns its cards again), but
# a card that was accepted once stays accepted. min: "accepted" comes before "overridden". An ignored card is not answered.
# Of cards that are alike in all that can decide whether they are repeated, the newest stands for all (the columns go with max).
_SHOWN = """SELECT card.uuid, card.card, version, indicator, about, table_row AS row, order_key, hook, user_key,
        call.received_at AS shown_at, coalesce((SELECT min(outcome) FROM feedback
            WHERE card_uuid = card.uuid AND outcome IN ('accepted', 'overridden')
            AND (feedback.client = '' OR (feedback.client, feedback.tenant) = (call.client, call.tenant))
            AND (outcome = 'accepted' OR feedback.received_at >= call.received_at)), '') AS answered
    FROM (SELECT seq, call_seq, uuid, card, version, indicator, about, table_row, order_key FROM card
        WHERE patient_key = ? AND card = ? AND mode = 'live' ORDER BY seq DESC LIMIT ?) AS card
    JOIN call ON call.seq = call_seq WHERE client = ? AND call.received_at >= ?
    GROUP BY version, indicator, about, table_row, order_key, hook, user_key, answered,
        CASE WHEN card.uuid IN (SELECT value FROM json_each(?)) THEN card.seq END
    ORDER BY max(card.seq) DESC"""


class PriorCards:
    """Read the file in a thread of its own; `find` and `close` are called on the event loop."""

    def __init__(self, path: Path, limit: float) -> None:
        """`limit`: seconds that one look-up may take. The file is opened at the first."""
        self.unanswered = 0
        self._path = path
        self._limit = limit
        self._closed = False
        self._thread = ThreadPoolExecutor(1, "alert-log-prior")
        # Used in the thread only:
        self._connection: sqlite3.Connection | None = None
        self._deadline = 0.0

    async def find(
        self, patient_key: str, client: str, since: Mapping[str, datetime], apart: Collection[str]
    ) -> list[PriorRecord]:
        """See `AlertLog.prior_cards`. Return nothing for a call without a patient key."""
        if not patient_key:
            return []
        try:
            if self._closed:
                raise sqlite3.ProgrammingError("the log is closed")
            deadline = time.monotonic() + self._limit
            asking = asyncio.get_running_loop().run_in_executor(
                self._thread, self._read, deadline, patient_key, client, dict(since), json.dumps([*apart])
            )
            return await asyncio.wait_for(asking, self._limit)
        except (sqlite3.Error, OSError) as error:  # TimeoutError is an OSError
            if not self.unanswered:
                tell(Event.LOG_UNREAD, error=type(error).__name__)
            self.unanswered += 1
            metrics.LOG_UNREAD.inc()
            return []

    async def close(self) -> None:
        """Close the file, unless a read hangs; look-ups find nothing after this."""
        if not self._closed:
            self._closed = True
            closing = asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
            await asyncio.wait((closing,), timeout=1)
            self._thread.shutdown(wait=False)

    # In the thread

    def _read(self, deadline: float, patient_key: str, client: str, since: dict[str, datetime], apart: str) -> list[PriorRecord]:
        self._deadline = deadline
        if self._is_late():  # it waited behind one that took too long
            raise TimeoutError
        try:
            if self._connection is None:
                self._connection = open_for_reading(self._path, busy_ms=int(self._limit * 1000))
                self._connection.set_progress_handler(self._is_late, _INSTRUCTIONS)
            execute = self._connection.execute
            return [
                PriorRecord(**dict(row) | {"shown_at": datetime.fromisoformat(row["shown_at"])})
                for card, start in since.items()
                for row in execute(_SHOWN, (patient_key, card, _NEWEST, client, instant(start), apart)).fetchall()
            ]
        except (sqlite3.Error, OSError):
            self._disconnect()  # after an error of the disk only a new connection says what is really in the file
            raise

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
