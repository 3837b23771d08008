"""The parent of several workers: what it does when they end, can't start, hang, and when it is told something."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.process import worker_program

LIMIT = 20.0  # seconds that a busy machine may take


class Parent:
    """The program under test, and what it has written."""

    def __init__(self, folder: Path, first: str, then: str) -> None:
        self._out, self._err = folder / "out", folder / "err"
        command = [sys.executable, "-m", worker_program.__name__, first, then]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err)

    def started(self, kind: str = "good") -> list[int]:
        """The numbers of the workers that have begun to serve, the oldest first."""
        return [int(line.split()[1]) for line in self._out.read_text().splitlines() if line.split()[0] == kind]

    def alive(self, kind: str = "good") -> list[int]:
        return [pid for pid in self.started(kind) if is_alive(pid)]

    def events(self) -> list[tuple[Any, ...]]:
        """(event, severity, code, state) of each log line."""
        lines = [msgspec.json.decode(line, type=dict[str, Any]) for line in self._err.read_text().splitlines()]
        return [(one["event"], one["level"], one.get("code"), one.get("state")) for one in lines]

    def text(self) -> str:
        return self._err.read_text()

    def told(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def status(self) -> int:
        return self.process.wait(LIMIT)


@contextmanager
def running(folder: Path, first: str = "good", then: str = "good", workers: int = 2) -> Iterator[Parent]:
    parent = Parent(folder, first, then)
    try:
        within(lambda: len(parent.started()) == workers)
        yield parent
    finally:
        parent.process.kill()
        parent.process.wait()
        for pid in parent.alive():  # they end by themselves too, a little later
            os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def within(what: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT
    while not what():
        assert time.monotonic() < until, "takes too long"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_its_workers_and_then_itself(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path) as parent:
        parent.told(number)
        assert parent.status() == 0
        assert (parent.alive(), parent.events()) == ([], [])


def test_a_worker_that_dies_is_replaced_and_the_third_within_a_minute_is_an_alarm(tmp_path: Path) -> None:
    with running(tmp_path) as parent:
        for number, deaths in ((signal.SIGKILL, 1), (signal.SIGSEGV, 2), (signal.SIGKILL, 3)):
            os.kill(parent.alive()[0], number)
            within(lambda deaths=deaths: len(parent.started()) == 2 + deaths)  # type: ignore[misc]
        assert len(parent.alive()) == 2
        assert parent.events() == [
            ("worker_died", "WARNING", "signal 9", "ended"),
            ("worker_died", "WARNING", "signal 11", "ended"),
            ("workers_die", "CRITICAL", "signal 9", "ended"),
        ]


def test_a_worker_without_a_sign_of_life_is_killed_and_replaced(tmp_path: Path) -> None:
    with running(tmp_path) as parent:
        stopped = parent.started()[0]
        os.kill(stopped, signal.SIGSTOP)
        within(lambda: len(parent.started()) == 3)
        assert stopped not in parent.alive()
        assert parent.events() == [("worker_died", "WARNING", "signal 9", "silent")]


@pytest.mark.parametrize("kind", ["broken", "refused"])
def test_workers_that_cannot_start_end_it_with_a_status(tmp_path: Path, kind: str) -> None:
    with running(tmp_path, kind, workers=0) as parent:
        assert parent.status() == 3
        assert ("start_failed", "CRITICAL", "exit 3", None) in parent.events()
        assert "PATIENT" not in parent.text()


def test_a_signal_replaces_them_one_after_another_by_what_it_loads(tmp_path: Path) -> None:
    with running(tmp_path) as parent:
        before = parent.started()
        parent.told(signal.SIGHUP)
        fewest = 2

        def replaced() -> bool:
            nonlocal fewest
            fewest = min(fewest, len(parent.alive()))
            return len(parent.alive()) == 2 and not set(before) & set(parent.alive())

        within(replaced)
        assert fewest == 2
        assert parent.events() == []


@pytest.mark.parametrize(("then", "told"), [("unusable", 0), ("broken", 1), ("refused", 1)])
def test_what_a_signal_loads_and_can_not_start_leaves_the_workers_as_they_are(tmp_path: Path, then: str, told: int) -> None:
    with running(tmp_path, then=then) as parent:
        before = parent.started()
        parent.told(signal.SIGHUP)
        within(lambda: [one[0] for one in parent.events()].count("reload_failed") == told)
        os.kill(before[1], signal.SIGKILL)  # and what worked is what the next one gets
        within(lambda: len(parent.started()) == 3)
        assert before[0] in parent.alive()


def test_old_workers_stay_until_a_new_one_is_ready(tmp_path: Path) -> None:
    with running(tmp_path, then="late") as parent:
        parent.told(signal.SIGHUP)
        within(lambda: len(parent.started("late")) == 1)
        time.sleep(0.3)  # some ticks
        assert (len(parent.alive()), len(parent.alive("late"))) == (2, 1)
        parent.told(signal.SIGTERM)
        assert parent.status() == 0


def test_signals_make_them_more_and_fewer_but_never_none(tmp_path: Path) -> None:
    with running(tmp_path) as parent:
        parent.told(signal.SIGTTIN)
        within(lambda: len(parent.alive()) == 3)
        for left in (2, 1):
            parent.told(signal.SIGTTOU)
            within(lambda left=left: len(parent.alive()) == left)  # type: ignore[misc]
        parent.told(signal.SIGTTOU)
        time.sleep(0.3)
        assert len(parent.alive()) == 1


def test_workers_end_when_their_parent_was_killed(tmp_path: Path) -> None:
    with running(tmp_path) as parent:
        parent.told(signal.SIGKILL)
        within(lambda: parent.alive() == [])
