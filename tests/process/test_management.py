"""The port for operators: what it serves, what the port of the calls no longer serves, and how long it is open."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from cds_service.app import create_app
from cds_service.process.management import management_socket, served
from cds_service.settings import Settings, SettingsError
from cds_service.trust.callers import UnverifiedCallers
from tests.bench.server import free_port
from tests.http_side import Stub, new_test_app, running
from tests.real_server import RealServer
from tests.tokens import GOOD_SECRET, PUBLIC_URL, a_client, write_registry

FOR_OPERATORS = ("/health", "/health/checking", "/metrics")


def production(folder: Path, **settings: Any) -> FastAPI:
    app, _ = new_test_app(folder, Stub(), callers=UnverifiedCallers(), profile="production", hash_secret="x" * 32, **settings)
    return app


@pytest.mark.parametrize(
    ("settings", "listens"),
    [
        ({}, None),
        ({"profile": "production"}, ("127.0.0.1", 8001)),
        ({"management_address": "0.0.0.0:9100"}, ("0.0.0.0", 9100)),  # noqa: S104
        ({"management_address": "[::1]:9100"}, ("::1", 9100)),
        ({"management_address": "metrics.internal:9100", "profile": "production"}, ("metrics.internal", 9100)),
    ],
)
def test_where_it_listens(settings: dict[str, Any], listens: tuple[str, int] | None) -> None:
    assert Settings(**settings).management == listens


async def test_the_port_of_the_calls_tells_a_balancer_what_it_needs_and_no_more(tmp_path: Path) -> None:
    app = production(tmp_path)
    async with running(app) as client:
        for path in FOR_OPERATORS:
            assert (await client.get(path)).status_code == 404
        assert (await client.get("/health/live")).json() == {"status": "live"}
        ready = await client.get("/health/ready")
    assert (ready.status_code, ready.json()) == (503, {"status": "not ready"})  # no cards, which is for operators to know


async def test_the_port_for_operators_has_the_rest(tmp_path: Path) -> None:
    app = production(tmp_path)
    async with running(app), running(app.state.management) as inside:
        assert [(await inside.get(path)).status_code for path in FOR_OPERATORS] == [200, 503, 200]  # no self-check in this test
        assert (await inside.get("/health/ready")).json() == {"status": "not ready", "because": ["no cards"]}
        assert (await inside.get("/cds-services")).status_code == 404
        assert (await inside.get("/health")).json()["notes"][0].startswith("no card is shown")


async def test_it_answers_until_the_application_has_ended(tmp_path: Path) -> None:
    app = production(tmp_path)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s"))
    listening.listen()

    async def status() -> bytes:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer[:12]

    async with served(app.state.management, listening):
        async with running(app):
            assert await status() == b"HTTP/1.1 200"
        assert await status() == b"HTTP/1.1 200"
    with pytest.raises(ConnectionRefusedError):
        await status()


@pytest.mark.loopback
@pytest.mark.usefixtures("socket_enabled")
def test_an_address_that_is_taken_is_named_with_its_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(SettingsError, match=f"{address} is in use by another program; CDS_MANAGEMENT_ADDRESS"):
            management_socket(Settings(management_address=address))
    with pytest.raises(SettingsError, match="can't be listened on"):
        management_socket(Settings(management_address="192.0.2.1:8001"))


async def test_in_the_dev_profile_all_is_on_one_port(tmp_path: Path) -> None:
    app = create_app(Settings(log_path=tmp_path / "alerts.sqlite3", checking_seconds=0))
    assert app.state.management is app
    async with running(app) as client:
        assert (await client.get("/metrics")).status_code == 200


@pytest.mark.loopback
@pytest.mark.usefixtures("socket_enabled")
def test_every_worker_of_a_production_service_answers_there_and_has_the_same_configuration(tmp_path: Path) -> None:
    port = free_port()
    settings = {
        "profile": "production",
        "public_url": PUBLIC_URL,
        "hash_secret": GOOD_SECRET,
        "clients_file": str(write_registry(tmp_path, a_client())),
        "management_address": f"127.0.0.1:{port}",
    }
    with RealServer(tmp_path, workers=2, **settings) as server, httpx2.Client(trust_env=False) as client:
        until = time.monotonic() + 30
        while [line["event"] for line in server.events()].count("started") < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert server.client.get("/metrics").status_code == 404
        assert server.client.get("/health/ready").json() == {"status": "ready"}
        health = client.get(f"http://127.0.0.1:{port}/health").json()
        lines = client.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
        started = [line for line in server.events() if line["event"] == "started"]
        assert {line["hash"] for line in started} == {health["configuration"]}
        memory = [line for line in lines if line.startswith("process_resident_memory_bytes{")]
        assert {int(line.partition('pid="')[2].partition('"')[0]) for line in memory} == {line["pid"] for line in started}
        assert len(memory) == 2
        assert [line["event"] for line in server.events()].count("no_card_live") == 2
