"""A real service that ships its log while PostgreSQL is down, full or silent, and while the service itself is killed.

`CDS_OUTAGE_SECONDS=60` and `CDS_SERVICE_KILLS=20` are the long forms.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx2
import msgspec
import psycopg
import pytest

from cds_service.alert_log.instants import short_hash
from cds_service.authoring.shorthand import request_from_case
from cds_service.clock import utc_now
from tests.alert_log_samples import rows
from tests.bench.server import _with_workers
from tests.log_tables import postgres_database
from tests.real_server import RealServer
from tests.shipped import ask, assert_same

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

OUTAGE = float(os.environ.get("CDS_OUTAGE_SECONDS", "3"))
KILLS = int(os.environ.get("CDS_SERVICE_KILLS", "1"))
RATE = 50  # calls a second
PATH = "/cds-services/cramp-care-order-sign"
REQUEST = request_from_case(["order: quinine 300 mg, for leg cramps"], "order-sign", utc_now())


@pytest.fixture
def database(socket_enabled: None) -> Iterator[str]:
    with postgres_database() as url:
        yield url


class Load:
    """Calls at a steady rate from a thread: (seconds that each took, its status or the name of an error), acknowledged calls."""

    def __init__(self, server: RealServer) -> None:
        self.answers: list[tuple[float, int | str]] = []
        self.acknowledged: set[bytes] = set()
        self._server = server

    @contextmanager
    def running(self) -> Iterator[Load]:
        done = threading.Event()
        threads = [threading.Thread(target=self._ask, args=(done,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            done.set()
            for thread in threads:
                thread.join()

    def p99_ms(self, first: int, last: int) -> float:
        taken = sorted(seconds for seconds, _ in self.answers[first:last])
        return 1000 * taken[len(taken) * 99 // 100]

    def _ask(self, done: threading.Event) -> None:
        with httpx2.Client(base_url=self._server.address, trust_env=False, timeout=10) as client:
            while not done.wait(4 / RATE):
                instance = str(uuid4())
                began = time.perf_counter()
                try:
                    answer = client.post(PATH, content=msgspec.json.encode(REQUEST | {"hookInstance": instance}))
                except httpx2.HTTPError as error:
                    self.answers.append((time.perf_counter() - began, type(error).__name__))
                    continue
                self.answers.append((time.perf_counter() - began, answer.status_code))
                if answer.status_code == 200 and answer.json()["cards"]:
                    self.acknowledged.add(short_hash(instance))


def wait_for_shipping(server: RealServer, **wanted: object) -> None:
    """Wait until `shipping` on /health has these members. Raises AssertionError after a minute."""
    until = time.monotonic() + 60
    while True:
        seen = server.client.get("/health").json()["shipping"]
        if {name: seen[name] for name in wanted} == wanted:
            return
        assert time.monotonic() < until, seen
        time.sleep(0.05)


def admit(url: str, yes: bool) -> None:
    """Let connections to the database in, or none, and cut those that there are."""
    name = url.rpartition("/")[2]
    with psycopg.connect(url.replace(name, "postgres"), autocommit=True) as server:
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {'true' if yes else 'false'}".encode())
        if not yes:
            server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


def assert_all_arrived(server: RealServer, load: Load, url: str) -> None:
    until = time.monotonic() + 60
    while ask(url, "SELECT count(*), 0 FROM log.call") != rows(server.log_path, "SELECT count(*), 0 FROM call"):
        assert time.monotonic() < until
        time.sleep(0.1)
    shipped = {bytes(one) for (one,) in ask(url, "SELECT instance FROM log.call")}
    assert load.acknowledged <= shipped
    assert ask(url, "SELECT count(*), count(DISTINCT id), count(DISTINCT seq) FROM log.call") == [(len(shipped),) * 3]
    assert ask(url, "SELECT refused FROM (SELECT count(*) AS refused FROM log.unshipped) AS one") == [(0,)]


def test_a_database_that_is_down_costs_lag_and_nothing_else(tmp_path: Path, database: str) -> None:
    with RealServer(tmp_path, log_database_url=database) as server:
        load = Load(server)
        with load.running():
            time.sleep(1)
            wait_for_shipping(server, state="ok")
            before = len(load.answers)
            admit(database, False)
            time.sleep(OUTAGE)
            wait_for_shipping(server, state="failing")
            assert server.client.get("/health").json()["status"] == "degraded"
            assert server.client.get("/health/ready").status_code == 200
            during = len(load.answers)
            admit(database, True)
            wait_for_shipping(server, state="ok")
        began = time.monotonic()
        assert_all_arrived(server, load, database)
        emptied = time.monotonic() - began
        assert {status for _, status in load.answers} == {200}
        assert len(load.acknowledged) == len(load.answers)
    assert_same(tmp_path / "alerts.sqlite3", database)
    print(
        f"{during - before} calls in an outage of {OUTAGE} s: p99 {load.p99_ms(before, during):.1f} ms, "
        f"before {load.p99_ms(0, before):.1f} ms; everything was there {emptied:.1f} s after the last call"
    )


def test_a_database_that_is_full_is_said_and_nothing_is_lost(tmp_path: Path, database: str) -> None:
    with RealServer(tmp_path, log_database_url=database) as server:
        load = Load(server)
        with load.running():
            wait_for_shipping(server, state="ok", waiting=0)
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(
                    """CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
                        $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$"""
                )
                connection.execute("CREATE TRIGGER disk_full BEFORE INSERT ON log.call FOR EACH ROW EXECUTE FUNCTION disk_full()")
                wait_for_shipping(server, state="failing", last_error="DiskFull")
                assert server.client.get("/health").json()["status"] == "degraded"
                time.sleep(0.5)
                connection.execute("DROP TRIGGER disk_full ON log.call")
        assert_all_arrived(server, load, database)
        assert {status for _, status in load.answers} == {200}
    assert_same(tmp_path / "alerts.sqlite3", database)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_service_loses_and_doubles_nothing_that_it_acknowledged(tmp_path: Path, database: str, workers: int) -> None:
    acknowledged: set[bytes] = set()
    for _ in range(KILLS):
        with RealServer(tmp_path, workers=workers, log_database_url=database) as server:
            load = Load(server)
            with load.running():
                while len(load.acknowledged) < 40:
                    time.sleep(0.01)
                for process in _with_workers(server.process.pid):
                    os.kill(process, signal.SIGKILL)
            acknowledged |= load.acknowledged
    with RealServer(tmp_path, log_database_url=database) as server:
        wait_for_shipping(server, waiting=0, state="ok")
    shipped = ask(database, "SELECT instance FROM log.call")
    assert acknowledged <= {bytes(one) for (one,) in shipped}
    assert_same(tmp_path / "alerts.sqlite3", database)


def test_a_silent_database_holds_up_neither_start_nor_calls_nor_end(tmp_path: Path) -> None:
    """Connections are taken and nothing is ever answered, as behind a firewall that drops packets."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        url = f"postgresql://postgres@127.0.0.1:{silent.getsockname()[1]}/x"
        for _ in range(2):  # a restart
            with RealServer(tmp_path, log_database_url=url) as server:
                load = Load(server)
                with load.running():
                    time.sleep(1)
                assert {status for _, status in load.answers} == {200}
                server.process.send_signal(signal.SIGTERM)
                server.process.wait(15)
                assert "stopped" in server.output("stderr")  # the last line of an orderly end


