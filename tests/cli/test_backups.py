"""`cds-service log backup`, `log restore` and `log verify`."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cds_service.alert_log.store import Store
from cds_service.backup.verification import hash_of
from cds_service.cli.main import main
from cds_service.database import open_database
from tests.alert_log_samples import a_call, a_card, rows

Captured = pytest.CaptureFixture[str]

# Opens the file as a service does, says so, and waits to be ended.
HOLDER = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM call'); print(1, flush=True); input()"


def run(*arguments: str | Path, capsys: Captured) -> tuple[int, str, str]:
    status = main(["log", *map(str, arguments)])
    return status, *capsys.readouterr()


def add(path: Path, count: int) -> None:
    with closing(Store(path)) as store:
        store.append([a_call(a_card()) for _ in range(count)])


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "alerts.sqlite3"
    monkeypatch.setenv("CDS_LOG_PATH", str(path))
    add(path, 3)
    open_database(path, tmp_path / "review.sqlite3", writes_review=True).close()
    return path


def test_there_and_back(log: Path, tmp_path: Path, capsys: Captured) -> None:
    copy = tmp_path / "monday.sqlite3"
    status, out, _ = run("backup", copy, capsys=capsys)
    assert status == 0
    assert f"log: {copy}: ok, schema 6, " in out
    assert "3 calls, 3 cards, 0 items of feedback" in out
    assert f"review database: {tmp_path / 'monday.review.sqlite3'}: ok" in out
    hashes = re.findall("SHA-256 ([0-9a-f]{64})", out)
    assert hashes == [hash_of(tmp_path / "monday.review.sqlite3"), hash_of(copy)]
    assert run("verify", copy, capsys=capsys)[0] == 0
    add(log, 4)
    with closing(sqlite3.connect(tmp_path / "review.sqlite3")) as review, review:
        review.execute("DROP TABLE saved_view")
    status, out, _ = run("restore", copy, "--hash", hashes[1], capsys=capsys)
    assert status == 0
    assert re.search(r"what was there is now \S+alerts\.sqlite3\.before-restore-\d{8}T\d{6}Z", out)
    assert rows(log, "SELECT count(*) FROM call") == [3]
    with closing(sqlite3.connect(tmp_path / "review.sqlite3")) as review:
        assert review.execute("SELECT count(*) FROM saved_view").fetchone() == (0,)
    assert run("verify", capsys=capsys)[0] == 0


def test_what_can_not_be_restored_changes_nothing(log: Path, tmp_path: Path, capsys: Captured) -> None:
    copy = tmp_path / "copy.sqlite3"
    run("backup", copy, capsys=capsys)
    status, _, err = run("restore", copy, "--hash", "0" * 64, capsys=capsys)
    assert (status, err.splitlines()[-1]) == (1, f"nothing was changed: the SHA-256 of {copy} is {hash_of(copy)}")
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("DELETE FROM call WHERE seq = 2")
    status, out, err = run("verify", copy, capsys=capsys)
    assert (status, "NOT USABLE" in out, "records 2 to 2 are missing" in err) == (1, True, True)
    status, _, err = run("restore", copy, capsys=capsys)
    assert (status, "nothing was changed" in err) == (1, True)
    assert run("restore", tmp_path / "none", capsys=capsys)[0] == 1
    assert rows(log, "SELECT count(*) FROM call") == [3]
    assert not list(tmp_path.glob("*before-restore*"))


def test_another_process_that_reads_the_file_is_found(log: Path, tmp_path: Path, capsys: Captured) -> None:
    copy = tmp_path / "copy.sqlite3"
    run("backup", copy, capsys=capsys)
    command = [sys.executable, "-c", HOLDER, str(log)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        try:
            reader.stdout.readline()
            status, _, err = run("restore", copy, capsys=capsys)
        finally:
            reader.kill()
    assert (status, f"a process has {log} open" in err) == (1, True)
    assert run("restore", copy, capsys=capsys)[0] == 0


def test_mistakes_are_said(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert run("backup", log, capsys=capsys)[0] == 2
    assert run("backup", tmp_path / "no" / "folder", capsys=capsys)[0] == 1
    assert run("verify", tmp_path / "none", capsys=capsys)[0] == 1
    monkeypatch.setenv("CDS_LOG_DATABASE_URL", "postgresql://somebody@127.0.0.1/x")
    status, out, err = run("backup", tmp_path / "copy.sqlite3", capsys=capsys)
    assert (status, "review database" in out, "pg_dump" in err) == (0, False, True)
    monkeypatch.setenv("CDS_LOG_PATH", str(tmp_path / "missing.sqlite3"))
    assert run("backup", tmp_path / "copy.sqlite3", capsys=capsys)[0] == 1
