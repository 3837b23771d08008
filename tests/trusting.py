"""An application with registered clients, a clock that stands still and a memory of used tokens, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from cds_service.outbound.http_client import HttpClient
from cds_service.settings import Settings
from cds_service.trust.keys import Fetched, FetchError, FetchKeys
from cds_service.trust.registered import RegisteredCallers
from cds_service.trust.registry import load_registry
from cds_service.trust.replay import Replay, StoreDownError, Use
from tests.http_side import Stub, new_test_app
from tests.tokens import PUBLIC_URL, write_registry

NOW = 1_800_000_000.0


class Clock:
    """Time that passes when a test says so: both kinds, seconds since 1970 and seconds that never go back."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        return NOW + self.passed

    def monotonic(self) -> float:
        return 1000.0 + self.passed


class Memory:
    """A store of used tokens that can be down. Several `Replay`s may share it, as processes share a database."""

    def __init__(self) -> None:
        self.used: dict[bytes, int] = {}
        self.down = False
        self.begun = 0.0
        self.questions = 0

    def _asked(self) -> None:
        self.questions += 1
        if self.down:
            raise StoreDownError("Down")

    async def open(self) -> float:
        self._asked()
        return self.begun

    async def insert(self, use: Use) -> bool:
        self._asked()
        new = use[0] not in self.used
        self.used.setdefault(*use)
        return new

    async def insert_all(self, uses: Sequence[Use]) -> None:
        self._asked()
        self.used.update(uses)

    async def purge(self, now: int) -> None:
        self._asked()
        self.used = {key: until for key, until in self.used.items() if until > now}

    async def close(self) -> None: ...


class KeyServer:
    """Answers `fetch_keys`: each URL with its JWK Set, or with nothing. Remembers what was asked for."""

    def __init__(self, **sets: str) -> None:
        self.sets: dict[str, str] = sets
        self.max_age: float | None = None
        self.asked: list[str] = []

    async def __call__(self, http: HttpClient, url: str, *, private: bool) -> Fetched:
        self.asked.append(url)
        if url not in self.sets:
            raise FetchError("unreachable")
        return Fetched(self.sets[url].encode(), self.max_age)


def callers(
    folder: Path,
    *clients: dict[str, Any],
    clock: Clock | None = None,
    memory: Memory | None = None,
    server: FetchKeys | None = None,
    **settings: Any,
) -> RegisteredCallers:
    """The callers of a registry of `clients` (see `tokens.a_client`), as a process has them."""
    clock = clock or Clock()
    chosen = Settings(**{"public_url": PUBLIC_URL, **settings})
    return RegisteredCallers(
        load_registry(write_registry(folder, *clients)),
        chosen,
        Replay(memory or Memory(), clock.now, clock.monotonic),
        fetch=server or KeyServer(),
        now=clock.now,
        clock=clock.monotonic,
    )


def app_with(folder: Path, known: RegisteredCallers, respond: Stub | None = None, **settings: Any) -> FastAPI:
    app, _ = new_test_app(folder, respond or Stub(), callers=known, **{"public_url": PUBLIC_URL, **settings})
    return app


def reason_in(text: str) -> str | None:
    """The last reason in a log; None where nobody was refused."""
    found = text.rpartition("caller_refused why=")[2].split()
    return found[0] if found and "caller_refused" in text else None
