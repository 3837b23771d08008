"""The thread that keeps the counts up to date."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cds_service.database import Database, DatabaseUnavailableError, open_database
from cds_service.rollups.days import SiteDays
from cds_service.rollups.keeper import RollupKeeper
from cds_service.rollups.rollup import rollup_state
from tests.log_tables import make_sqlite_log
from tests.rollups.compare import merged
from tests.rollups.fill import SqliteFiller
from tests.rollups.synthetic import Shape, SyntheticLog

SHAPE = Shape(calls=60, days=3, cards=2, clients=1, users=3, patients=5)


def now() -> datetime:
    return datetime(2026, 11, 27, 15, 0, tzinfo=UTC)


def opened(folder: Path) -> Database:
    return open_database(folder / "alerts.sqlite3", folder / "review.sqlite3", limit_ms=None, writes_review=True)


def filled(folder: Path) -> None:
    make_sqlite_log(folder / "alerts.sqlite3")
    with closing(SqliteFiller(folder / "alerts.sqlite3")) as filler:
        log = SyntheticLog(SHAPE)
        filler.start(log)
        filler.fill(log, merged(log.days()))


def test_the_thread_counts_and_ends(tmp_path: Path) -> None:
    filled(tmp_path)
    keeper = RollupKeeper(lambda: opened(tmp_path), SiteDays("UTC"), now, every=0.001)
    keeper.start()
    with closing(opened(tmp_path)) as database:
        while rollup_state(database).looked_at == 0:
            time.sleep(0.01)
        assert rollup_state(database)[2:] == (0, 20251128, 20251130)
    keeper.stop()
    keeper.stop()


def test_a_database_that_is_away_is_told_once_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keeper = RollupKeeper(lambda: opened(tmp_path), SiteDays("UTC"), now)
    with caplog.at_level("INFO"):
        keeper.step()
        keeper.step()
        assert keeper.failing
        filled(tmp_path)
        keeper.step()
        assert not keeper.failing
    assert [record.getMessage() for record in caplog.records] == [
        f"log_not_counted error={DatabaseUnavailableError.__name__}",
        "log_counted",
    ]
    keeper.stop()
    keeper._close()


def test_a_fault_of_ours_is_told_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    filled(tmp_path)
    keeper = RollupKeeper(lambda: opened(tmp_path), SiteDays("UTC"), now)
    with caplog.at_level("INFO"):
        with monkeypatch.context() as patched:
            patched.setattr("cds_service.rollups.keeper.roll_up", broken)
            keeper.step()
        assert keeper.failing
        keeper.step()
    assert not keeper.failing
    assert [record.getMessage() for record in caplog.records] == ["log_not_counted error=ZeroDivisionError", "log_counted"]
    keeper._close()


def test_stopping_ends_the_work_between_two_days(tmp_path: Path) -> None:
    filled(tmp_path)
    keeper = RollupKeeper(lambda: opened(tmp_path), SiteDays("UTC"), now)
    keeper._stopped.set()
    keeper.step()
    with closing(opened(tmp_path)) as database:
        assert rollup_state(database).days_waiting == 3