def test_a_card_shown_by_one_machine_is_not_shown_again_by_another(tmp_path: Path, database: str) -> None:
    """A machine has 50 ms to hear of the other's cards. A busy one may not, and shows the card: another patient, another try."""
    secret = "f" * 32
    cramp = f'ICD10#T67.2XXA "Heat cramp", onset {utc_now() - timedelta(days=1):%Y-%m-%d}'
    given = ["patient: male, 24 years", "LOINC#2823-3 Potassium 4.2 mmol/L", cramp]
    request = request_from_case(given, "patient-view", utc_now())
    for name in ("one", "other"):
        (tmp_path / name).mkdir()

    def topics(server: RealServer, patient: str) -> list[str]:
        sent = msgspec.json.encode(request | {"hookInstance": str(uuid4())}).replace(b"patient-1", patient.encode())
        answer = server.client.post("/cds-services/cramp-care-patient-view", content=sent)
        assert answer.status_code == 200
        return [card["source"]["topic"]["code"] for card in answer.json()["cards"]]

    with (
        RealServer(tmp_path / "one", log_database_url=database, hash_secret=secret) as one,
        RealServer(tmp_path / "other", log_database_url=database, hash_secret=secret) as other,
    ):
        for attempt in range(30):
            patient = f"somebody-{attempt}"
            assert "cramp-exercise" in topics(one, patient)
            until = time.monotonic() + 60
            logged = sum(rows(server.log_path, "SELECT count(*) FROM card")[0] for server in (one, other))
            while ask(database, "SELECT count(*) FROM log.card") != [(logged,)]:
                assert time.monotonic() < until
                time.sleep(0.05)
            if "cramp-exercise" not in topics(other, patient):
                return
    raise AssertionError("shown twice to every patient")
