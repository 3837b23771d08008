"""Shipping under faults that are real: killed shippers, cut connections, refused records. Nothing is lost, nothing comes twice.

Long forms: CDS_SHIPPER_KILLS=100 CDS_SHIPPER_CUTS=50 CDS_SHIPPER_RECORDS=100000. They need the PostgreSQL server at
CDS_TEST_DATABASE_URL.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from cds_service.shipping import shipper as module
from cds_service.shipping.shipper import Shipper
from tests.log_rows import AT, NOW, SECOND, FileWriter, hashed
from tests.log_tables import postgres_database
from tests.real_server import REPOSITORY
from tests.shipped import ask, assert_same

pytestmark = [pytest.mark.loopback, pytest.mark.usefixtures("socket_enabled")]

KILLS = int(os.environ.get("CDS_SHIPPER_KILLS", "4"))
CUTS = int(os.environ.get("CDS_SHIPPER_CUTS", "3"))
RECORDS = int(os.environ.get("CDS_SHIPPER_RECORDS", "1500"))


@pytest.fixture
def database(socket_enabled: None) -> Iterator[str]:
    with postgres_database() as url:
        yield url


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "alerts.sqlite3"
    FileWriter(path).close()
    return path


@contextmanager
def appending(path: Path, pause: float = 0.005) -> Iterator[None]:
    """Meanwhile, calls with deliveries, feedback and refusals come into the file, five a transaction."""
    done = threading.Event()

    def append() -> None:
        number = 0
        writer = FileWriter(path, seed=random.getrandbits(32))
        while not done.wait(pause):
            with writer.transaction():
                for _ in range(5):
                    number += 1
                    at = AT + number * SECOND
                    call_id = writer.call(at)
                    writer.delivery(at, call_id)
                    writer.feedback(at, hashed(f"{number}"), reason=f"reason {number % 300}")
                    seen = {"tenant": 0, "client": 0, "hook": 0}
                    writer.record("refusal", received_at=AT, **seen, status=401, reason=writer.name("expired"), n=1)
        writer.close()

    thread = threading.Thread(target=append)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def ship_the_rest(path: Path, url: str) -> None:
    shipper = Shipper(path, url, lambda: NOW, shares=False)
    while shipper.step() == 0.0:
        pass
    health = shipper.health()
    shipper.close()
    assert (health.state, health.waiting, health.restored) == ("ok", 0, 0)


def test_killed_shippers_lose_and_double_nothing(path: Path, database: str) -> None:
    """Half of the rounds with two shippers of the same file at once."""
    dice = random.Random(4)
    shipped = 0
    for round_number in range(KILLS):
        command = [sys.executable, "-m", "tests.faults.shipping_process", str(path), database]
        with appending(path), ExitStack() as stack:
            processes = [
                stack.enter_context(subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE))
                for _ in range(1 + round_number % 2)
            ]
            assert processes[0].stdout is not None
            for _ in range(dice.randint(1, 12)):
                processes[0].stdout.readline()
            time.sleep(dice.uniform(0, 0.03))
            for process in processes:
                process.kill()
        shipped, before = ask(database, "SELECT last_seq FROM log.source")[0][0], shipped
        assert shipped > before  # something was shipped before the kill

    ship_the_rest(path, database)

    assert_same(path, database)


def test_cut_connections_lose_and_double_nothing(path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "_IDLE", 0.01)
    cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'cds-service shipping'"
    shipper = Shipper(path, database, lambda: NOW)
    with appending(path, pause=0.001), psycopg.connect(database, autocommit=True) as server:
        shipper.start()
        for number in range(CUTS):
            before = shipper.health().shipped
            while shipper.health().shipped == before:
                time.sleep(0.001)
            time.sleep(random.Random(number).uniform(0, 0.02))
            assert server.execute(f"{cut} AND datname = current_database()".encode()).fetchone() == (1,)
    shipper.stop()

    ship_the_rest(path, database)

    assert_same(path, database)


def test_refused_records_are_set_aside_and_the_others_arrive(path: Path, database: str) -> None:
    """One in a hundred; what is refused is known by its number and its reason."""
    writer = FileWriter(path)
    refused = []
    for first in range(0, RECORDS, 1000):
        with writer.transaction():
            for number in range(first, min(RECORDS, first + 1000)):
                if number % 100 == 37:
                    refused.append(writer.feedback(AT, hashed("x"), reason=f"{number}\0"))
                elif number % 100 == 73:
                    refused.append(writer.feedback(AT, hashed("x"), accepted='["\0"]'))
                else:
                    writer.call(AT + number * SECOND, body=b"x" * (5_000_000 if number == 500 else 300))
    writer.close()
    ship_all = Shipper(path, database, lambda: NOW, shares=False)
    while ship_all.step() == 0.0:
        pass
    health = ship_all.health()
    ship_all.close()
    assert (health.state, health.waiting, health.refused) == ("ok", 0, len(refused))
    assert [seq for (seq,) in ask(database, "SELECT seq FROM log.unshipped ORDER BY seq")] == refused
    assert ask(database, "SELECT DISTINCT kind, error FROM log.unshipped") == [("feedback", "DataError")]
    assert ask(database, "SELECT count(*), count(DISTINCT id) FROM log.call") == [(RECORDS - len(refused),) * 2]
    assert ask(database, "SELECT count(*) FROM log.body WHERE length(content) = 5000000") == [(1,)]
