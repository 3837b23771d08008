"""Requests put to an application without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from starlette.types import ASGIApp


class Answer(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    body: bytes


async def post(app: ASGIApp, path: str, body: bytes, headers: Iterable[tuple[bytes, bytes]] = (), pieces: int = 1) -> Answer:
    """The answer to a POST whose body comes in so many pieces."""
    size = max(1, -(-len(body) // pieces))
    chunks = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
    messages: Sequence[Any] = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks) - 1} for number, chunk in enumerate(chunks)
    ]
    waiting = iter(messages)
    sent: list[Any] = []

    async def receive() -> Any:
        return next(waiting, None) or await asyncio.get_running_loop().create_future()  # the sender waits for its answer

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers), "query_string": b"", "http_version": "1.1"}
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], dict(sent[0]["headers"]), body) if sent else Answer(0, {}, b"")
