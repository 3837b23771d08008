"""Each token once: remembers the tokens that were used until they have expired anyway.

One insert decides, in a store that all processes share: an SQLite file beside the alert log for the workers of one machine, a
PostgreSQL table for several machines. What is kept of a token is a hash of issuer and `jti`, and until when.

While the store can't be asked, a process knows only the tokens that it has seen itself. It says so (`degraded`), and tells the
store what it let in as soon as that can be reached again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Protocol, TypeVar

from cds_service.telemetry.events import Event, tell
from cds_service.trust.tokens import Token

ANSWER_SECONDS = 2.0  # that one question to the store may take; a healthy one takes a millisecond
STALL_SECONDS = 0.25  # more where the event loop itself was held up, and the answer may be there already
RETRY_SECONDS = 2.0  # between two attempts to reach a store that failed
PURGE_SECONDS = 60.0
MAX_REMEMBERED = 500_000  # tokens in this process, some 100 MB: more than an hour of 100 calls a second

T = TypeVar("T")

Use = tuple[bytes, int]  # hash of a token; the second since 1970 from which it need not be remembered


class StoreDownError(Exception):
    """The store could not be asked. The text is the class of the error."""


class UsedTokens(Protocol):
    """The shared store. Every method raises StoreDownError."""

    async def open(self) -> None:
        """Make what is missing. May be called again after a failure."""

    async def insert(self, use: Use) -> bool:
        """Whether the token was not in the store before; it is now."""

    async def insert_all(self, uses: Sequence[Use]) -> None:
        """Remember these too."""

    async def purge(self, now: int) -> None:
        """Forget what has expired."""

    async def close(self) -> None: ...


class Replay:
    """The shared store, and what this process remembers by itself. All methods run on one event loop."""

    def __init__(self, store: UsedTokens, now: Callable[[], float], clock: Callable[[], float]) -> None:
        """`now`: seconds since 1970. `clock`: seconds, never going back."""
        self._store = store
        self._now = now
        self._clock = clock
        self._seen: dict[bytes, int] = {}
        self._untold: list[Use] = []  # let in while the store was down
        self._down = True  # until it was opened
        self._said = False
        self._retry_at = float("-inf")
        self._purge_at = clock() + PURGE_SECONDS

    @property
    def degraded(self) -> bool:
        return self._down

    async def first_use(self, token: Token, leeway: int) -> bool | None:
        """True: not used before, as far as anybody knows; False: it was; None: this process doesn't know it and can't ask."""
        key = blake2b(f"{token.issuer}\0{token.id}".encode(), digest_size=16).digest()
        until = int(token.expires) + 2 * leeway + 1  # a machine that is ahead forgets it for one that is behind, too
        if key in self._seen:
            return False
        full = len(self._seen) >= MAX_REMEMBERED
        if not full:
            self._seen[key] = until
        if not self._down:
            try:
                return await _in_time(self._store.insert((key, until)), ANSWER_SECONDS)
            except StoreDownError as error:
                self._lost(error)
        if full:
            return False  # what can't be remembered could be used again
        self._untold.append((key, until))
        return None

    async def start(self) -> None:
        """Reach the store; processes that start together may be in each other's way for a moment."""
        began = self._clock()
        for pause in (0.05, 0.2, 0.5, 0.0):
            await self._recover()
            if not self._down or self._clock() - began > ANSWER_SECONDS:
                return
            await asyncio.sleep(pause)

    async def maintain(self) -> None:
        """Reach a store that was down, forget what has expired. To be called every second or so."""
        if self._down and self._clock() >= self._retry_at:
            await self._recover()
        if self._clock() >= self._purge_at:
            self._purge_at = self._clock() + PURGE_SECONDS
            now = int(self._now())
            self._seen = {key: until for key, until in self._seen.items() if until > now}
            self._untold = [use for use in self._untold if use[1] > now]
            if not self._down:
                try:
                    await _in_time(self._store.purge(now), 5 * ANSWER_SECONDS)
                except StoreDownError as error:
                    self._lost(error)

    async def close(self) -> None:
        """A store that hangs holds up neither the end of the process nor what is closed after it: the alert log."""
        with suppress(StoreDownError):
            await _in_time(self._store.close(), 2 * ANSWER_SECONDS)

    async def _recover(self) -> None:
        self._retry_at = self._clock() + RETRY_SECONDS
        untold = self._untold[:]
        try:
            await _in_time(self._store.open(), 5 * ANSWER_SECONDS)
            await _in_time(self._store.insert_all(untold), 5 * ANSWER_SECONDS)
        except StoreDownError as error:
            self._lost(error)
            return
        self._untold = self._untold[len(untold) :]
        self._down = bool(self._untold)  # some came meanwhile: they are told in the next round
        if not self._down:
            tell(Event.TOKENS_KNOWN)

    def _lost(self, error: StoreDownError) -> None:
        self._retry_at = self._clock() + RETRY_SECONDS
        if not self._down or not self._said:
            tell(Event.TOKENS_UNKNOWN, error=str(error))  # which holds the name of a class
        self._down = self._said = True


async def _in_time(question: Coroutine[Any, Any, T], seconds: float) -> T:
    """The answer to `question`, which is given up after `seconds`. Raises StoreDownError."""
    asking = asyncio.get_running_loop().create_task(question)
    asking.add_done_callback(_look_at)
    for limit in (seconds, STALL_SECONDS):
        if (await asyncio.wait((asking,), timeout=limit))[0]:
            return asking.result()
    asking.cancel()
    raise StoreDownError("TimeoutError")


def _look_at(asked: asyncio.Task[Any]) -> None:
    """An answer that nobody waits for any more, because a client went away, is no error."""
    if not asked.cancelled():
        asked.exception()
