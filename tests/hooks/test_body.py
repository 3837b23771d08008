from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cds_service.hooks import body
from cds_service.hooks.body import SMALL, BodyMemory, read_body
from cds_service.telemetry.metrics import SHED, counts
from cds_service.wire.errors import BodyTimeout, Overloaded, PayloadTooLarge

LIMIT = 4 * SMALL
SCOPE: dict[str, Any] = {"headers": []}


class Sender:
    """Sends pieces, one whenever it is let."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = list(sizes)
        self.go = asyncio.Semaphore(0)

    async def receive(self) -> dict[str, Any]:
        await self.go.acquire()
        size = self.sizes.pop(0)
        return {"type": "http.request", "body": b" " * size, "more_body": bool(self.sizes)}

    def reading(self, memory: BodyMemory) -> asyncio.Task[bytes]:
        return asyncio.create_task(read_body(SCOPE, self.receive, LIMIT, memory))


async def let(*senders: Sender) -> None:
    for sender in senders:
        sender.go.release()
    await asyncio.sleep(0.01)


async def test_large_bodies_share_a_room_and_small_ones_need_none() -> None:
    memory = BodyMemory(SMALL)
    first, second, small = Sender(2 * SMALL, 0), Sender(SMALL, SMALL, 0), Sender(SMALL)
    tasks = [one.reading(memory) for one in (first, second, small)]
    shed = counts(SHED).get("bodies", 0)
    await let(first, second, small)
    assert len(await tasks[2]) == SMALL
    await let(second)
    with pytest.raises(Overloaded):
        await tasks[1]
    assert counts(SHED)["bodies"] == shed + 1
    await let(first)
    assert len(await tasks[0]) == 2 * SMALL
    assert memory.left == SMALL, "the memory is free again"


@pytest.mark.parametrize("error", [PayloadTooLarge, BodyTimeout])
async def test_the_room_is_free_again_after_a_body_that_was_refused(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "BODY_SECONDS", 0.05)
    memory = BodyMemory(LIMIT)
    sender = Sender(2 * SMALL, LIMIT, 0)
    task = sender.reading(memory)
    await let(sender)
    assert memory.left == LIMIT - SMALL
    if error is PayloadTooLarge:
        await let(sender)
    with pytest.raises(error):
        await task
    assert memory.left == LIMIT
