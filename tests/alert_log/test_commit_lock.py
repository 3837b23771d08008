"""Processes that write one log commit one after another, and go on where that can't be arranged."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import closing
from pathlib import Path

import pytest

from cds_service.alert_log import commit_lock
from cds_service.alert_log.commit_lock import CommitLock
from cds_service.alert_log.store import Store
from cds_service.telemetry.metrics import LOG_WITHOUT_LOCK, count
from tests.alert_log_samples import a_call, a_feedback, rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts.sqlite3"


def test_a_commit_waits_for_the_one_before_it(path: Path) -> None:
    first = CommitLock(path)
    with closing(Store(path)) as store, closing(first):
        other = threading.Thread(target=store.append, args=([a_call()],))
        with first:
            other.start()
            other.join(0.1)
            assert other.is_alive()
            assert rows(path, "SELECT count(*) FROM call") == [0]
        other.join(10)
        assert rows(path, "SELECT count(*) FROM call") == [1]


def test_a_closed_log_leaves_the_turn_to_others(path: Path) -> None:
    lock = CommitLock(path)
    lock.__enter__()
    lock.close()
    with closing(Store(path)) as store:
        store.append([a_call()])


def test_a_batch_that_fails_leaves_the_turn_to_others(path: Path) -> None:
    with closing(Store(path)) as one, closing(Store(path)) as other:
        with pytest.raises(UnicodeEncodeError):
            one.append([a_call(hook_instance="\ud800")])
        other.append([a_call()])


def test_without_its_file_commits_go_on_and_it_is_counted(path: Path) -> None:
    path.with_name("alerts.sqlite3-lock").mkdir()
    before = count(LOG_WITHOUT_LOCK)
    with closing(Store(path)) as store:
        store.append([a_call()])
        store.append([a_call()])

    assert rows(path, "SELECT count(*) FROM call") == [2]
    assert count(LOG_WITHOUT_LOCK) - before == 1


def test_on_a_file_system_without_locks_commits_go_on_and_it_is_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    before = count(LOG_WITHOUT_LOCK)
    with closing(Store(path)) as store:
        store.append([a_call()])
        store.append([a_call()])

    assert rows(path, "SELECT count(*) FROM call") == [2]
    assert count(LOG_WITHOUT_LOCK) - before == 1


def test_a_stopped_process_that_holds_the_lock_does_not_stop_the_others(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_lock, "_WAIT", 0.05)
    before = count(LOG_WITHOUT_LOCK)
    stopped = CommitLock(path)
    with closing(Store(path)) as store, closing(stopped), stopped:
        first, second = (threading.Thread(target=store.append, args=([a_call()],), daemon=True) for _ in range(2))
        for other in (first, second):
            other.start()
            other.join(10)
            assert not other.is_alive()

    assert rows(path, "SELECT count(*) FROM call") == [2]
    assert count(LOG_WITHOUT_LOCK) - before == 1


def test_a_lock_that_cannot_be_freed_does_not_make_a_batch_fail_that_is_stored(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def no_unlocking(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_UN:
            raise OSError(5, "Input/output error")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", no_unlocking)
    before = count(LOG_WITHOUT_LOCK)
    with closing(Store(path)) as one, closing(Store(path)) as other:
        one.append([a_feedback("u1")])
        other.append([a_call()])
        one.append([a_call()])

    assert rows(path, "SELECT count(*) FROM feedback") == [1]
    assert count(LOG_WITHOUT_LOCK) - before == 2


def test_a_lock_that_cannot_be_closed_is_let_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close = os.close

    def closes_and_fails(descriptor: int) -> None:
        close(descriptor)
        raise OSError(5, "Input/output error")

    lock = CommitLock(path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "close", closes_and_fails)
        lock.close()
    with lock:
        pass
