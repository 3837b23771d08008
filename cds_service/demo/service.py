"""Stand in for what lies around the service: the clock, the registry of clients, and the EHR's FHIR server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from random import Random
from typing import Any

import httpx2
from starlette.types import ASGIApp, Message, Scope

from cds_service.demo.clients import Client
from cds_service.outbound.http_client import Headers, HttpClient, Response
from cds_service.trust.caller import Caller, Endpoint
from cds_service.trust.caller import Headers as ReceivedHeaders
from cds_service.trust.refusal import CallerRefusedError

_CLIENT = b"x-made-up-client"  # the header that names the caller, in place of a signed token
_EXPIRED = b"x-made-up-expired"
_SLOW = 0.03  # share of FHIR searches that take longest
_FAILS = 0.004  # share of FHIR searches that the server answers with 500


class MovingClock:
    """The time of the made-up months; the program that makes them sets it before each call."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class NamedCallers:
    """Identify callers by the name in a header. For calls within this process only: no port leads to it."""

    origins: frozenset[str] = frozenset()
    degraded = False

    def __init__(self, clients: Iterable[Client]) -> None:
        self._callers = {one.name.encode(): one.caller() for one in clients}
        self.dialects = frozenset(one.dialect for one in self._callers.values() if one.dialect)

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def identify(self, headers: ReceivedHeaders, endpoint: Endpoint) -> Caller:
        named = dict(headers)
        caller = self._callers[named[_CLIENT]]
        if _EXPIRED in named:
            raise CallerRefusedError("expired", caller.client)
        return caller

    def health(self) -> dict[str, Any]:
        return {"verified": False}


class ChartServer(HttpClient):
    """A FHIR server that knows the chart of the patient of one call at a time. Nothing leaves the process."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.chart: Mapping[str, bytes] = {}  # by type of resource
        self._random = random

    async def get(self, url: httpx2.URL, headers: Headers, *, private: bool, limit: int) -> Response:
        """Answer a read of the patient or a search, after some milliseconds."""
        random = self._random
        await asyncio.sleep(random.uniform(0.05, 0.2) if random.random() < _SLOW else random.uniform(0.001, 0.01))
        kinds = [part for part in url.path.split("/") if part in self.chart]
        if not kinds or random.random() < _FAILS:
            return Response(500, {}, b"")
        return Response(200, {"content-type": "application/fhir+json"}, self.chart[kinds[0]])


async def post(app: ASGIApp, path: str, client: Client, body: bytes, *, authorised: bool = True) -> tuple[int, bytes]:
    """Send a request to the application in this process, and return the status and the body of its response."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (_CLIENT, client.name.encode())]
    if not authorised:
        headers.append((_EXPIRED, b"yes"))
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    sent = [{"type": "http.request", "body": body, "more_body": False}]
    status, parts = 0, []

    async def receive() -> Message:
        if not sent:
            await asyncio.Event().wait()  # the connection stays open until the response has arrived
        return sent.pop()

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return status, b"".join(parts)
