"""Read a request body within limits: its length, its time, and the memory of all bodies together."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from cds_service.telemetry.metrics import SHED
from cds_service.wire.errors import BodyTimeout, Overloaded, PayloadTooLarge, UnsupportedMediaType

BODY_SECONDS = 10.0  # for a whole body, from its headers on
SMALL = (
    64 * 1024
)  # first bytes of each body, which take none of the shared memory, so that large bodies can't block ordinary calls


class BodyMemory:
    """Limit the memory for bodies that are being received, beyond the first 64 KiB of each."""

    def __init__(self, size: int) -> None:
        """`size` in bytes."""
        self.left = size

    def take(self, size: int) -> None:
        """Take `size` bytes. Raises Overloaded where fewer are left."""
        if size > self.left:
            SHED.labels("bodies").inc()
            raise Overloaded("Too many large bodies are being sent; please try again in a second", why="bodies")
        self.left -= size


async def read_body(scope: Scope, receive: Receive, limit: int, memory: BodyMemory) -> bytes:
    """Return the body of an HTTP request, at most `limit` bytes, whatever its Content-Type.

    Raises PayloadTooLarge as soon as that is known, UnsupportedMediaType for a compressed body, BodyTimeout for one that does not
    arrive in time, Overloaded where `memory` has too few bytes left, ClientDisconnect.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and (len(value) > 18 or int(value) > limit):
            raise _too_large(limit)
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise UnsupportedMediaType("The body must not be compressed (Content-Encoding)")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _receive_all(receive, limit, memory)
    except TimeoutError:
        raise BodyTimeout(f"The body did not arrive within {BODY_SECONDS:g} seconds") from None


async def _receive_all(receive: Receive, limit: int, memory: BodyMemory) -> bytes:
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
                memory.take(size - SMALL - taken)
                taken = size - SMALL
            chunks.append(chunk)
            more = message.get("more_body", False)
        return b"".join(chunks)
    finally:
        memory.left += taken


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body may have at most {limit} bytes")
