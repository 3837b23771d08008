"""Fetch and keep the public keys of one EHR client, only from the URL in the registry.

- Keys are kept as long as the response's Cache-Control allows, at most an hour. They are fetched again before that, in the
  background.
- An unknown `kid` may be a new key: the keys are fetched at once, but at most once in 30 seconds, however many tokens name
  unknown keys. So a new key works within 30 seconds.
- While the key server does not respond, the known keys go on working for 24 hours.
- At most one fetch is under way; all calls that need its result wait for the same one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection
from typing import Protocol

import httpx2
import msgspec

from cds_service.outbound.checked_network import RequestError
from cds_service.outbound.http_client import HttpClient
from cds_service.telemetry.events import Event, tell
from cds_service.telemetry.metrics import KEY_FETCHES
from cds_service.trust.key_sets import KeySet, PublicKey, read_key_set
from cds_service.trust.registry import Client

FETCH_SECONDS = 2.0
MAX_BYTES = 64 * 1024
ACCEPTED = b"application/jwk-set+json, application/json"
SHORTEST_TTL, LONGEST_TTL = 30.0, 3600.0  # seconds; a server that forbids caching is asked every 30 seconds
AHEAD = 0.8  # of the time to live, then the keys are fetched anew
PAUSE = 30.0  # seconds between two fetches because of an unknown `kid`
FIRST_RETRY = 5.0  # seconds, doubled up to PAUSE, after a fetch that failed
STALE = 24 * 3600.0  # seconds that known keys go on working without a successful fetch


class FetchError(Exception):
    """Raised where the key server gave no usable response. The text is from a closed list."""


class Fetched(msgspec.Struct, frozen=True):
    """A response of the key server."""

    body: bytes
    max_age: float | None  # seconds; None where the response has no max-age


class FetchKeys(Protocol):
    async def __call__(self, http: HttpClient, url: str, *, private: bool) -> Fetched: ...


async def fetch_keys(http: HttpClient, url: str, *, private: bool) -> Fetched:
    """Fetch the key set at `url`, a URL of the registry. Raises FetchError.

    Limits: status 200, 64 KiB, 2 seconds. `private`: the registry allows an address that is not public.
    """
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            reply = await http.get(httpx2.URL(url), [(b"Accept", ACCEPTED)], private=private, limit=MAX_BYTES)
    except (RequestError, httpx2.InvalidURL, UnicodeError) as error:
        raise FetchError(error.fault.value if isinstance(error, RequestError) else "unreachable") from None
    except TimeoutError:
        raise FetchError("timeout") from None
    if reply.status != 200:
        raise FetchError("status")
    return Fetched(reply.body, _max_age(reply.headers.get("cache-control", "")))


def _max_age(cache_control: str) -> float | None:
    """Return the seconds for which RFC 9111 lets the response be reused; 0 where it must not be."""
    directives = cache_control.lower()
    if "no-store" in directives or "no-cache" in directives:
        return 0.0
    found = re.search(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,9})", directives)
    return float(found[1]) if found else None


class ClientKeys:
    """The keys of one client. All methods run on the event loop."""

    def __init__(
        self,
        client: Client,
        http: HttpClient,
        clock: Callable[[], float],
        *,
        refused: Collection[str] = (),
        fetch: FetchKeys = fetch_keys,
    ) -> None:
        """`clock`: seconds, never going back. `refused`: thumbprints of keys that may not be used."""
        self._client = client
        self._http = http
        self._clock = clock
        self._refused = refused
        self._fetch = fetch
        self._fetching: asyncio.Task[None] | None = None
        self._keys: KeySet | None = client.pinned
        self._answered_at = self._requested_at = float("-inf")  # when a fetch last succeeded, and last began
        self._due = float("inf") if client.pinned is not None else float("-inf")
        self._retry = FIRST_RETRY

    @property
    def state(self) -> str:
        """Return "ok", "stale" (the last fetch failed) or "none" (no token of this client can be verified)."""
        if self._client.pinned is not None:
            return "ok"
        if self._usable() is None:
            return "none"
        return "ok" if self._retry == FIRST_RETRY else "stale"

    async def find(self, kid: str, algorithm: str) -> PublicKey | None:
        """Return the one key with this `kid` that `algorithm` may use, or None."""
        self.refresh_if_due()
        found = self._found(kid, algorithm)
        if found is None and self._client.pinned is None:
            if self._fetching is None and self._clock() - self._requested_at >= PAUSE:
                self._start()
            if self._fetching is not None:
                await asyncio.shield(self._fetching)
                found = self._found(kid, algorithm)
        return found

    def refresh_if_due(self) -> None:
        """Start to fetch the keys in the background, where that is due."""
        if self._fetching is None and self._clock() >= self._due:
            self._start()

    async def wait_for_fetch(self) -> None:
        """Wait for a fetch that is under way."""
        if self._fetching is not None:
            await asyncio.shield(self._fetching)

    async def close(self) -> None:
        self._due = float("inf")
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _usable(self) -> KeySet | None:
        pinned = self._client.pinned is not None
        return self._keys if pinned or self._clock() - self._answered_at < STALE else None

    def _found(self, kid: str, algorithm: str) -> PublicKey | None:
        keys = self._usable()
        return keys.find(kid, algorithm) if keys is not None else None

    def _start(self) -> None:
        self._requested_at = self._clock()
        self._fetching = asyncio.get_running_loop().create_task(self._fetch_keys())

    async def _fetch_keys(self) -> None:
        try:
            fetched = await self._fetch(self._http, self._client.jku, private=self._client.jku_private)
            keys = read_key_set(fetched.body, self._refused)
        except FetchError as error:
            self._failed(str(error))
        except ValueError:
            self._failed("not_a_key_set")
        else:
            if not keys.keys:
                self._failed("no_key")
                return
            self._keys, self._answered_at, self._retry = keys, self._clock(), FIRST_RETRY
            age = LONGEST_TTL if fetched.max_age is None else fetched.max_age
            self._due = self._answered_at + max(SHORTEST_TTL, AHEAD * min(age, LONGEST_TTL))
            KEY_FETCHES.labels("fetched").inc()
            for one in keys.problems:
                tell(Event.KEY_UNUSABLE, client=self._client.name, why=one)
        finally:
            self._fetching = None

    def _failed(self, why: str) -> None:
        KEY_FETCHES.labels(why).inc()
        tell(Event.KEYS_NOT_FETCHED, client=self._client.name, why=why)
        self._due = self._clock() + self._retry
        self._retry = min(2 * self._retry, PAUSE)
