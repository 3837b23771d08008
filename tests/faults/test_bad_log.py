"""A log that can't be used costs no answer: one worker sets it aside, all go on in a new one, and operators hear of it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cds_service.alert_log.store import Store
from cds_service.files.set_aside import files_set_aside
from tests.alert_log.bad_files import BAD
from tests.alert_log_samples import a_call, a_card, rows
from tests.faults.test_server_under_faults import PATH, body, fires, totals
from tests.real_server import RealServer

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]


def call(server: RealServer) -> None:
    """Call over a connection of its own, so that any worker may get it."""
    with httpx2.Client(base_url=server.address, trust_env=False, timeout=10) as fresh:
        assert fires(fresh.post(PATH, content=body()))


def until(true: Callable[[], bool], meanwhile: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        meanwhile()


def alarms(server: RealServer, count: int) -> None:
    health: dict[str, Any] = server.client.get("/health").json()
    assert (health["status"], len(health["set_aside"])) == ("degraded", count)
    until(lambda: totals(server)["cds_set_aside_files"] == count, lambda: time.sleep(0.1))
    measured = totals(server)
    assert sum(value for name, value in measured.items() if name.startswith("cds_log_set_aside_total")) == count
    told = [line for line in server.events() if line["event"] == "log_set_aside"]
    assert [line["file"] for line in told] == [str(server.log_path)] * count, "one worker does it, and names the file"


@pytest.mark.parametrize(("workers", "kinds"), [(1, ["truncated", "a folder"]), (2, ["garbage", "newer", "foreign"])])
def test_while_it_serves(tmp_path: Path, workers: int, kinds: list[str]) -> None:
    with RealServer(tmp_path, workers=workers) as server:
        for count, kind in enumerate(kinds, start=1):
            for _ in range(4 * workers):
                call(server)
            with closing(sqlite3.connect(server.log_path)) as other:  # else the write-ahead log still has all of the file
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            spoil, reason = BAD[kind]
            spoil(server.log_path)
            until(lambda count=count: len(files_set_aside(tmp_path)) == count, lambda: call(server))  # type: ignore[misc]
            assert any(f".{reason}-" in name for name in files_set_aside(tmp_path))
            for _ in range(4 * workers):
                call(server)
        until(lambda: totals(server)["cds_log_state ok"] == workers, lambda: call(server))
        alarms(server, len(kinds))
        logged = rows(server.log_path, "SELECT count(*) FROM call")[0]
        call(server)
        assert rows(server.log_path, "SELECT count(*) FROM call") == [logged + 1]


@pytest.mark.parametrize(("workers", "kind"), [(1, "truncated"), (2, "newer")])
def test_at_the_start(tmp_path: Path, workers: int, kind: str) -> None:
    path = tmp_path / "alerts.sqlite3"
    store = Store(path)
    store.append([a_call(a_card()) for _ in range(200)])
    store.close()
    BAD[kind][0](path)
    with RealServer(tmp_path, workers=workers) as server:
        for _ in range(4 * workers):
            call(server)
        alarms(server, 1)
        assert rows(path, "SELECT count(*) FROM call") == [4 * workers]
