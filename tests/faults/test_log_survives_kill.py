"""The alert log under faults that are real: killed processes, a disk without room, several processes on one file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cds_service
from tests.alert_log_samples import rows

REPOSITORY = Path(cds_service.__file__).resolve().parent.parent
KILLS = int(os.environ.get("CDS_KILLS", "8"))  # a nightly run can afford more


def writer(path: Path, count: int = 0, limit: int = 0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "error", "-m", "tests.faults.log_writer", str(path), str(count), str(limit)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)


def lines_of(output: bytes) -> list[tuple[str, str]]:
    """Kind and value of each line; a line that the kill cut off is none."""
    return [(kind, value) for kind, _, value in (line.partition(" ") for line in output.decode().split("\n")[:-1])]


def assert_whole(path: Path) -> list[str]:
    """The file is sound and every call in it has both of its cards. The ids of the calls."""
    assert rows(path, "PRAGMA integrity_check") == ["ok"]
    assert rows(path, "SELECT id FROM call WHERE (SELECT count(*) FROM card WHERE call_seq = call.seq) != 2") == []
    assert rows(path, "SELECT count(*) FROM card") == rows(path, "SELECT 2 * count(*) FROM call")
    return rows(path, "SELECT id FROM call")


def test_nothing_acknowledged_is_lost_or_doubled_by_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "alerts.sqlite3"
    acknowledged: list[tuple[str, str]] = []
    for round_number in range(KILLS):
        with writer(path) as process:
            assert process.stdout is not None
            head = b"".join(process.stdout.readline() for _ in range(20 + 37 * round_number))
            process.kill()
            acknowledged += lines_of(head + process.stdout.read())

    logged = assert_whole(path)

    assert {kind for kind, _ in acknowledged} == {"durable"}
    assert len(acknowledged) > 20 * KILLS
    assert len(logged) == len(set(logged))
    assert {value for _, value in acknowledged} <= set(logged)
    assert len(logged) <= len(acknowledged) + 16 * KILLS  # not acknowledged: at most what was under way


def test_a_full_disk_loses_nothing_and_the_log_recovers(tmp_path: Path) -> None:
    path = tmp_path / "alerts.sqlite3"
    with writer(path, count=300, limit=600_000) as process:
        assert process.stdout is not None
        lines = lines_of(process.stdout.read())

    logged = assert_whole(path)

    by_kind = {kind: [value for one, value in lines if one == kind] for kind in ("durable", "waiting", "state", "lost")}
    assert by_kind["durable"], "the limit was too low to write anything"
    assert by_kind["waiting"], "the limit was too high to be met"
    assert by_kind["state"] == ["degraded"]
    assert by_kind["lost"] == ["0"]
    assert sorted(logged) == sorted(by_kind["durable"] + by_kind["waiting"])


def test_several_processes_append_to_one_file_that_none_of_them_found(tmp_path: Path) -> None:
    path = tmp_path / "alerts.sqlite3"
    processes = [writer(path, count=300) for _ in range(3)]
    lines = [line for process in processes for line in lines_of(process.communicate()[0])]

    logged = assert_whole(path)

    assert sorted(logged) == sorted(value for kind, value in lines if kind in {"durable", "waiting"})
    assert [value for kind, value in lines if kind == "lost"] == ["0", "0", "0"]
