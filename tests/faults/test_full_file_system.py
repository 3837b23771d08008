"""F4: a file system of 16 MB fills up under the log, and is freed. Needs the right to mount one. Long form: `CDS_ROUNDS=20`."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cds_service.backup.verification import verify_log
from tests.alert_log_samples import rows
from tests.faults.test_server_under_faults import PATH, body, fires
from tests.real_server import RealServer

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

ROUNDS = int(os.environ.get("CDS_ROUNDS", "1"))
SIZE = 16 * 1024 * 1024


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own."""
    image, folder = tmp_path / "image", tmp_path / "small"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE)
    made = subprocess.run(["mkfs.ext4", "-q", str(image)], check=False) if os.geteuid() == 0 else None
    if made is None or made.returncode:
        pytest.skip("a file system can't be made here")
    if subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=False).returncode:
        pytest.skip("a file system can't be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", 0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError:
            return filler


def state(server: RealServer) -> tuple[str, int]:
    log = server.client.get("/health").json()["log"]
    return log["state"], log["waiting"]


def test_calls_are_answered_and_all_is_written_when_there_is_room(tmp_path: Path, small: Path) -> None:
    calls = 0
    with RealServer(tmp_path, log_path=str(small / "alerts.sqlite3")) as server:
        for _ in range(ROUNDS):
            filler = fill(small)
            deadline = time.monotonic() + 60
            while state(server)[0] == "ok":
                assert time.monotonic() < deadline
                assert fires(server.client.post(PATH, content=body()))
                calls += 1
            for _ in range(10):
                assert fires(server.client.post(PATH, content=body()))
                calls += 1
            assert server.client.get("/health").json()["status"] == "degraded"
            filler.unlink()
            deadline = time.monotonic() + 30
            while state(server) != ("ok", 0):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert server.client.get("/health").json()["set_aside"] == [], "a full disk is no damage"
    assert rows(server.log_path, "SELECT count(*), count(DISTINCT hook_instance) FROM call") == [(calls, calls)]
    assert verify_log(server.log_path).problems == []
