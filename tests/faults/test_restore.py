"""The log's file put back from a copy: what a site does after a lost disk, and the only way back to the version before.

The backup is made by `cds-service log backup` at 50 calls a second, and put back by `log restore` after a kill, beside the
write-ahead log that the killed service left, which belongs to the file that is gone. `CDS_RESTORES=20` is the long form.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cds_service.alert_log.compact import compact
from cds_service.alert_log.schema import SCHEMA_VERSION
from cds_service.alert_log.store import Store
from cds_service.backup import restoring
from cds_service.backup.online_copy import copy_database
from cds_service.backup.verification import verify_log
from cds_service.cli.main import main
from cds_service.clock import utc_now
from cds_service.database import Database, open_database
from cds_service.rollups.days import SiteDays
from cds_service.rollups.rollup import differences, roll_up
from tests.alert_log.test_compact import GOLDEN, KEEP_REASON
from tests.alert_log_samples import a_call, a_card, rows
from tests.bench.server import _with_workers
from tests.faults.test_shipping_service import Load, wait_for_shipping
from tests.log_rows import AT, DAY, fill
from tests.log_tables import postgres_database
from tests.real_server import RealServer
from tests.rollups.compare import stored
from tests.shipped import ask

DAYS = SiteDays("UTC")
RESTORES = int(os.environ.get("CDS_RESTORES", "1"))


@pytest.fixture
def database(socket_enabled: None) -> Iterator[str]:
    with postgres_database() as url:
        yield url


def back_up(path: Path, copy: Path) -> None:
    copy_database(path, copy)


class Command:
    """`cds-service log …` for one log, run here."""

    def __init__(self, path: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        for name, value in (("PATH", str(path)), ("DATABASE_URL", url)):
            monkeypatch.setenv(f"CDS_LOG_{name}", value)
        monkeypatch.setenv("CDS_REVIEW_PATH", str(path.with_name("review.sqlite3")))
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> str:
        """Return what the command printed. Raises AssertionError for a status other than 0."""
        status = main(["log", *map(str, arguments)])
        out, err = self._capsys.readouterr()
        assert status == 0, err
        return out


def instances(path: Path) -> list[bytes]:
    """Return what names each call, in their order."""
    with closing(sqlite3.connect(path)) as connection:
        return [one for (one,) in connection.execute("SELECT instance FROM call ORDER BY seq")]


def put_back(copy: Path, path: Path) -> None:
    restoring.put_back(copy, path, datetime(2026, 3, 1, tzinfo=UTC))


def counted(log: Path, review: Path) -> Database:
    """Open the log with its counts, which are brought up to date."""
    database = open_database(log, review, limit_ms=None, writes_review=True)
    roll_up(database, DAYS, utc_now)
    return database


def wait_for(load: Load, calls: int) -> None:
    until = time.monotonic() + 60
    while len(load.acknowledged) < calls:
        assert time.monotonic() < until, load.answers[-5:]
        time.sleep(0.01)


@pytest.mark.loopback
@pytest.mark.enable_socket
@pytest.mark.parametrize("ships", [False, True] * RESTORES)
def test_a_backup_made_while_serving_is_put_back_after_a_kill(
    tmp_path: Path, database: str, ships: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, copy, review = (tmp_path / f"{name}.sqlite3" for name in ("alerts", "copy", "review"))
    url = database if ships else ""
    command = Command(path, url, monkeypatch, capsys)
    with RealServer(tmp_path, log_database_url=url) as server:
        load = Load(server)
        with load.running():
            wait_for(load, 40)
            before = set(load.acknowledged)
            said = command("backup", copy)
            wait_for(load, len(load.acknowledged) + 40)
            if ships:
                wait_for_shipping(server, state="ok")
            for process in _with_workers(server.process.pid):
                os.kill(process, signal.SIGKILL)
    counted(path, review).close()  # the counts know of calls that will be gone

    assert path.with_name("alerts.sqlite3-wal").stat().st_size, "the kill left no write-ahead log to be wary of"
    lost = instances(path)
    put = command("restore", copy)

    kept = instances(copy)
    assert instances(path) == kept
    assert f"{len(kept):,} calls" in said
    assert f"{len(kept):,} calls" in put
    assert "log: " in command("verify")
    assert verify_log(path).rows == verify_log(copy).rows
    (old,) = tmp_path.glob("alerts.sqlite3.before-restore-*Z")
    assert instances(old) == lost, "what came after the backup is kept"
    assert before <= set(kept) < load.acknowledged | set(kept)
    assert rows(path, "PRAGMA integrity_check") == ["ok"]
    with closing(counted(path, review)) as again, closing(counted(copy, tmp_path / "anew.sqlite3")) as anew:
        assert stored(again) == stored(anew)
        assert list(differences(again, DAYS)) == []
    with RealServer(tmp_path, log_database_url=url) as server:
        load = Load(server)
        with load.running():
            wait_for(load, 5)
        if ships:
            wait_for_shipping(server, state="ok", waiting=0)
    assert instances(path)[: len(kept)] == kept
    assert load.acknowledged <= set(instances(path)[len(kept) :])
    if ships:
        shipped = [bytes(one) for (one,) in ask(database, "SELECT instance FROM log.call")]
        assert len(shipped) == len(set(shipped))
        assert set(instances(path)) <= set(shipped)
        assert ask(database, "SELECT count(*) = count(DISTINCT call_id) FROM log.delivery") == [(True,)]
        assert ask(database, "SELECT count(*) = count(DISTINCT (call_id, position)) FROM log.card") == [(True,)]


def test_counts_follow_a_file_that_was_put_back_and_has_grown_past_what_was_counted(tmp_path: Path) -> None:
    path, copy, review = (tmp_path / f"{name}.sqlite3" for name in ("alerts", "copy", "review"))
    fill(path, 100)
    back_up(path, copy)
    fill(path, 20, begin=AT + DAY, seed=2)
    counted(path, review).close()
    put_back(copy, path)
    fill(path, 60, begin=AT + 3 * DAY, seed=3)  # takes the numbers of those that are gone, and more
    with closing(counted(path, review)) as again, closing(counted(path, tmp_path / "anew.sqlite3")) as anew:
        assert list(differences(again, DAYS)) == []
        assert stored(again) == stored(anew)


@pytest.mark.parametrize("version", [4, 5])
def test_the_version_before_gets_its_file_back_and_an_update_finds_all_that_it_wrote(tmp_path: Path, version: int) -> None:
    """There is no way down but the copy of before; what the newer program wrote since is not in it."""
    path, copy = tmp_path / "alerts.sqlite3", tmp_path / "copy.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript((GOLDEN / f"schema_{version}.sql").read_text(encoding="utf-8"))
    back_up(path, copy)
    with closing(Store(path)) as store:
        store.append([a_call(a_card("newer"))])
    assert rows(path, "PRAGMA user_version") == [SCHEMA_VERSION]

    put_back(copy, path)

    assert rows(path, "PRAGMA user_version") == [version]
    with closing(sqlite3.connect(path)) as old, old:  # what the program of that version does
        kept = [row[1] for row in old.execute("PRAGMA table_info(call)") if row[1] not in ("seq", "id", "hook_instance")]
        columns = ", ".join(kept)
        old.execute(
            f"INSERT INTO call (id, hook_instance, {columns}) SELECT 'feed' || id, ?, {columns} FROM call WHERE seq = 1",  # noqa: S608
            ("00000000-0000-4000-8000-00000000feed",),
        )
    written = rows(path, "SELECT hook_instance FROM call")
    *_, last = compact(path, KEEP_REASON)
    assert (last.done, last.left, last.unreadable) == (len(written), 0, 0)
    assert len(rows(path, "SELECT id FROM call WHERE repeat_of IS NULL")) == len(written)
