"""Reading a request body, with a limit to its length and to its time."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from cds_service.errors import BodyTimeout, PayloadTooLarge, UnsupportedMediaType

BODY_SECONDS = 10.0  # for a whole body, from its headers on


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The body of an HTTP request, of at most `limit` bytes. Any content type will do; what counts is whether it reads as JSON.

    Raises PayloadTooLarge as soon as that is known, UnsupportedMediaType for a compressed body, BodyTimeout for one that does not
    arrive in time, ClientDisconnect.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and (len(value) > 18 or int(value) > limit):
            raise _too_large(limit)
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise UnsupportedMediaType("The body must not be compressed (Content-Encoding)")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _received(receive, limit)
    except TimeoutError:
        raise BodyTimeout(f"The body did not arrive within {BODY_SECONDS:g} seconds") from None


async def _received(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body may have at most {limit} bytes")
