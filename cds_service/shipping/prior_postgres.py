"""Ask PostgreSQL for the cards that were shown for a patient before, by this machine or another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from cds_service.alert_log.instants import instant_of, key_bytes, key_text, micros, uuid_text
from cds_service.alert_log.prior import NEWEST
from cds_service.alert_log.prior_everywhere import PriorSourceDownError
from cds_service.alert_log.records import PriorRecord
from cds_service.telemetry.log_lines import silence_database_driver

_CONNECTIONS = 4  # of each process
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds without a question after one that failed; each twice the one before
_FAULTS = (psycopg.Error, PoolTimeout, PoolClosed, OSError)

# As `alert_log.prior` asks the file; cards that are alike are made one in Python.
_SHOWN: LiteralString = f"""SELECT card.uuid, card.key, asked.card, version.text AS version, indicator.text AS indicator,
        card.about, card.table_row, card.order_key, hook.text AS hook, call.user_key, card.received_at,
        coalesce((SELECT min(word.text) FROM log.feedback JOIN log.name AS word ON word.id = feedback.outcome
            WHERE feedback.card_uuid = card.uuid AND word.text IN ('accepted', 'overridden')
            AND (feedback.client, feedback.tenant) = (card.client, card.tenant)
            AND (word.text = 'accepted' OR feedback.received_at >= card.received_at)), '') AS answered
    FROM unnest(%(cards)s::text[], %(since)s::bigint[]) WITH ORDINALITY AS asked (card, since, place)
    CROSS JOIN LATERAL (SELECT * FROM log.card
        WHERE patient = %(patient)s::bytea AND received_at >= asked.since
        AND card = (SELECT id FROM log.name WHERE text = asked.card)
        AND client = (SELECT id FROM log.name WHERE text = %(client)s::text)
        AND mode = (SELECT id FROM log.name WHERE text = 'live') AND state = (SELECT id FROM log.name WHERE text = 'shown')
        ORDER BY received_at DESC, position DESC LIMIT {NEWEST}) AS card
    JOIN log.call ON call.tenant = card.tenant AND call.received_at = card.received_at AND call.id = card.call_id
    JOIN log.name AS version ON version.id = card.version JOIN log.name AS indicator ON indicator.id = card.indicator
    JOIN log.name AS hook ON hook.id = card.hook
    WHERE NOT EXISTS (SELECT 1 FROM log.withdrawal AS held
        WHERE held.received_at = card.received_at AND held.call_id = card.call_id)
    ORDER BY asked.place, card.received_at DESC, card.position DESC"""  # noqa: S608 - a number of this program
_NOBODY = {"patient": bytes(16), "client": "", "cards": [""], "since": [0]}


class PostgresPriorCards:
    """See `PriorSource`. After a failure it does not ask for a while, so that only few calls wait in vain."""

    def __init__(self, url: str, limit: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`limit`: seconds that one look-up may take. Does not connect yet."""
        silence_database_driver()
        self._url = url
        self._limit = limit
        self._monotonic = monotonic
        self._pool = self._new_pool()
        self._ask_at = float("-inf")
        self._pause = _FIRST_PAUSE
        self._checking: asyncio.Task[None] | None = None

    async def find(
        self, patient_key: str, client: str, since: Mapping[str, datetime], apart: Collection[str]
    ) -> list[PriorRecord]:
        if self._monotonic() < self._ask_at:
            raise PriorSourceDownError("Paused")
        try:
            found = await self._ask(patient_key, client, since, apart)
        except _FAULTS as error:
            self._wait()
            self._checking = asyncio.get_running_loop().create_task(self._check())
            raise PriorSourceDownError(type(error).__name__) from None
        except asyncio.CancelledError:  # it took too long
            self._wait()
            raise
        self._pause = _FIRST_PAUSE
        return found

    async def open(self) -> None:
        await self._pool.open()  # returns at once; the connections are made beside

    async def close(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
        await self._pool.close(timeout=1)

    async def _ask(
        self, patient_key: str, client: str, since: Mapping[str, datetime], apart: Collection[str]
    ) -> list[PriorRecord]:
        asked = {
            "patient": key_bytes(patient_key)[1],
            "client": client,
            "cards": list(since),
            "since": [micros(start) for start in since.values()],
        }
        async with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_SHOWN, asked, prepare=True)
            return _distinct([_record(row) for row in await cursor.fetchall()], apart)

    def _new_pool(self) -> AsyncConnectionPool[psycopg.AsyncConnection[Any]]:
        return AsyncConnectionPool(
            self._url,
            kwargs={"autocommit": True, "connect_timeout": 2, "application_name": "cds-service prior cards"},
            configure=self._configure,
            min_size=1,
            max_size=_CONNECTIONS,
            timeout=self._limit,
            reconnect_timeout=5,
            open=False,
            name="prior-cards",
        )

    async def _configure(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Plan the statement once, before a call waits: over all partitions, that takes longer than to run it."""
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        with suppress(psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):  # until a shipper has made the tables
            await connection.execute(_SHOWN, _NOBODY, prepare=True)
        await connection.execute(f"SET statement_timeout = {max(1, int(self._limit * 1000))}".encode())

    async def _check(self) -> None:
        """Replace the other connections of the pool that are broken, too, before one of them is used."""
        with suppress(*_FAULTS):  # then the next question fails, and that is counted
            await self._pool.check()

    def _wait(self) -> None:
        self._ask_at = self._monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)


def _record(row: Mapping[str, Any]) -> PriorRecord:
    return PriorRecord(
        uuid=uuid_text(row["uuid"]),
        card=row["card"],
        version=row["version"],
        indicator=row["indicator"],
        about=row["about"],
        row=row["table_row"],
        order_key=key_text(row["key"], row["order_key"]),
        hook=row["hook"],
        user_key=key_text(row["key"], row["user_key"]),
        shown_at=instant_of(row["received_at"]),
        answered=row["answered"],
    )


def _distinct(records: list[PriorRecord], apart: Collection[str]) -> list[PriorRecord]:
    """Return the newest of those that differ in uuid and time alone, but for those with a uuid in `apart`."""
    found: dict[tuple[str, ...], PriorRecord] = {}
    for one in records:
        own = f"{one.uuid} {one.shown_at}" if one.uuid in apart else ""
        why = (one.card, one.version, one.indicator, one.about, str(one.row), one.order_key, one.hook, one.user_key, one.answered)
        found.setdefault((own, *why), one)
    return list(found.values())
