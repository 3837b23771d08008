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
_FAST, _SLOW = (0.001, 0.01), (0.03, 0.12)  # seconds that a FHIR search takes
_SLOWLY = 0.04  # share of FHIR searches that take long
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
    all_refused = registry_hash = ""

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

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._chart: Mapping[str, bytes] = {}
        self._of = ""

    def know(self, chart: Mapping[str, bytes], of: str) -> None:
        """Take the chart of the next call, by type of resource; `of`: what the server does follows from this text."""
        self._chart, self._of = chart, of

    async def get(self, url: httpx2.URL, headers: Headers, *, private: bool, limit: int) -> Response:
        """Answer a read of the patient or a search, after some milliseconds; the same again gets the same answer."""
        random = Random(f"{self._seed} {self._of} {url.path}")  # noqa: S311
        await asyncio.sleep(random.uniform(*(_SLOW if random.random() < _SLOWLY else _FAST)))
        kinds = [part for part in url.path.split("/") if part in self._chart]
        if not kinds or random.random() < _FAILS:
            return Response(500, {}, b"")
        return Response(200, {"content-type": "application/fhir+json"}, self._chart[kinds[0]])


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
