"""A backup takes the place of what is there, never beside a process that has it, and what was there stays."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cds_service.alert_log import AlertLog
from cds_service.alert_log.store import Store
from cds_service.backup.backing_up import BackupError, back_up
from cds_service.backup.restoring import put_back
from cds_service.backup.verification import verify_log
from cds_service.files.in_use import FileInUseError
from tests.alert_log.bad_files import garbage, overwritten
from tests.alert_log_samples import a_call, a_card, rows
from tests.unwritable_log import make_unwritable

AT = datetime(2026, 3, 1, 10, 5, 31, tzinfo=UTC)
KEPT = "alerts.sqlite3.before-restore-20260301T100531Z"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "alerts.sqlite3"
    store(path, 20)
    return path


@pytest.fixture
def copy(path: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "backup.sqlite3"
    back_up(path, copy, verify_log)
    return copy


def store(path: Path, count: int) -> None:
    with closing(Store(path)) as opened:
        for _ in range(count):
            opened.append([a_call(a_card())])


def calls(path: Path) -> int:
    count: int = rows(path, "SELECT count(*) FROM call")[0]
    return count


def test_a_stale_write_ahead_log_is_not_written_over_it(path: Path, copy: Path) -> None:
    """What a killed service leaves: replayed over a restored file, it makes a mixture of both."""
    with closing(sqlite3.connect(path)) as open_at_the_kill:
        open_at_the_kill.execute("SELECT count(*) FROM call").fetchone()
        store(path, 30)
        left = path.with_name("alerts.sqlite3-wal").read_bytes()
    path.with_name("alerts.sqlite3-wal").write_bytes(left)
    kept = put_back(copy, path, AT)
    assert kept == path.with_name(KEPT)
    assert path.with_name(f"{KEPT}-wal").read_bytes() == left
    assert calls(path) == 20
    assert verify_log(path).problems == []
    assert calls(kept) == 50
    assert copy.exists()
    assert path.stat().st_mode & 0o777 == 0o600


def test_whatever_is_there_it_works(path: Path, copy: Path) -> None:
    garbage(path)
    put_back(copy, path, AT)
    assert calls(path) == 20
    path.unlink()
    path.mkdir()
    put_back(copy, path, AT)
    assert calls(path) == 20
    path.unlink()
    path.with_name("alerts.sqlite3-wal").write_bytes(b"of a file that is gone")
    assert put_back(copy, path, AT) is None
    assert calls(path) == 20
    assert not path.with_name("alerts.sqlite3-wal").exists()


async def test_not_while_a_service_has_the_log(path: Path, copy: Path) -> None:
    store(path, 1)
    log = AlertLog(path)
    log.start()
    with pytest.raises(FileInUseError, match="stop it first"):
        put_back(copy, path, AT)
    await log.close()
    put_back(copy, path, AT)
    assert calls(path) == 20


async def test_not_while_a_service_waits_for_a_log_that_it_can_not_open(path: Path, copy: Path) -> None:
    path.with_name("alerts.sqlite3-wal").unlink(missing_ok=True)
    make_unwritable(path)
    log = AlertLog(path)
    log.start()
    assert log.state == "degraded"
    with pytest.raises(FileInUseError):
        put_back(copy, path, AT)
    await log.close()


def test_a_copy_that_does_not_pass_is_no_backup(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    overwritten(path)
    target = tmp_path / "backup.sqlite3"
    target.write_text("the one of yesterday")
    with pytest.raises((BackupError, sqlite3.DatabaseError)):
        back_up(path, target, verify_log)
    assert target.read_text() == "the one of yesterday"
    assert not target.with_name("backup.sqlite3.part").exists()
