"""Look up the cards that were shown for a patient before, within a few milliseconds."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from cds_service.alert_log.instants import instant_of, key_bytes, key_text, micros, uuid_bytes, uuid_text
from cds_service.alert_log.old_prior import old_prior_cards
from cds_service.alert_log.reading import NameTexts, has_old_rows, ids_of, open_for_reading
from cds_service.alert_log.records import PriorRecord
from cds_service.files.damage import is_damage
from cds_service.files.set_aside import wal_of
from cds_service.telemetry import metrics
from cds_service.telemetry.events import Event, tell

# Seconds. A healthy file takes a fraction of a millisecond. A busy disk gets a tenth of the half second that a clinician waits
# for a hook, a broken one no more than that.
TIME_LIMIT = 0.05

# The newest cards of one id that are looked at: bounded work also for a patient whose chart is opened a thousand times a day.
NEWEST = 50


class Incomplete(list[PriorRecord]):
    """What was found where one of the places that were asked did not answer in time: a list, and a sign of what it lacks."""


_INSTRUCTIONS = 1000  # of SQLite's machine between two looks at the clock, some 10 us

# Feedback from before a card was shown answers an earlier card of the same uuid (a repeated call returns its cards again), but
# a card that was accepted once stays accepted. An ignored card is not answered.
# Of cards that are alike in all that can decide whether they are repeated, the newest stands for all (the columns go with max).
_SHOWN = """SELECT card.uuid, card.key, version, indicator, about, table_row, order_key, call.hook, user_key,
        card.received_at, max(card.received_at * 1000 + position) AS newest,
        (SELECT max(outcome = :accepted) FROM feedback
            WHERE card_uuid = card.uuid AND outcome IN (:accepted, :overridden)
            AND (feedback.client, feedback.tenant) = (card.client, card.tenant)
            AND (outcome = :accepted OR feedback.received_at >= card.received_at)) AS answered
    FROM (SELECT * FROM card WHERE patient = :patient AND card = :card AND mode = :live AND state = :shown
        ORDER BY received_at DESC, position DESC LIMIT :newest) AS card
    JOIN call ON call.received_at = card.received_at AND call.id = card.call_id
    WHERE card.client = :client AND card.received_at >= :since
        AND NOT EXISTS (SELECT 1 FROM withdrawal WHERE withdrawal.call_id = card.call_id)
    GROUP BY version, indicator, about, table_row, order_key, call.hook, user_key, answered,
        CASE WHEN lower(hex(card.uuid)) IN (SELECT value FROM json_each(:apart)) THEN hex(card.call_id) || position END
    ORDER BY newest DESC"""
_UNKNOWN = -1  # no id of a name
_WORDS = ("live", "shown", "accepted", "overridden")
_ANSWERS: dict[int | None, Literal["", "accepted", "overridden"]] = {None: "", 0: "overridden", 1: "accepted"}


class PriorCards:
    """Read the file in a thread of its own; `find` and `close` are called on the event loop."""

    def __init__(self, path: Path, limit: float, on_damage: Callable[[os.stat_result], None] = lambda _: None) -> None:
        """`limit`: seconds that one look-up may take. The file is opened at the first.

        `on_damage` is called in the thread with the file that two look-ups, each on a connection of its own, found damaged.
        """
        self.unanswered = 0
        self._path = path
        self._limit = limit
        self._closed = False
        self._thread = ThreadPoolExecutor(1, "alert-log-prior")
        # Used in the thread only:
        self._connection: sqlite3.Connection | None = None
        self._file: os.stat_result | None = None  # that is open, or was found damaged once
        self._wal: os.stat_result | None = None  # its write-ahead log
        self._damaged = False
        self._on_damage = on_damage
        self._old_rows = True  # are there, as far as is known
        self._deadline = 0.0

    async def find(
        self, patient_key: str, client: str, since: Mapping[str, datetime], apart: Collection[str]
    ) -> list[PriorRecord]:
        """See `AlertLog.prior_cards`. Return nothing for a call without a patient key."""
        if not patient_key:
            return []
        if self._closed:
            return self._nothing(sqlite3.ProgrammingError("the log is closed"))
        deadline = time.monotonic() + self._limit
        asking = asyncio.get_running_loop().run_in_executor(
            self._thread, self._read, deadline, patient_key, client, dict(since), tuple(apart)
        )
        try:
            await asyncio.wait((asking,), timeout=self._limit)
        finally:
            asking.cancel()  # does nothing where it is done
        # Looked at and not raised: a traceback through this frame, which knows the future, would be a cycle.
        error = TimeoutError() if asking.cancelled() else asking.exception()
        if error is None:
            return asking.result()
        if not isinstance(error, sqlite3.Error | OSError):
            raise error
        return self._nothing(error)

    def _nothing(self, error: Exception) -> Incomplete:
        """Count that the file said nothing, and tell the first time."""
        if not self.unanswered:
            tell(Event.LOG_UNREAD, error=type(error).__name__)
        self.unanswered += 1
        metrics.LOG_UNREAD.inc()
        return Incomplete()

    async def close(self) -> None:
        """Close the file, unless a read hangs; look-ups find nothing after this."""
        if not self._closed:
            self._closed = True
            closing = asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
            await asyncio.wait((closing,), timeout=1)
            self._thread.shutdown(wait=False)

    # In the thread

    def _read(
        self, deadline: float, patient_key: str, client: str, since: dict[str, datetime], apart: tuple[str, ...]
    ) -> list[PriorRecord]:
        self._deadline = deadline
        if self._is_late():  # it waited behind one that took too long
            raise TimeoutError
        try:
            file = self._path.stat()
            if self._file is None or not os.path.samestat(file, self._file):  # the log was set aside or replaced
                self._disconnect()
                self._file, self._damaged = file, False
            elif not self._has_its_wal():  # it was opened with that of the file before, which has been moved away
                self._disconnect()
            if self._connection is None:
                self._connection = open_for_reading(self._path, busy_ms=int(self._limit * 1000))
                self._connection.set_progress_handler(self._is_late, _INSTRUCTIONS)
                self._wal = self._wal_now()
            self._connection.execute("BEGIN")  # so that a card is seen once while old rows are rewritten
            found = _shown(self._connection, patient_key, client, since, apart)
            self._old_rows = self._old_rows and has_old_rows(self._connection)
            if self._old_rows:
                older = old_prior_cards(self._connection, patient_key, client, since, NEWEST)
                found = sorted(found + older, key=lambda one: (list(since).index(one.card), -micros(one.shown_at)))
            self._connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self._disconnect()  # after an error of the disk only a new connection says what is really in the file
            if is_damage(error) and self._file is not None:
                if self._damaged:
                    self._on_damage(self._file)
                self._damaged = True
            raise
        return found

    def _has_its_wal(self) -> bool:
        now = self._wal_now()
        return self._wal is None or (now is not None and os.path.samestat(now, self._wal))

    def _wal_now(self) -> os.stat_result | None:
        try:
            return wal_of(self._path).stat()
        except FileNotFoundError:
            return None

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _shown(
    connection: sqlite3.Connection, patient_key: str, client: str, since: Mapping[str, datetime], apart: Collection[str]
) -> list[PriorRecord]:
    ids = ids_of(connection, (*_WORDS, client, *since))
    texts = NameTexts(connection)
    asked = {word: ids.get(word, _UNKNOWN) for word in _WORDS} | {
        "patient": key_bytes(patient_key)[1],
        "client": ids.get(client, _UNKNOWN),
        "newest": NEWEST,
        "apart": msgspec.json.encode([uuid_bytes(one).hex() for one in apart]).decode(),
    }
    return [
        PriorRecord(
            uuid=uuid_text(row["uuid"]),
            card=card,
            version=texts[row["version"]],
            indicator=texts[row["indicator"]],  # type: ignore[arg-type]
            about=row["about"],
            row=row["table_row"],
            order_key=key_text(row["key"], row["order_key"]),
            hook=texts[row["hook"]],
            user_key=key_text(row["key"], row["user_key"]),
            shown_at=instant_of(row["received_at"]),
            answered=_ANSWERS[row["answered"]],
        )
        for card, start in since.items()
        for row in connection.execute(_SHOWN, asked | {"card": ids.get(card, _UNKNOWN), "since": micros(start)}).fetchall()
    ]
