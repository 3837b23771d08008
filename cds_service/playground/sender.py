"""Send calls to the application of this process.

A call is a real HTTP request to `/cds-services/{id}`, handed to the application in this process (httpx2.ASGITransport): it passes
through the same middleware, routes and log as one from the network, without a socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import httpx2
import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from cds_service.playground.kept_calls import KeptCall
from cds_service.playground.recorder import FIRED, Fired


async def fire(app: ASGIApp, base_url: str, service: str, body: bytes, title: str, notes: Sequence[str] = ()) -> KeptCall:
    """Send `body` to a service, and return the call as the recorder kept it. `notes` say how the body came about."""
    fired = Fired(title, list(notes))
    await _post(app, fired, base_url, f"/cds-services/{service}", body)
    if fired.kept is None:
        raise RuntimeError("the application has no CallRecorder")
    return fired.kept


async def give_feedback(app: ASGIApp, call: KeptCall, item: dict[str, Any], at: datetime) -> None:
    """Send one item of feedback, given `at`, to the service of `call`."""
    body = msgspec.json.encode({"feedback": [item | {"outcomeTimestamp": at.isoformat(timespec="seconds")}]})
    await _post(app, Fired("Feedback"), call.base_url, f"/cds-services/{call.service}/feedback", body)


async def _post(app: ASGIApp, fired: Fired, base_url: str, path: str, body: bytes) -> None:
    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "extensions": {FIRED: fired}}, receive, send)

    transport = httpx2.ASGITransport(app=marked, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=base_url) as client:
        await client.post(path, content=body, headers={"content-type": "application/json"})
