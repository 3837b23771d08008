"""The queue of backtests: one after another, stopped, failed, and found again after its process died."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cds_service.replay.backtest import Backtest, CandidateChangedError, Selection, backtests_folder, begin_backtest
from cds_service.replay.backtest_queue import MOST_TRIES, BacktestQueue, work
from cds_service.replay.old_backtests import delete_old_backtests
from cds_service.replay.run_backtest import run_backtest
from cds_service.settings import Settings, as_environment, load_settings
from tests.replay.replayed_log import some_records, write_log

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The log of some records."""
    return write_log(tmp_path_factory.mktemp("log"), some_records(60))


@pytest.fixture
def queue(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> BacktestQueue:
    """An empty queue, whose workers are those that the test runs."""
    monkeypatch.setattr("cds_service.replay.backtest.RECORDS_OF_A_PART", 10)
    monkeypatch.setattr(BacktestQueue, "keep_working", lambda _: None)
    shutil.rmtree(backtests_folder(settings), ignore_errors=True)
    return BacktestQueue(settings)


def begun(settings: Settings, seed: int = 1) -> Backtest:
    return begin_backtest(settings, None, None, Selection(0, 0, seed=seed))


def do(settings: Settings) -> Callable[[Backtest, Callable[[int, int], None]], object]:
    return lambda backtest, progress: run_backtest(settings, backtest, 1, progress)


def test_they_are_done_in_the_order_in_which_they_were_asked_for(settings: Settings, queue: BacktestQueue) -> None:
    first, second = begun(settings, 1), begun(settings, 2)
    queue.ask(second, 20)
    queue.ask(first, 10)
    assert [one.spec.id for one in queue.waiting()] == [first.spec.id, second.spec.id]
    assert (queue.standing(first).before, queue.standing(second).before) == (0, 1)
    assert {queue.standing(one).progress for one in (first, second)} == {"waiting"}
    assert work(queue, do(settings), ()) == 2
    assert {queue.standing(one).progress for one in (first, second)} == {"finished"}
    assert queue.waiting() == []


def test_a_stopped_one_ends_between_two_parts_and_goes_on_from_there(settings: Settings, queue: BacktestQueue) -> None:
    backtest = begun(settings)
    queue.ask(backtest, 1)

    def stop_soon(one: Backtest, progress: Callable[[int, int], None]) -> object:
        def watched(done: int, of: int) -> None:
            if done == 2:
                queue.stop(one)
            progress(done, of)

        return run_backtest(settings, one, 1, watched)

    assert work(queue, stop_soon, ()) == 0
    standing = queue.standing(backtest)
    assert (standing.progress, standing.done) == ("stopped", 2)
    assert standing.parts > 2
    kept = backtest.part(0).stat().st_mtime_ns
    queue.ask(backtest, 2)
    assert work(queue, do(settings), ()) == 1
    assert queue.standing(backtest).progress == "finished"
    assert backtest.part(0).stat().st_mtime_ns == kept


def test_one_that_cannot_be_done_says_why_and_holds_up_no_other(settings: Settings, queue: BacktestQueue) -> None:
    bad, good = begun(settings, 1), begun(settings, 2)
    queue.ask(bad, 1)
    queue.ask(good, 2)

    def fail_first(one: Backtest, progress: Callable[[int, int], None]) -> object:
        if one.spec.id == bad.spec.id:
            raise CandidateChangedError("read differently now")
        return run_backtest(settings, one, 1, progress)

    assert work(queue, fail_first, (CandidateChangedError,)) == 1
    assert queue.standing(bad).progress == "failed"
    assert queue.standing(bad).error == "read differently now"
    assert queue.standing(good).progress == "finished"


def test_one_whose_process_dies_is_begun_again_but_not_for_ever(settings: Settings, queue: BacktestQueue) -> None:
    backtest = begun(settings)
    queue.ask(backtest, 1)

    def die(_: Backtest, __: Callable[[int, int], None]) -> object:
        raise SystemExit(9)

    for _ in range(MOST_TRIES):
        assert queue.standing(backtest).progress == "waiting"
        with pytest.raises(SystemExit):
            work(queue, die, ())
    assert queue.standing(backtest).progress == "failed"
    assert "ended 3 times" in queue.standing(backtest).error
    queue.ask(backtest, 2)  # a person says so
    assert work(queue, do(settings), ()) == 1


def test_old_ones_are_deleted_with_the_records_that_they_show(settings: Settings, queue: BacktestQueue) -> None:
    finished, begun_only = begun(settings, 1), begun(settings, 2)
    queue.ask(finished, 1)
    assert work(queue, do(settings), ()) == 1
    end = finished.spec.selection.until  # nothing comes out differently, so only the end of what it covers counts
    assert delete_old_backtests(settings, 1, dry_run=True) == 1  # since 0: it may hold anything
    assert len(queue.backtests()) == 2
    assert delete_old_backtests(settings, end) == 1
    assert [one.spec.id for one in queue.backtests()] == [finished.spec.id]
    assert not begun_only.folder.exists()
    assert delete_old_backtests(settings, end + 1) == 1
    assert queue.backtests() == []


def test_only_one_worker_works(settings: Settings, queue: BacktestQueue) -> None:
    backtest = begun(settings)
    queue.ask(backtest, 1)
    with queue.alone() as first:
        assert first
        assert queue.working
        assert queue.standing(backtest).progress == "running"
        assert work(queue, do(settings), ()) == 0
    assert not queue.working


def test_a_worker_is_started_where_something_waits_and_none_lives(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(backtests_folder(settings), ignore_errors=True)
    started: list[dict[str, str]] = []

    class Started:
        def __init__(self, command: tuple[str, ...], *, env: dict[str, str], **_: object) -> None:
            started.append(env)

        def wait(self) -> int:
            return 0

    monkeypatch.setattr("cds_service.replay.backtest_queue.subprocess.Popen", Started)
    queue = BacktestQueue(settings)
    queue.keep_working()
    assert started == []
    queue.ask(begun(settings), 1)
    assert [one["CDS_LOG_PATH"] for one in started] == [str(settings.log_path)]
    with queue.alone():
        queue.keep_working()
    assert len(started) == 1


def test_a_process_that_is_started_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = Settings(
        log_path=tmp_path / "a.sqlite3",
        cards_dir=tmp_path,
        log_required=True,
        time_zone="Europe/London",
        keep_days=99,
        drain_ms=5,
    )
    for name, value in as_environment(given).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == given
    assert "CDS_HASH_SECRET" not in as_environment(given)  # a secret, perhaps from a file, which the process reads itself
