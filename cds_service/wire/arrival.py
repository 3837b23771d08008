"""How a call arrived: how long it was, and how to learn that nobody waits for its answer any more."""

from __future__ import annotations

import msgspec
from starlette.types import Receive


class Arrival(msgspec.Struct, frozen=True):
    """One request, apart from what it says."""

    bytes_in: int  # length of its body
    receive: Receive  # of ASGI, after the body was read

    async def gone(self) -> None:
        """Ends when the client has closed the connection."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
