"""Run coroutines concurrently and cancel all of them together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import TypeVar

T = TypeVar("T")


async def run_concurrently(work: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """Run the coroutines concurrently and return their results, in their order.

    Where one raises or this is cancelled, the others are cancelled too, and no task is left running.
    """
    # No TaskGroup: one that is cancelled refers to itself until the garbage collector comes.
    tasks = [asyncio.create_task(one) for one in work]
    if not tasks:
        return []
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        tasks.clear()
