"""Reading a request body, with a limit to its length, to its time, and to what all bodies under way take together."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from cds_service.telemetry.metrics import SHED
from cds_service.wire.errors import BodyTimeout, Overloaded, PayloadTooLarge, UnsupportedMediaType

BODY_SECONDS = 10.0  # for a whole body, from its headers on
SMALL = 64 * 1024  # bytes of each body that there is always room for, so that large ones don't keep ordinary calls out


class Room:
    """Memory for the bodies that are being received, beyond the first 64 KiB of each."""

    def __init__(self, size: int) -> None:
        """`size` in bytes."""
        self.left = size

    def take(self, size: int) -> None:
        """Raises Overloaded where there is not so much room."""
        if size > self.left:
            SHED.labels("bodies").inc()
            raise Overloaded("Too many large bodies are being sent; please try again in a second")
        self.left -= size


async def read_body(scope: Scope, receive: Receive, limit: int, room: Room) -> bytes:
    """The body of an HTTP request, of at most `limit` bytes. Any content type will do; what counts is whether it reads as JSON.

    Raises PayloadTooLarge as soon as that is known, UnsupportedMediaType for a compressed body, BodyTimeout for one that does not
    arrive in time, Overloaded where there is no room for it, ClientDisconnect.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and (len(value) > 18 or int(value) > limit):
            raise _too_large(limit)
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise UnsupportedMediaType("The body must not be compressed (Content-Encoding)")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _received(receive, limit, room)
    except TimeoutError:
        raise BodyTimeout(f"The body did not arrive within {BODY_SECONDS:g} seconds") from None


async def _received(receive: Receive, limit: int, room: Room) -> bytes:
    chunks: list[bytes] = []
    size = taken = 0
    more = True
    try:
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            if size - SMALL > taken:
                room.take(size - SMALL - taken)
                taken = size - SMALL
            chunks.append(chunk)
            more = message.get("more_body", False)
        return b"".join(chunks)
    finally:
        room.left += taken


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body may have at most {limit} bytes")
