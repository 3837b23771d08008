"""Too much, too slow, too many: a real server process stays small, answers the others, and comes back.

Long forms: `CDS_BODIES=1000` bodies of 100 MB; `CDS_HALF_OPEN=1000 CDS_HALF_OPEN_SECONDS=120` half-sent requests;
`CDS_OVERLOAD_SECONDS=60` of three times what the service can do.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.wire import CALL, answer_of, connected, head, percentile, served, whole

BODIES = int(os.environ.get("CDS_BODIES", "20"))
BODY_MB = 100
HALF_OPEN = int(os.environ.get("CDS_HALF_OPEN", "100"))
HALF_OPEN_SECONDS = float(os.environ.get("CDS_HALF_OPEN_SECONDS", "14"))
OVERLOAD_SECONDS = float(os.environ.get("CDS_OVERLOAD_SECONDS", "4"))

pytestmark = [pytest.mark.loopback, pytest.mark.usefixtures("socket_enabled")]


async def send_endless_body(port: int) -> int:
    """The status that a chunked body of 100 MB gets; 0 where the connection was closed while it was sent."""
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    async with connected(port) as (reader, writer):
        with suppress(OSError, asyncio.IncompleteReadError):
            writer.write(head("/cds-services/cramp-care-order-sign", "transfer-encoding: chunked"))
            for _ in range(BODY_MB * 1_000_000 // 0x10000):
                writer.write(chunk)
                await writer.drain()
                if reader.at_eof() or writer.is_closing():
                    break
            return (await answer_of(reader))[0]
        return 0


async def test_huge_bodies_are_refused_and_not_kept(tmp_path: Path) -> None:
    statuses: Counter[int] = Counter()
    with served(tmp_path) as server:
        await send_endless_body(server.port)  # what a first request loads
        before = server.memory_mb()["VmRSS"]
        turns = asyncio.Semaphore(32)

        async def one() -> None:
            async with turns:
                statuses[await send_endless_body(server.port)] += 1

        await asyncio.gather(*(one() for _ in range(BODIES)))
        grown = server.memory_mb()["VmHWM"] - before
        async with connected(server.port) as (reader, writer):
            writer.write(whole(CALL))
            assert (await answer_of(reader))[0] == 200
    print(f"{BODIES} bodies of {BODY_MB} MB, 32 at once: {dict(statuses)}, memory at most {grown:.0f} MB more")
    assert set(statuses) <= {0, 413}
    assert grown < 100


async def test_half_sent_requests_are_closed_and_the_others_are_served(tmp_path: Path) -> None:
    kept: list[float] = []  # seconds until a half-sent request was closed
    served_in: list[float] = []
    with served(tmp_path) as server:
        until = time.monotonic() + HALF_OPEN_SECONDS

        async def half(number: int) -> None:
            """Sends half a request again and again, of every other one a byte a second more."""
            sent = head()[:40] if number % 2 else head("/cds-services/cramp-care-order-sign", "content-length: 5000") + b"{"
            while time.monotonic() < until:
                async with connected(server.port) as (reader, writer):
                    began = time.monotonic()
                    writer.write(sent)
                    with suppress(ConnectionError):
                        while number % 4 < 2 and not reader.at_eof() and time.monotonic() - began < 30:
                            writer.write(b"x")
                            with suppress(TimeoutError):
                                await asyncio.wait_for(reader.read(1000), 1)
                        await asyncio.wait_for(reader.read(), 30)
                    kept.append(time.monotonic() - began)

        async def healthy() -> None:
            async with connected(server.port) as (reader, writer):
                while time.monotonic() < until:
                    began = time.monotonic()
                    writer.write(whole(CALL))
                    assert (await answer_of(reader))[0] == 200
                    served_in.append(time.monotonic() - began)
                    await asyncio.sleep(0.02)

        await asyncio.gather(*(half(number) for number in range(HALF_OPEN)), *(healthy() for _ in range(4)))
    p50, p99 = (percentile(served_in, percent) * 1000 for percent in (50, 99))
    print(
        f"{HALF_OPEN} half-open connections for {HALF_OPEN_SECONDS:g} s: {len(kept)} closed after at most {max(kept):.1f} s; "
        f"{len(served_in)} healthy calls, p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    )
    assert len(kept) >= HALF_OPEN
    assert max(kept) < 60, "10 s by the service's clock, and what a busy machine adds"
    assert percentile(served_in, 99) < 8  # not as long as a half-open connection is waited for


async def capacity(port: int, seconds: float) -> float:
    """Calls that are answered in a second when 8 connections ask one after the other."""
    answered = 0
    until = time.monotonic() + seconds

    async def ask() -> None:
        nonlocal answered
        async with connected(port) as (reader, writer):
            while time.monotonic() < until:
                writer.write(whole(CALL))
                await answer_of(reader)
                answered += 1

    await asyncio.gather(*(ask() for _ in range(8)))
    return answered / seconds


async def test_overload_is_turned_away_fast_and_leaves_nothing_behind(tmp_path: Path) -> None:
    statuses: Counter[int] = Counter()
    refused_in: list[float] = []
    with served(tmp_path, CDS_MAX_CALLS="8") as server:
        per_second = await capacity(server.port, 1.5)
        before = server.memory_mb()["VmRSS"]
        until = time.monotonic() + OVERLOAD_SECONDS
        connections = 96
        pause = connections / (3 * per_second)  # each asks so often that all together ask three times too much

        async def ask(number: int) -> None:
            due = time.monotonic() + pause * number / connections
            async with connected(server.port) as (reader, writer):
                while due < until:
                    await asyncio.sleep(due - time.monotonic())
                    began = time.monotonic()
                    writer.write(whole(CALL))
                    status, _ = await answer_of(reader)
                    statuses[status] += 1
                    if status == 503:
                        refused_in.append(time.monotonic() - began)
                    due += pause

        await asyncio.gather(*(ask(number) for number in range(connections)))
        grown = server.memory_mb()["VmHWM"] - before
        ended = time.monotonic()
        status = 503
        async with connected(server.port) as (reader, writer):
            while status != 200:
                writer.write(whole(CALL))
                status, _ = await answer_of(reader)
        recovered = time.monotonic() - ended
    asked = sum(statuses.values()) / OVERLOAD_SECONDS
    print(
        f"capacity {per_second:.0f} calls/s, asked {asked:.0f}/s for {OVERLOAD_SECONDS:g} s: {dict(statuses)}, "
        f"refused in p50 {percentile(refused_in, 50) * 1000:.1f} ms, p99 {percentile(refused_in, 99) * 1000:.1f} ms, "
        f"memory at most {grown:.0f} MB more, recovered after {recovered * 1000:.0f} ms"
    )
    assert set(statuses) == {200, 503}
    assert recovered < 10
    assert grown < 200, "bounded; what answered calls leave to the rare collections of old objects is in it"
