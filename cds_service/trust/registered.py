"""Identify callers as clients of the registry, each by a signed token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import blake2b
from typing import Any

import msgspec

from cds_service.clock import Clock
from cds_service.outbound.http_client import HttpClient
from cds_service.settings import Settings, SettingsError
from cds_service.telemetry.events import Event, place, tell
from cds_service.telemetry.metrics import AUTH_DEGRADED, AUTH_REFUSED
from cds_service.trust.caller import Caller, Callers, Endpoint, Headers
from cds_service.trust.key_sets import is_signed_by
from cds_service.trust.keys import ClientKeys, FetchKeys, fetch_keys
from cds_service.trust.production import start_problems, unaddressed
from cds_service.trust.refusal import REASONS, CallerRefusedError
from cds_service.trust.registry import Client, RegistryError, load_registry, published_keys
from cds_service.trust.replay import Replay
from cds_service.trust.tokens import bearer, read_token
from cds_service.trust.verify import LEEWAY, Issuers, check_claims, endpoint_urls


class RegisteredCallers:
    """Verify the callers of a registry, in the order iss, aud, times, life, tenant, algorithm, signature, use."""

    def __init__(
        self,
        clients: Iterable[Client],
        settings: Settings,
        replay: Replay,
        *,
        fetch: FetchKeys = fetch_keys,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`now`: seconds since 1970; `clock`: seconds, never going back. Opens and fetches nothing."""
        self._clients = tuple(clients)
        self._public_url = settings.public_url
        self._strict = settings.replay_down == "refuse"
        self._issuers = Issuers(self._clients)
        self._replay = replay
        self._now = now
        self._http = HttpClient()
        refused = published_keys() if settings.profile == "production" else ()
        self._keys = {one.name: ClientKeys(one, self._http, clock, refused=refused, fetch=fetch) for one in self._clients}
        self._callers: dict[tuple[str, str], Caller] = {}
        self._maintaining: asyncio.Task[None] | None = None
        self.origins = frozenset(origin for client in self._clients for origin in client.origins)
        self.dialects = frozenset(client.preset for client in self._clients)
        self.registry_hash = _hash(self._clients)
        for reason in REASONS:  # each starts as 0, so that an alarm on its first count works
            AUTH_REFUSED.labels(reason)

    async def start(self) -> None:
        """Open the store of used tokens and fetch all keys; wait a few seconds for slow servers."""
        for keys in self._keys.values():
            keys.refresh_if_due()
        await asyncio.gather(self._replay.start(), *(keys.wait_for_fetch() for keys in self._keys.values()))
        self._maintaining = asyncio.get_running_loop().create_task(self._maintain())
        self._maintaining.add_done_callback(_log_failed_task)

    async def close(self) -> None:
        if self._maintaining is not None:
            self._maintaining.cancel()
            with suppress(asyncio.CancelledError):
                await self._maintaining
        await asyncio.gather(*(keys.close() for keys in self._keys.values()))
        await self._replay.close()
        await self._http.aclose()

    async def identify(self, headers: Headers, endpoint: Endpoint) -> Caller:
        try:
            return await self._verify(headers, endpoint)
        except CallerRefusedError as error:
            AUTH_REFUSED.labels(error.reason).inc()
            raise

    @property
    def degraded(self) -> bool:
        return self._replay.degraded

    @property
    def all_refused(self) -> str:
        if self._strict and self._replay.degraded:
            return "used tokens can't be looked up"
        return "no client's keys are known" if all(keys.state == "none" for keys in self._keys.values()) else ""

    def health(self) -> dict[str, Any]:
        states = [keys.state for keys in self._keys.values()]
        return {
            "verified": True,
            "clients": len(states),
            "keys_stale": states.count("stale"),
            "keys_missing": states.count("none"),
            "degraded_auth": self._replay.degraded,
        }

    async def _verify(self, headers: Headers, endpoint: Endpoint) -> Caller:
        token = read_token(bearer(headers))
        client = self._issuers.client_of(token)
        check_claims(token, client, endpoint_urls(self._public_url, endpoint.path), self._now())
        key = await self._keys[client.name].find(token.kid, token.algorithm)
        if key is None:
            raise CallerRefusedError("key", client.name)
        if not is_signed_by(token, key):
            raise CallerRefusedError("signature", client.name)
        if client.hooks and endpoint.hook is not None and endpoint.hook not in client.hooks:
            raise CallerRefusedError("hook", client.name)
        if endpoint.once:
            new = await self._replay.first_use(token, LEEWAY)
            if new is False:
                raise CallerRefusedError("replayed", client.name)
            if new is None:
                if self._strict:
                    raise CallerRefusedError("replay_unknown", client.name)
                AUTH_DEGRADED.inc()
        offset = round((token.issued - self._now()) * 1000)
        return msgspec.structs.replace(self._caller(client, token.tenant), clock_offset_ms=offset)

    def _caller(self, client: Client, tenant: str) -> Caller:
        known = self._callers.get((client.name, tenant))
        if known is None:  # few: tenants are registered
            known = Caller(
                *(client.name, tenant, client.preset, client.fhir_bases, client.deadline_ms),
                include=client.supports_include,
                calls_per_minute=client.calls_per_minute,
            )
            self._callers[client.name, tenant] = known
        return known

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(1)
            await self.tick()

    async def tick(self) -> None:
        """Start the fetch of keys that are due, and forget expired tokens. To be called every second."""
        for keys in self._keys.values():
            keys.refresh_if_due()
        await self._replay.maintain()


