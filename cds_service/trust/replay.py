"""Accept each token once: remember used tokens until they expire.

One insert decides, in a store that all processes share: an SQLite file beside the alert log for the workers of one machine, a
PostgreSQL table for several machines. Of a token, a hash of issuer and `jti` and its expiry are kept.

While the store does not respond, a process knows only the tokens that it has accepted itself. It reports that (`degraded`), and
sends the store the tokens that it accepted meanwhile as soon as the store responds again.

A store that was damaged begins anew, and every process tells it all the tokens that it remembers. What only processes remembered
that have ended is lost: whether a token of before was used is unknown then, until it expires (`first_use`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Protocol, TypeVar

from cds_service.telemetry.events import Event, tell
from cds_service.trust.tokens import Token

ANSWER_SECONDS = 2.0  # limit of one query to the store; a healthy one takes a millisecond
STALL_SECONDS = 0.25  # more for a query whose result may be there already, because the event loop itself was held up
RETRY_SECONDS = 2.0  # between two attempts to reach a store that failed
PURGE_SECONDS = 60.0
MAX_REMEMBERED = 500_000  # tokens in this process, some 100 MB: more than an hour of 100 calls a second

T = TypeVar("T")

Use = tuple[bytes, int]  # hash of a token; the second since 1970 until which it is remembered


class StoreDownError(Exception):
    """Raised where the store does not respond. The text is the class of the error."""


class UsedTokens(Protocol):
    """Store the used tokens for all processes. Every method raises StoreDownError."""

    async def open(self) -> float:
        """Connect, and make missing tables. May be called again after a failure.

        Returns since when the store knows all used tokens, in seconds since 1970: 0, or when it took the place of a damaged one.
        """

    async def insert(self, use: Use) -> bool:
        """Store a token; return whether it is new."""

    async def insert_all(self, uses: Sequence[Use]) -> None:
        """Store several tokens."""

    async def purge(self, now: int) -> None:
        """Delete the tokens that have expired at `now` (seconds since 1970)."""

    async def close(self) -> None: ...


class Replay:
    """Recognise used tokens by the shared store and by this process's own memory. All methods run on one event loop."""

    def __init__(self, store: UsedTokens, now: Callable[[], float], clock: Callable[[], float]) -> None:
        """`now`: seconds since 1970. `clock`: seconds, never going back."""
        self._store = store
        self._now = now
        self._clock = clock
        self._accepted: dict[bytes, int] = {}
        self._unsent: list[Use] = []  # accepted while the store was down, to be stored later
        self._down = True  # until it was opened
        self._logged = False
        self._begun = 0.0  # since when the store knows all used tokens
        self._retry_at = float("-inf")
        self._purge_at = clock() + PURGE_SECONDS

    @property
    def degraded(self) -> bool:
        return self._down

    async def first_use(self, token: Token, leeway: int) -> bool | None:
        """Record the use of a token. True: it was not used before. False: it was.

        None: unknown, as the store is down, or took the place of a damaged one after the token was issued.
        """
        key = blake2b(f"{token.issuer}\0{token.id}".encode(), digest_size=16).digest()
        until = int(token.expires) + 2 * leeway + 1  # a machine that is ahead forgets it for one that is behind, too
        if key in self._accepted:
            return False
        full = len(self._accepted) >= MAX_REMEMBERED
        if not full:
            self._accepted[key] = until
        if not self._down:
            try:
                new = await _in_time(self._store.insert((key, until)), ANSWER_SECONDS)
                return None if new and token.issued - leeway < self._begun else new
            except StoreDownError as error:
                self._mark_down(error)
        if full:
            return False  # a token that can't be remembered could be used again
        self._unsent.append((key, until))
        return None

    async def start(self) -> None:
        """Open the store, with retries, because processes that start together may block each other for a moment."""
        began = self._clock()
        for pause in (0.05, 0.2, 0.5, 0.0):
            await self._recover()
            if not self._down or self._clock() - began > ANSWER_SECONDS:
                return
            await asyncio.sleep(pause)

    async def maintain(self) -> None:
        """Try a store that was down again, and forget expired tokens. To be called about every second."""
        if self._down and self._clock() >= self._retry_at:
            await self._recover()
        if self._clock() >= self._purge_at:
            self._purge_at = self._clock() + PURGE_SECONDS
            now = int(self._now())
            self._accepted = {key: until for key, until in self._accepted.items() if until > now}
            self._unsent = [use for use in self._unsent if use[1] > now]
            if not self._down:
                try:
                    await _in_time(self._store.purge(now), 5 * ANSWER_SECONDS)
                except StoreDownError as error:
                    self._mark_down(error)

    async def close(self) -> None:
        """Close the store, without waiting long for one that hangs: the alert log is closed after it."""
        with suppress(StoreDownError):
            await _in_time(self._store.close(), 2 * ANSWER_SECONDS)

    async def _recover(self) -> None:
        self._retry_at = self._clock() + RETRY_SECONDS
        unsent = self._unsent[:]
        try:
            begun = await _in_time(self._store.open(), 5 * ANSWER_SECONDS)
            known = unsent if begun == self._begun else [*self._accepted.items()]  # which the new store has not heard of
            await _in_time(self._store.insert_all(known), 5 * ANSWER_SECONDS)
            self._begun = begun
        except StoreDownError as error:
            self._mark_down(error)
            return
        self._unsent = self._unsent[len(unsent) :]
        self._down = bool(self._unsent)  # some came meanwhile: they are stored in the next round
        if not self._down:
            tell(Event.TOKENS_KNOWN)

    def _mark_down(self, error: StoreDownError) -> None:
        self._retry_at = self._clock() + RETRY_SECONDS
        if not self._down or not self._logged:
            tell(Event.TOKENS_UNKNOWN, error=str(error))  # which holds the name of a class
        self._down = self._logged = True


async def _in_time(query: Coroutine[Any, Any, T], seconds: float) -> T:
    """Return the result of `query`, which is cancelled after `seconds`. Raises StoreDownError."""
    task = asyncio.get_running_loop().create_task(query)
    task.add_done_callback(_discard_result)
    for limit in (seconds, STALL_SECONDS):
        if (await asyncio.wait((task,), timeout=limit))[0]:
            return task.result()
    task.cancel()
    raise StoreDownError("TimeoutError")


def _discard_result(task: asyncio.Task[Any]) -> None:
    """Read the exception of an abandoned query, so that asyncio does not log it as unhandled."""
    if not task.cancelled():
        task.exception()
