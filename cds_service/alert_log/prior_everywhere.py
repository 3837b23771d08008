"""Look up the cards shown before in the file and, where there is one, in the database that several machines share, at once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Protocol

import msgspec

from cds_service.alert_log.prior import Incomplete, PriorCards
from cds_service.alert_log.records import PriorRecord
from cds_service.telemetry import metrics
from cds_service.telemetry.events import Event, tell

_STRENGTH = ("", "overridden", "accepted")  # a card that was accepted once stays accepted


class PriorSourceDownError(Exception):
    """Raised where the database does not respond. The text is the class of the error."""


class PriorSource(Protocol):
    """Look up cards shown by all machines."""

    async def find(
        self, patient_key: str, client: str, since: Mapping[str, datetime], apart: Collection[str]
    ) -> list[PriorRecord]:
        """See `AlertLog.prior_cards`. Raises PriorSourceDownError; is cancelled where it takes too long."""

    async def open(self) -> None:
        """Begin to connect."""

    async def close(self) -> None: ...


class PriorEverywhere:
    """Ask both, wait for neither longer than the limit, and take what came."""

    def __init__(self, file: PriorCards, elsewhere: PriorSource | None, limit: float) -> None:
        """`limit`: seconds that one look-up may take."""
        self.unanswered = 0  # by the database
        self._file = file
        self._elsewhere = elsewhere
        self._limit = limit
        self._opening: asyncio.Task[None] | None = None

    async def find(
        self, patient_key: str, client: str, since: Mapping[str, datetime], apart: Collection[str]
    ) -> list[PriorRecord]:
        """See `AlertLog.prior_cards`."""
        if self._elsewhere is None or not patient_key:
            return await self._file.find(patient_key, client, since, apart)
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._limit
        asking = loop.create_task(self._elsewhere.find(patient_key, client, since, apart))
        asking.add_done_callback(_discard_result)
        try:
            here = await self._file.find(patient_key, client, since, apart)
            await asyncio.wait((asking,), timeout=max(0.0, ends - loop.time()))
            there = asking.result() if asking.done() else None
        except PriorSourceDownError as error:
            return self._alone(here, str(error))
        finally:
            asking.cancel()
        if there is None:
            return self._alone(here, "TimeoutError")
        both = merged(since, here, there)
        return Incomplete(both) if isinstance(here, Incomplete) else both

    def start(self) -> None:
        """Begin to connect, so that the first call does not wait for that."""
        if self._elsewhere is not None:
            self._opening = asyncio.get_running_loop().create_task(self._elsewhere.open())

    async def close(self) -> None:
        await self._file.close()
        if self._elsewhere is not None:
            if self._opening is not None:
                await self._opening
            await self._elsewhere.close()

    def _alone(self, here: list[PriorRecord], error: str) -> Incomplete:
        """Return what the file knows, and count that the database said nothing."""
        if not self.unanswered:
            tell(Event.LOG_UNREAD_ELSEWHERE, error=error)
        self.unanswered += 1
        metrics.LOG_UNREAD_ELSEWHERE.inc()
        return Incomplete(here)


def merged(cards: Iterable[str], here: Iterable[PriorRecord], there: Iterable[PriorRecord]) -> list[PriorRecord]:
    """Return what either knows, newest first for each card id in `cards`; a card that both know has the stronger answer."""
    found: dict[tuple[str, datetime], PriorRecord] = {}
    for one in (*here, *there):
        known = found.setdefault((one.uuid, one.shown_at), one)
        if _STRENGTH.index(one.answered) > _STRENGTH.index(known.answered):
            found[one.uuid, one.shown_at] = msgspec.structs.replace(known, answered=one.answered)
    places = {card: place for place, card in enumerate(cards)}
    newest = sorted(found.values(), key=lambda one: one.shown_at, reverse=True)
    return sorted(newest, key=lambda one: places[one.card])


def _discard_result(asking: asyncio.Task[list[PriorRecord]]) -> None:
    """Read the exception of an abandoned question, so that asyncio does not log it as unhandled."""
    if not asking.cancelled():
        asking.exception()