def _hash(clients: Iterable[Client]) -> str:
    """Return 16 hex digits that differ where anything that is registered differs."""
    pinned = [[key.thumbprint for key in one.pinned.keys] if one.pinned is not None else [] for one in clients]
    rest = [msgspec.structs.replace(one, pinned=None) for one in clients]
    return blake2b(repr((rest, pinned)).encode(), digest_size=8).hexdigest()


def _log_failed_task(maintaining: asyncio.Task[None]) -> None:
    """Log the exception that ended maintenance before the service ended."""
    if not maintaining.cancelled() and (error := maintaining.exception()) is not None:
        tell(Event.UNHANDLED, error=type(error).__name__, place=place(error.__traceback__))


def registered_callers(settings: Settings, clock: Clock) -> Callers:
    """Return the callers of the registry that `settings` name.

    Raises SettingsError where the settings and the registry don't fit together, OSError where the registry can't be read.
    """
    clients = load_registry(settings.clients_file) if settings.clients_file is not None else ()
    if settings.profile == "production":
        problems = start_problems(settings, clients)
        if problems:
            raise SettingsError("\n".join(["CDS_PROFILE=production can't start:", *(f"- {one}" for one in problems)]))
    if not clients:
        raise RegistryError(
            f"{settings.clients_file}:1: no [[client]] is registered; add one, or unset CDS_CLIENTS_FILE to accept any caller"
        )
    if problems := unaddressed(settings, clients):
        raise SettingsError("\n".join(problems))

    def now() -> float:
        return clock().timestamp()

    return RegisteredCallers(clients, settings, new_replay(settings, now), now=now)


def new_replay(settings: Settings, now: Callable[[], float]) -> Replay:
    """Return the store of used tokens: the PostgreSQL database of the settings, else a file beside the alert log."""
    from cds_service.trust.replay_sqlite import SqliteUsedTokens

    if settings.database_url:
        from cds_service.trust.replay_postgres import PostgresUsedTokens  # psycopg costs 10 MB

        return Replay(PostgresUsedTokens(settings.database_url), now, time.monotonic)
    return Replay(SqliteUsedTokens(settings.log_path.with_name("used_tokens.sqlite3"), now), now, time.monotonic)
