"""Watch the client's connection during a call, to stop the work when the client closes it."""

from __future__ import annotations

import msgspec
from starlette.types import Receive


class ClientConnection(msgspec.Struct, frozen=True):
    """The HTTP side of one received call."""

    body_bytes: int  # length of the request's body
    receive: Receive  # of ASGI, after the body was read
    explained: bool = False  # the evaluation is explained afterwards, which needs what was gathered

    async def wait_until_closed(self) -> None:
        """Return when the client has closed the connection."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
