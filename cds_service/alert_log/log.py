"""Append to the alert log from the event loop, and wait until a record is durable.

A request waits for its record unless the log can't be written: then it goes on at once and the record waits in memory for a
retry. A broken disk holds up no answer, and every record that is lost is counted.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from cds_service.alert_log.prior import TIME_LIMIT, PriorCards
from cds_service.alert_log.prior_everywhere import PriorEverywhere, PriorSource
from cds_service.alert_log.records import (
    CallRecord,
    DeliveryRecord,
    FeedbackRecord,
    PriorRecord,
    QuarantineRecord,
    Record,
    WithdrawnRecord,
)
from cds_service.alert_log.refusals import Refusals
from cds_service.alert_log.store import Archive
from cds_service.alert_log.writer import Entry, Waiter, Writer
from cds_service.files.in_use import Use
from cds_service.telemetry import metrics
from cds_service.telemetry.events import Event, tell

_IDLE = 1.0  # seconds without a commit after which notes get one of their own


class LogHealth(msgspec.Struct, frozen=True, gc=False):
    """The log as this process sees it. Counts are records since start."""

    state: Literal["ok", "degraded", "failed"]  # degraded: answers leave before they are logged; failed: nothing is logged
    waiting: int  # in memory, not durable yet
    lost: int  # dropped from memory because too many waited or the service ended
    quarantined: int  # could not be stored whatever the state of the file; listed in the table `quarantine`
    last_error: str  # class name of the latest error, "" for none
    written: int
    unanswered: int  # times that the cards shown before could not be looked up in time; the cards were shown then
    unanswered_elsewhere: int = 0  # times that the database of several machines could not be asked for them


class AlertLog:
    """The log of one event loop. All methods are called on that loop."""

    def __init__(
        self,
        path: Path,
        *,
        max_waiting_calls: int = 10_000,
        patience: float = 1.0,
        grace: float = 10.0,
        prior_limit: float = TIME_LIMIT,
        archive: Archive | None = None,
        elsewhere: PriorSource | None = None,
    ) -> None:
        """`patience`: seconds that an answer waits for its record; `grace`: seconds that `close` waits for the last ones;
        `prior_limit`: seconds that an answer waits to hear which cards were shown before; `archive`: the knowledge of this
        process, to be kept in the file; `elsewhere`: where other machines' cards are looked up.
        """
        self._writer = Writer(path, self._on_settled, self._on_failing, archive)
        self._prior = PriorCards(path, prior_limit, self._writer.report_damage)
        self._prior_everywhere = PriorEverywhere(self._prior, elsewhere, prior_limit)
        self._use = Use(path)
        self._max_waiting = max_waiting_calls
        self._patience = patience
        self._grace = grace
        self._unsettled: deque[tuple[float, Waiter]] = deque()  # when the patience with each ends, by the loop's clock
        self._watch: asyncio.TimerHandle | None = None
        self._refusals = Refusals()
        self._notes_due: asyncio.TimerHandle | None = None
        self._handed_over = 0.0  # when a record last was, by the loop's clock
        self._turn: list[Entry] = []  # what this turn of the loop appended
        self._closed = False
        self._stalled = False
        self._dropped = 0
        self._forgotten_until: datetime | None = None

    def start(self) -> None:
        """Open the file and start the thread. A file that can't be written now is retried; the log is degraded meanwhile.

        One that can never be the log is set aside.
        """
        self._loop = asyncio.get_running_loop()
        self._use.begin()
        self._writer.start()
        self._prior_everywhere.start()

    async def close(self) -> None:
        """Write the waiting records, for at most `grace` seconds; the rest is counted and logged as lost."""
        await self._prior_everywhere.close()
        self._closed = True
        try:
            await self._close_writer()
        finally:
            self._use.end()

    async def _close_writer(self) -> None:
        if not self._writer.alive:
            return
        self._hand_over()
        if self._notes_due is not None:
            self._notes_due.cancel()
        for note in self._refusals.taken():
            self._writer.note(note)
        self._writer.finish(self._grace)
        await asyncio.to_thread(self._writer.join, self._grace + 1)
        if self._writer.alive:
            tell(Event.LOG_LOST, count=self._writer.waiting, state="a commit hangs")
        self._release()
        if self._watch is not None:
            self._watch.cancel()

    async def append(self, record: CallRecord) -> bool:
        """Log a call. True: it is durable. False: it is not, and `health` says whether it waits, is quarantined or lost."""
        waiter = self._put(record)
        return waiter is not None and await waiter

    def withdraw(self, record: CallRecord, at: datetime) -> None:
        """Log at `at` (aware) that the response of a call, whose record was appended, was held back: the EHR got 503 and no card.

        It is queued behind the record, which may be in a commit now. Nothing waits for it.
        """
        if self._closed or not self._writer.alive:
            self._count_dropped()
        else:
            self._turn.append((WithdrawnRecord(record, at), None))
            self._hand_over()

    async def append_feedback(self, records: Sequence[FeedbackRecord | QuarantineRecord]) -> bool:
        """Log feedback in this order, and items of it that could not be read. True: all of it is durable."""
        waiters = [self._put(_with_id(record)) for record in records]
        return all([waiter is not None and await waiter for waiter in waiters])

    def delivered(self, note: DeliveryRecord) -> None:
        """Log what is known of a call once its response has left. It rides along with the next commit."""
        self._writer.note(note)
        self._expect_notes()

    def refused(self, at: datetime, tenant: str, client: str, hook: str, status: int, reason: str) -> None:
        """Count a request that never became a call, by the minute."""
        self._refusals.count(at, tenant, client, hook, status, reason)
        self._expect_notes()

    async def prior_cards(
        self, patient_key: str, client: str, since: Mapping[str, datetime], apart: Collection[str]
    ) -> list[PriorRecord]:
        """Return the live cards shown to `client` about a patient, newest first for each card id in `since`.

        None is older than `since` says (aware). Cards that differ in uuid and time alone are one, the newest of them, but for
        those with a uuid in `apart`. Empty, and counted in `health`, where the file does not answer in time: then the
        card is shown.
        """
        if (forgotten := self._forgotten_until) is not None:
            since = {card: max(at, forgotten) for card, at in since.items()}
        return await self._prior_everywhere.find(patient_key, client, since, apart)

    def forget_shown(self, until: datetime) -> None:
        """Let no card that was shown before `until` make another a repeat, in this process. For the playground."""
        self._forgotten_until = until

    @property
    def state(self) -> Literal["ok", "degraded", "failed"]:
        """Return the state, see `LogHealth`."""
        if not self._writer.alive:
            return "failed"
        return "degraded" if self._writer.failing or self._stalled else "ok"

    def health(self) -> LogHealth:
        return LogHealth(
            state=self.state,
            waiting=len(self._turn) + self._writer.waiting,
            lost=self._dropped + self._writer.abandoned,
            quarantined=self._writer.quarantined,
            last_error=self._writer.last_error,
            written=self._writer.written,
            unanswered=self._prior.unanswered,
            unanswered_elsewhere=self._prior_everywhere.unanswered,
        )

    def _put(self, record: Record) -> Waiter | None:
        """Queue a record. Return the future to wait for, None where the response does not wait."""
        if self._closed or not self._writer.alive:
            self._count_dropped()
            return None
        if self._writer.failing or self._stalled:
            self._turn.append((record, None))
            self._hand_over()
            return None
        waiter = self._loop.create_future()
        self._unsettled.append((self._loop.time() + self._patience, waiter))
        if self._watch is None:
            self._watch = self._loop.call_later(self._patience, self._look_for_stall)
        if not self._turn:  # all records of this turn are handed over together, so that they share a commit
            self._loop.call_soon(self._hand_over)
        self._turn.append((record, waiter))
        return waiter

    def _expect_notes(self) -> None:
        if self._notes_due is None and not self._closed and self._writer.alive:
            self._notes_due = self._loop.call_later(_IDLE, self._write_notes)

    def _write_notes(self) -> None:
        """Have notes written that no commit took along; look again later where some may come along still."""
        self._notes_due = None
        for note in self._refusals.of_past_minutes():
            self._writer.note(note)
        idle = self._loop.time() - self._handed_over >= _IDLE
        if self._writer.has_notes and idle and not self._writer.failing:
            self._writer.write_notes()
        elif self._writer.has_notes or self._refusals:
            self._expect_notes()

    def _hand_over(self) -> None:
        """Give the writer the records appended since the last time; drop the oldest where too many wait."""
        self._handed_over = self._loop.time()
        self._writer.put(self._turn)
        self._turn.clear()
        while self._writer.queued > self._max_waiting:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        entry = self._writer.drop_oldest()
        if entry is not None:
            if not self._dropped:
                tell(Event.LOG_FULL, count=self._max_waiting)
            self._count_dropped()
            if entry[1] is not None:
                _settle((entry[1],), durable=False)

    def _count_dropped(self) -> None:
        self._dropped += 1
        metrics.LOG_RECORDS.labels("lost").inc()

    def _look_for_stall(self) -> None:
        """Let answers go whose patience has ended: a commit neither ends nor fails (a hanging disk)."""
        now = self._loop.time()
        while self._unsettled and (self._unsettled[0][1].done() or self._unsettled[0][0] <= now):
            _, waiter = self._unsettled.popleft()
            if not waiter.done():
                waiter.set_result(False)
                self._stalled = True
        self._watch = self._loop.call_at(self._unsettled[0][0], self._look_for_stall) if self._unsettled else None

    def _settled(self, waiters: Sequence[Waiter], durable: bool) -> None:
        if durable:
            self._stalled = False
        _settle(waiters, durable)
        while self._unsettled and self._unsettled[0][1].done():
            self._unsettled.popleft()

    def _release(self) -> None:
        """Let every answer go that waits for the log."""
        _settle([waiter for _, waiter in self._unsettled], durable=False)
        self._unsettled.clear()

    # Called in the writer's thread

    def _on_settled(self, waiters: Sequence[Waiter], durable: bool) -> None:
        self._on_loop(self._settled, waiters, durable)

    def _on_failing(self) -> None:
        self._on_loop(self._release)

    def _on_loop(self, function: Callable[..., None], *args: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed, and with it every request that waited
            self._loop.call_soon_threadsafe(function, *args)


def _settle(waiters: Sequence[Waiter], durable: bool) -> None:
    for waiter in waiters:
        if not waiter.done():  # a disconnected client cancels, an impatient one went on
            waiter.set_result(durable)


def _with_id(record: FeedbackRecord | QuarantineRecord) -> FeedbackRecord | QuarantineRecord:
    if isinstance(record, FeedbackRecord) and not record.id:
        return msgspec.structs.replace(record, id=os.urandom(16))
    return record
