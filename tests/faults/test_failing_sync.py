"""F2: a disk whose syncs fail. Nothing counts as written, answers go on, and all of it is in the file when the disk is back.

Needs a C compiler for the shim that fails (`failing_sync.c`), as there is no such disk; what the system forgets of unsynced pages
after a power cut can't be shown in this way.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cds_service.backup.verification import verify_log
from tests.alert_log_samples import rows
from tests.faults.test_server_under_faults import PATH, body, fires
from tests.real_server import RealServer

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

CALLS = 20


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    made = tmp_path / "failing_sync.so"
    source = Path(__file__).with_name("failing_sync.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(made), str(source), "-ldl"], check=True)
    return made


def within(seconds: float, what: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_nothing_counts_as_written_until_it_is_synced(tmp_path: Path, shim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = tmp_path / "failing"
    monkeypatch.setenv("LD_PRELOAD", str(shim))
    monkeypatch.setenv("FAILING_SYNC", str(failing))
    with RealServer(tmp_path) as server:

        def log() -> dict[str, object]:
            health: dict[str, dict[str, object]] = server.client.get("/health").json()
            return health["log"]

        for _ in range(2):  # it may happen again
            before = log()["written"]
            failing.touch()
            for _ in range(CALLS):
                assert fires(server.client.post(PATH, content=body()))
            assert log()["written"] == before
            assert (log()["state"], log()["waiting"]) == ("degraded", CALLS)
            failing.unlink()
            within(20, lambda: log()["state"] == "ok" and log()["waiting"] == 0)
            assert fires(server.client.post(PATH, content=body()))
        told = [line["code"] for line in server.events() if line["event"] == "log_unwritable"]
        assert told == ["SQLITE_IOERR_FSYNC"] * 2
    assert rows(server.log_path, "SELECT count(*), count(DISTINCT hook_instance) FROM call") == [(2 * CALLS + 2, 2 * CALLS + 2)]
    assert verify_log(server.log_path).problems == []
