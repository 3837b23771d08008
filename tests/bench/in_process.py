"""From the body of a request to the body of the answer, without a server and without the log, beside `json.loads` of the body.

Prints one JSON object. Runs in a process of its own, set up as a worker is: everything loaded, then collector frozen.

    python -m tests.bench.in_process [--short]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from cds_service.app import freeze_collector
from cds_service.clock import utc_now
from cds_service.evaluate import evaluate_request
from cds_service.runtime import Runtime, new_runtime
from cds_service.settings import Settings
from cds_service.wire.hook_request import decode_request
from tests.bench.generate import SIZES, Hook, request

PAIRS = {"S": 1000, "M": 300, "L": 60, "XL": 12}
PAIRS_SHORT = {"S": 200, "M": 60, "L": 12, "XL": 3}
PAUSE_CALLS, PAUSE_CALLS_SHORT = 100_000, 1000  # of S, in which the longest pause is looked for

Work = Callable[[bytes], Awaitable[bytes]]


async def compared(ours: Work, body: bytes, pairs: int) -> dict[str, Any]:
    """Medians of interleaved calls in microseconds, and the ratio of each pair; the first pair warms up.

    CPU time of this process, freeing the result included: another process on the core doesn't count.
    """
    times: list[tuple[int, int]] = []
    for _ in range(pairs + 1):
        begun = time.process_time_ns()
        await ours(body)
        between = time.process_time_ns()
        json.loads(body)
        times.append((between - begun, time.process_time_ns() - between))
    del times[0]
    ratios = sorted(a / b for a, b in times)
    return {
        "ours_us": statistics.median(a for a, _ in times) / 1000,
        "json_us": statistics.median(b for _, b in times) / 1000,
        "ratio": {"min": ratios[0], "median": statistics.median(ratios), "max": ratios[-1]},
        "pairs": pairs,
    }


async def longest_pause_ms(ours: Work, body: bytes, calls: int) -> float:
    """CPU time of the longest garbage collection within `calls` calls, in milliseconds; 0.0 where none happened."""
    longest = begun = 0

    def watch(phase: str, _: dict[str, int]) -> None:
        nonlocal longest, begun
        if phase == "start":
            begun = time.thread_time_ns()
        else:
            longest = max(longest, time.thread_time_ns() - begun)

    gc.callbacks.append(watch)
    try:
        for _ in range(calls):
            await ours(body)
    finally:
        gc.callbacks.remove(watch)
    return longest / 1e6


async def one_size(ours: Work, body: bytes, pairs: int) -> dict[str, Any]:
    answer = json.loads(await ours(body))
    row = {"bytes": len(body), "cards": [card["source"]["topic"]["code"] for card in answer["cards"]]}
    row |= await compared(ours, body, pairs)
    row["longest_pause_ms"] = await longest_pause_ms(ours, body, pairs)
    gc.disable()
    row["without_gc"] = await compared(ours, body, max(3, pairs // 3))
    gc.enable()
    return row


class Kind(NamedTuple):
    """What is asked: the hook, and which of `generate.CASES`."""

    hook: Hook
    case: str


KINDS = {
    "order-sign": Kind("order-sign", "firing"),
    "patient-view": Kind("patient-view", "firing"),
    "silent": Kind("order-sign", "silent"),
}


def work_of(runtime: Runtime, hook: Hook) -> Work:
    """Return what a server does with a body, but for the log."""

    async def ours(body: bytes) -> bytes:
        return (await evaluate_request(decode_request(body, hook), runtime.engine, runtime.clock())).body

    return ours


async def measure(runtime: Runtime, short: bool) -> dict[str, Any]:
    """By kind and size, what `one_size` says; by kind the growth exponent of the time from M to XL; and the longest pause."""
    now = utc_now()
    pairs = PAIRS_SHORT if short else PAIRS
    kinds: dict[str, Any] = {}
    freeze_collector()
    for name, kind in KINDS.items():
        ours = work_of(runtime, kind.hook)
        rows: dict[str, Any] = {
            size: await one_size(ours, request(SIZES[size], kind.hook, now, kind.case), pairs[size]) for size in SIZES
        }
        time_grew = rows["XL"]["ours_us"] / rows["M"]["ours_us"]
        rows["growth_exponent"] = math.log(time_grew) / math.log(rows["XL"]["bytes"] / rows["M"]["bytes"])
        kinds[name] = rows
    calls = PAUSE_CALLS_SHORT if short else PAUSE_CALLS
    pause = await longest_pause_ms(work_of(runtime, "order-sign"), request(SIZES["S"], "order-sign", now), calls)
    return {"kinds": kinds, "longest_pause": {"calls": calls, "ms": pause}}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runtime = new_runtime(Settings(log_path=Path(folder) / "alerts.sqlite3", max_entries=1_000_000))
        sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(measure(runtime, arguments.short))))


if __name__ == "__main__":
    main()
