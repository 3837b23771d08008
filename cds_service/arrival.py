"""How a call arrived: what the time for its answer is counted from, and how to learn that nobody waits for it any more."""

from __future__ import annotations

import time

import msgspec
from starlette.types import Receive


class Arrival(msgspec.Struct, frozen=True):
    """One request, apart from what it says."""

    started: float  # `time.perf_counter`, when its headers had come
    bytes_in: int  # length of its body
    receive: Receive  # of ASGI, after the body was read

    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self.started) * 1000

    async def gone(self) -> None:
        """Ends when the client has closed the connection."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
