"""FHIR servers that are slow, hang up, send half an answer or rubbish: calls are answered by their deadline, and nothing is left.

CDS_SLOW_CALLS sets how many calls are made (10,000 in a long run).
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.runtime import Runtime
from cds_service.telemetry.metrics import FHIR_BREAKERS
from cds_service.trust import Caller
from tests.alert_log_samples import rows
from tests.core import NOW, Json, a_runtime
from tests.http_side import SameCaller, running
from tests.sockets import http, loopback

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

CALLS = int(os.environ.get("CDS_SLOW_CALLS", "300"))
DEADLINE_MS = 500
AT_ONCE = 8
HANGS_MS = 20_000  # a call that waited for its servers would take longer; how long one takes is printed and fails nothing
EMPTY = http(b'{"resourceType":"Bundle","type":"searchset","total":0}')
KINDS = ("late", "late head", "drip", "half", "reset", "garbage", "never", "well")


class WickedServer:
    """Answers each question in one of the `KINDS` of ways, where it is slow 0.1 to 30 s late."""

    def __init__(self) -> None:
        self.random = random.Random(19)
        self.done: Counter[str] = Counter()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind = self.random.choice(KINDS)
        seconds = 0.1 * 300 ** self.random.random()
        self.done[kind] += 1
        if kind == "late":
            await asyncio.sleep(seconds)
        elif kind == "late head":
            writer.write(EMPTY[:20])
            await asyncio.sleep(seconds)
            writer.write(EMPTY[20:])
            return
        elif kind == "drip":
            for byte in EMPTY:
                if writer.is_closing():
                    return
                writer.write(bytes([byte]))
                await asyncio.sleep(seconds / len(EMPTY))
            return
        elif kind == "half":
            writer.write(EMPTY[:-20])
            writer.close()
            return
        elif kind == "reset":
            writer.transport.abort()
            return
        elif kind == "garbage":
            writer.write(b"\x16\x03\x01 rubbish\r\n\r\n")
            writer.close()
            return
        elif kind == "never":
            await asyncio.sleep(60)
        writer.write(EMPTY)


@asynccontextmanager
async def measured_lateness() -> AsyncIterator[list[float]]:
    """By how many ms the event loop was late, again and again: what a busy machine adds, to these calls as to all else."""
    late: list[float] = []

    async def measure() -> None:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0.01)
            late.append((time.perf_counter() - started - 0.01) * 1000)

    task = asyncio.create_task(measure())
    yield late
    task.cancel()
    await asyncio.wait((task,))
    late.sort()


async def calls(runtime: Runtime, fhir_servers: list[str], count: int) -> tuple[list[float], Counter[int]]:
    """(ms that each call took, how often each status came) of `count` calls, each worker with a FHIR server of its own."""
    request: Json = request_from_case(["prescribed: quinine 300 mg"], "patient-view", NOW)
    request |= {"prefetch": {"prescriptions": request["prefetch"]["prescriptions"]}}
    taken: list[float] = []
    statuses: Counter[int] = Counter()
    async with running(create_app(runtime.settings, runtime=runtime)) as client:

        async def work(fhir_server: str, times: int) -> None:
            body = msgspec.json.encode(request | {"fhirServer": fhir_server, "fhirAuthorization": {"access_token": "T"}})
            await asyncio.sleep(random.uniform(0, DEADLINE_MS / 1000))  # not all in step
            for _ in range(times):
                started = time.perf_counter()
                answer = await client.post("/cds-services/cramp-care-patient-view", content=body)
                taken.append((time.perf_counter() - started) * 1000)
                statuses[answer.status_code] += 1

        async with asyncio.TaskGroup() as group:
            for fhir_server in fhir_servers:
                group.create_task(work(fhir_server, count // len(fhir_servers)))
    return sorted(taken), statuses


@pytest.mark.parametrize("breaker", ["as it is", "never opens"])
async def test_calls_are_answered_by_the_deadline_whatever_the_server_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaker: str
) -> None:
    if breaker == "never opens":
        monkeypatch.setattr("cds_service.outbound.circuit_breaker.FAILURES", 10**9)
    runtime = a_runtime(tmp_path, on_unavailable="card")
    runtime = msgspec.structs.replace(runtime, callers=SameCaller(Caller("anonymous", deadline_ms=DEADLINE_MS)))
    opened = FHIR_BREAKERS.labels("opened")._value.get()
    wicked = WickedServer()
    async with measured_lateness() as late, loopback(wicked) as server:
        bases = [f"http://127.0.0.1:{server.port}/fhir/{number}" for number in range(AT_ONCE)]
        taken, statuses = await calls(runtime, bases, CALLS)
    p50, p99, machine = taken[len(taken) // 2], taken[len(taken) * 99 // 100], late[len(late) * 99 // 100]
    opened = FHIR_BREAKERS.labels("opened")._value.get() - opened
    print(
        f"{len(taken)} calls, {sum(wicked.done.values())} questions, breaker {breaker} (opened {opened:.0f} times): "
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, longest {taken[-1]:.0f} ms, deadline {DEADLINE_MS} ms; "
        f"the event loop was late by {machine:.0f} ms (p99)"
    )
    assert statuses == {200: len(taken)}
    assert taken[-1] <= HANGS_MS
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert set(wicked.done) == set(KINDS)
    assert rows(runtime.settings.log_path, "SELECT count(*) FROM call WHERE status = 200") == [len(taken)]
    if breaker == "never opens":
        assert opened == 0
        assert sum(wicked.done.values()) >= 4 * len(taken)  # of 5 or more: nothing is used up that questions need
