"""T3: tokens used many times at once, on the workers of a real server, are accepted exactly once each.

`CDS_REPLAYED_TOKENS=1000` is the long form. The test with PostgreSQL uses the server at CDS_TEST_DATABASE_URL (default that of
this machine, user postgres), makes a database of its own there and drops it; it is skipped where there is none.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from cds_service.clock import utc_now
from tests.bench.server import Server, ServerStartError, free_port
from tests.http_side import call_body
from tests.tokens import a_client, signed, write_registry

pytestmark = [pytest.mark.loopback, pytest.mark.usefixtures("socket_enabled")]

TOKENS = int(os.environ.get("CDS_REPLAYED_TOKENS", "100"))
USES, WORKERS, CONNECTIONS = 20, 4, 32
SERVICE = "cramp-care-patient-view"
DATABASE_SERVER = os.environ.get("CDS_TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")


@pytest.fixture
def database() -> Iterator[str]:
    """A database of its own on the PostgreSQL server at CDS_TEST_DATABASE_URL; where there is none, the test fails."""
    name = f"cds_test_{secrets.token_hex(6)}"
    with psycopg.connect(DATABASE_SERVER, autocommit=True, connect_timeout=3) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield f"{DATABASE_SERVER.rpartition('/')[0]}/{name}"
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def environ(folder: Path, port: int, **more: str) -> dict[str, str]:
    settings = {
        "CDS_CLIENTS_FILE": str(write_registry(folder, a_client())),
        "CDS_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "CDS_LOG_PATH": str(folder / "alerts.sqlite3"),
        "CDS_ON_UNAVAILABLE": "card",
    }
    return settings | more


def command(port: int, workers: int = WORKERS) -> list[str]:
    script = str(Path(sys.executable).with_name("cds-service"))
    return [script, "serve", "--quiet", "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]


async def statuses(port: int, tokens: list[str]) -> list[tuple[str, int]]:
    """Each token with the status of the call that used it; the calls go out over 32 connections at once."""
    body = json.dumps(call_body("patient-view")).encode()
    waiting = iter(tokens)
    found: list[tuple[str, int]] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for token in waiting:
            head = f"POST /cds-services/{SERVICE} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
            writer.write(f"{head}authorization: Bearer {token}\r\n\r\n".encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(answer.split(b"content-length: ")[1].split(b"\r")[0]))
            found.append((token, int(answer.split(b" ", 2)[1])))
        writer.close()

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return found


def used_many_times(url: str, count: int) -> list[str]:
    tokens = [signed(url, now=utc_now().timestamp()) for _ in range(count)] * USES
    random.Random(3).shuffle(tokens)
    return tokens


def wait_for(workers: int, output: Path) -> None:
    """The port is open before the workers are up; a worker that comes late would take no part."""
    until = time.monotonic() + 120
    while output.read_text().count("Application startup complete") < workers:
        if time.monotonic() > until:
            raise ServerStartError(output.read_text()[-2000:])
        time.sleep(0.1)


def accepted_once(folder: Path, **more: str) -> tuple[Counter[int], Counter[int]]:
    """(statuses, how often tokens were accepted: times → tokens)."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/cds-services/{SERVICE}"
    with Server(command(port), port, folder, None, environ(folder, port, **more)) as server:
        server.wait()
        wait_for(WORKERS, folder / f"server-{port}.txt")
        found = asyncio.run(statuses(port, used_many_times(url, TOKENS)))
    times = Counter(token for token, status in found if status == 200)
    return Counter(status for _, status in found), Counter(times[token] for token, _ in found)


def assert_each_once(found: tuple[Counter[int], Counter[int]]) -> None:
    assert found[0] == {200: TOKENS, 401: TOKENS * (USES - 1)}
    assert found[1] == {1: TOKENS * USES}


def test_each_token_once_across_workers_that_share_a_file(tmp_path: Path) -> None:
    assert_each_once(accepted_once(tmp_path))


def test_each_token_once_across_workers_that_share_a_database(tmp_path: Path, database: str) -> None:
    assert_each_once(accepted_once(tmp_path, CDS_DATABASE_URL=database))
    with psycopg.connect(database) as connection:
        [row] = connection.execute("SELECT count(*), bool_and(length(token) = 16) FROM used_token").fetchall()
    assert row == (TOKENS, True)


def test_two_machines_that_share_a_database_accept_a_token_once(tmp_path: Path, database: str) -> None:
    """Two servers with a log, and a file of used tokens, of their own each."""
    ports = [free_port(), free_port()]
    url = f"http://127.0.0.1:{ports[0]}"
    tokens = [signed(f"{url}/cds-services/{SERVICE}", now=utc_now().timestamp()) for _ in range(40)]
    found: list[tuple[str, int]] = []
    servers = []
    for port in ports:
        folder = tmp_path / str(port)
        folder.mkdir()
        settings = environ(folder, port, CDS_DATABASE_URL=database, CDS_PUBLIC_URL=url)
        servers.append(Server(command(port, 1), port, folder, None, settings))

    async def both() -> list[list[tuple[str, int]]]:
        return await asyncio.gather(*(statuses(port, tokens) for port in ports))

    with servers[0], servers[1]:
        for server in servers:
            server.wait()
        for part in asyncio.run(both()):
            found += part
    assert Counter(status for _, status in found) == {200: 40, 401: 40}
    assert set(Counter(token for token, status in found if status == 200).values()) == {1}


def test_a_database_that_goes_away_degrades_and_comes_back(tmp_path: Path, database: str) -> None:
    """Connections are cut and refused; calls go on, health says so; afterwards everything is shared again."""
    from cds_service.trust.replay import Replay
    from cds_service.trust.replay_postgres import PostgresUsedTokens
    from cds_service.trust.tokens import read_token

    name = database.rpartition("/")[2]

    def admit(yes: bool) -> None:
        with psycopg.connect(DATABASE_SERVER, autocommit=True) as server:
            server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), sql.Literal(yes)))
            if not yes:
                server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

    async def story() -> None:
        moment = 0.0
        replay = Replay(PostgresUsedTokens(database), time.time, lambda: moment)
        await replay.start()
        tokens = [read_token(signed(now=utc_now().timestamp())) for _ in range(4)]
        assert await replay.first_use(tokens[0], 60) is True
        assert await replay.first_use(tokens[0], 60) is False
        await asyncio.to_thread(admit, False)
        assert await replay.first_use(tokens[1], 60) is None
        assert await replay.first_use(tokens[1], 60) is False
        assert replay.degraded
        await asyncio.to_thread(admit, True)
        for _ in range(20):
            moment += 10.0
            await replay.maintain()
            if not replay.degraded:
                break
            await asyncio.sleep(0.5)
        assert not replay.degraded
        assert await replay.first_use(tokens[2], 60) is True
        other = Replay(PostgresUsedTokens(database), time.time, lambda: moment)
        await other.start()
        assert [await other.first_use(token, 60) for token in tokens] == [False, False, False, True]
        await replay.close()
        await other.close()

    asyncio.run(story())
