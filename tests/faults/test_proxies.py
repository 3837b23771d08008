"""The samples for nginx and HAProxy: what EHRs need gets through, what is for operators does not, and a restart loses no call.

The long form of the restarts: `CDS_RESTART_CALLS=10000`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.proxies import NAME, PROXIES, Proxied, proxied
from tests.faults.wire import CALL, answer_of, percentile, whole
from tests.real_server import RealServer
from tests.sockets import http, loopback, saying

RESTART_CALLS = int(os.environ.get("CDS_RESTART_CALLS", "300"))

pytestmark = [pytest.mark.loopback, pytest.mark.usefixtures("socket_enabled")]

FOR_EHRS = [
    "/cds-services",
    "/cds-services/",
    "/cds-services/cramp-care-order-sign",
    "/cds-services//cramp-care-order-sign",
    "/cds-services/cramp-care-order-sign/feedback",
    "/cards/quinine-avoid",
    "/cards/quinine-avoid/1.2.1",
    "/cards/style.css",
    "/cds-services?x=1",
]
INSIDE = [
    *("/metrics", "/%6detrics", "//metrics", "/metrics/", "/metrics?x", "/metrics;x", "/./metrics", "/METRICS"),
    *("/health", "/health/", "/%68ealth", "/health/live", "/health/ready", "/health/checking", "//health"),
    *("/review", "/review/", "/%72eview/cases", "/review/..%2fcds-services", "/review%2f..%2f..%2fcds-services"),
    *("/", "/playground", "/docs", "/openapi.json", "/fhir/Patient", "/static/x"),
    *("/cds-services/../metrics", "/cds-services/%2e%2e/metrics", "/cds-services%2f..%2fmetrics", "/cds-services/..;/metrics"),
    *("/cards/../health", "/cards/%2e%2e/health", "/cards/..", "/cards/x/../../metrics", "/cds-servicesx", "/x/cds-services"),
    *("http://cds.hospital.example/metrics", "/cds-services\\..\\metrics", "/cds-services/a/b/../../../metrics"),
]


async def connected(proxy: Proxied) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", proxy.port, ssl=proxy.trust, server_hostname=NAME)


async def status_of(proxy: Proxied, path: str, method: str = "GET") -> int:
    """The status that the proxy answers to this path, sent exactly so."""
    reader, writer = await connected(proxy)
    writer.write(f"{method} {path} HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return int(answer[9:12])


@pytest.mark.parametrize("proxy", PROXIES)
async def test_what_is_for_operators_stays_inside(tmp_path: Path, proxy: str) -> None:
    async with loopback(saying(http(b"{}"))) as service:
        with proxied(proxy, tmp_path, [service.port]) as front:
            if proxy == "haproxy":
                await asyncio.sleep(1)  # its first look at /health/ready
            assert {path: await status_of(front, path) for path in FOR_EHRS} == dict.fromkeys(FOR_EHRS, 200)
            asked = [path for path in _paths(service.received) if path != "/health/ready"]
            assert asked == FOR_EHRS, "unchanged"
            for method in ("GET", "POST"):
                for path in INSIDE:
                    assert await status_of(front, path, method) in (400, 404), path
            assert [path for path in _paths(service.received) if path != "/health/ready"] == FOR_EHRS


def _paths(heads: list[bytes]) -> list[str]:
    return [head.split(b" ")[1].decode() for head in heads]


@pytest.mark.parametrize("proxy", PROXIES)
async def test_two_services_that_are_restarted_in_turn_lose_no_call(tmp_path: Path, proxy: str) -> None:
    statuses: Counter[int | str] = Counter()
    took: list[float] = []
    folders = [tmp_path / "one", tmp_path / "two"]
    with ExitStack() as stack:
        for folder in folders:
            folder.mkdir()
        servers = [stack.enter_context(RealServer(folder, drain_ms="2000")) for folder in folders]
        front = stack.enter_context(proxied(proxy, tmp_path, [server.port for server in servers]))
        await asyncio.sleep(1.5)
        restarted = asyncio.Event()
        restarts = 0

        async def ask() -> None:
            while not restarted.is_set():
                began = time.monotonic()
                try:
                    reader, writer = await connected(front)
                    writer.write(whole(CALL))
                    statuses[(await answer_of(reader))[0]] += 1
                    writer.close()
                except (OSError, asyncio.IncompleteReadError) as error:
                    statuses[type(error).__name__] += 1
                took.append(time.monotonic() - began)
                await asyncio.sleep(0.02)

        async def restart() -> None:
            nonlocal restarts
            while sum(statuses.values()) < RESTART_CALLS or restarts < len(servers):
                await asyncio.to_thread(servers[restarts % len(servers)].restart)
                await asyncio.sleep(1.5)  # until the proxy has seen that it is back
                restarts += 1
            restarted.set()

        await asyncio.gather(restart(), *(ask() for _ in range(4)))
    print(
        f"{proxy}: {sum(statuses.values())} calls during {restarts} restarts of two services in turn: {dict(statuses)}, "
        f"p50 {percentile(took, 50) * 1000:.0f} ms, p99 {percentile(took, 99) * 1000:.0f} ms"
    )
    assert set(statuses) == {200}
