"""Queue the backtests that pages ask for. One worker at a time does them, in a process of its own with low priority.

The queue is in the folders of the backtests: `wanted.json` says that one is to be done, so that it survives a restart, and a
backtest whose worker died is found again and goes on. The worker holds a lock for as long as it lives.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import msgspec

from cds_service.replay.backtest import Backtest, backtests_folder, write_whole
from cds_service.settings import Settings, as_environment

MOST_TRIES = 3  # of a backtest that ends with its process, before a person is asked
_COMMAND = (sys.executable, "-m", "cds_service.cli.main", "backtest", "--queued")

_WANTED, _ATTEMPT = "wanted.json", "attempt.json"
T = TypeVar("T")

Progress: TypeAlias = Literal["finished", "running", "waiting", "stopped", "failed"]


class Wanted(msgspec.Struct, frozen=True):
    """That a backtest is to be done; written where it is asked for, removed where it is stopped. `asked_at`: µs since 1970."""

    asked_at: int


class Attempt(msgspec.Struct, frozen=True):
    """What the worker left: how often it began without getting on, and why the backtest can't be done."""

    tries: int = 0
    error: str = ""

    @property
    def over(self) -> str:
        """Return why it is not tried again; "" where it is."""
        return self.error or (f"its process ended {self.tries} times before it got on" if self.tries >= MOST_TRIES else "")


class Standing(msgspec.Struct, frozen=True):
    """How far one is. `before`: how many are done before it while it waits."""

    progress: Progress
    done: int  # parts
    parts: int
    before: int = 0
    error: str = ""


class BacktestQueue:
    """The queue of one site."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.folder = backtests_folder(settings)

    def ask(self, backtest: Backtest, asked_at: int) -> None:
        """Put a backtest at the end of the queue, and see that a worker is there. `asked_at`: µs since 1970. Raises OSError."""
        if backtest.result is None:
            (backtest.folder / _ATTEMPT).unlink(missing_ok=True)
            write_whole(backtest.folder / _WANTED, msgspec.json.encode(Wanted(asked_at)))
            self.keep_working()

    def stop(self, backtest: Backtest) -> None:
        """Take a backtest out of the queue. What is done of it stays, and it can be asked for again."""
        (backtest.folder / _WANTED).unlink(missing_ok=True)

    def backtests(self) -> list[Backtest]:
        """Return all backtests of the site, in no order."""
        return [Backtest(path.parent) for path in sorted(self.folder.glob("*/spec.json"))]

    def waiting(self) -> list[Backtest]:
        """Return those to be done, the first to be asked for first."""
        found = [(wanted.asked_at, one.spec.id, one) for one in self.backtests() if (wanted := self._open(one)) is not None]
        return [one for _, _, one in sorted(found, key=lambda each: each[:2])]

    def standing(self, backtest: Backtest) -> Standing:
        """Return how far a backtest is."""
        state, wanted = backtest.state, wanted_of(backtest)
        if state.finished:
            return Standing("finished", state.done, state.parts)
        if wanted is None:
            return Standing("stopped", state.done, state.parts)
        if over := _attempt(backtest).over:
            return Standing("failed", state.done, state.parts, error=over)
        before = sum(one.spec.id != backtest.spec.id and _asked(one) <= wanted.asked_at for one in self.waiting())
        return Standing("waiting" if before or not self.working else "running", state.done, state.parts, before)

    def _open(self, backtest: Backtest) -> Wanted | None:
        """Return that it is to be done; None for one that is done, stopped or failed."""
        wanted = wanted_of(backtest)
        return None if wanted is None or _attempt(backtest).over or backtest.state.finished else wanted

    @property
    def working(self) -> bool:
        """Whether a worker lives."""
        with self.alone() as first:
            return not first

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Hold the worker's lock inside; False where another process has it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.folder / "worker.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(lock)

    def keep_working(self) -> None:
        """Start a worker where something waits and none lives, as after a crash. Raises OSError."""
        if not self.folder.exists() or not self.waiting() or self.working:
            return
        errors = os.open(self.folder / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            worker = subprocess.Popen(  # noqa: S603 - our own program
                _COMMAND,
                env=os.environ | as_environment(self._settings),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        finally:
            os.close(errors)
        threading.Thread(target=worker.wait, daemon=True).start()  # so that its end is taken note of


def wanted_of(backtest: Backtest) -> Wanted | None:
    """Return that a backtest was asked for; None for one that nobody waits for."""
    return _read(backtest.folder / _WANTED, Wanted)


def _attempt(backtest: Backtest) -> Attempt:
    return _read(backtest.folder / _ATTEMPT, Attempt) or Attempt()


def _asked(backtest: Backtest) -> int:
    wanted = wanted_of(backtest)
    return wanted.asked_at if wanted is not None else 0


def _read(path: Path, kind: type[T]) -> T | None:
    with suppress(FileNotFoundError):
        return msgspec.json.decode(path.read_bytes(), type=kind)
    return None


def _keep(backtest: Backtest, attempt: Attempt) -> None:
    write_whole(backtest.folder / _ATTEMPT, msgspec.json.encode(attempt))


class StoppedError(Exception):
    """Raised between two parts of a backtest that was taken out of the queue."""


def work(
    queue: BacktestQueue, do: Callable[[Backtest, Callable[[int, int], None]], object], refused: tuple[type[Exception], ...]
) -> int:
    """Do what waits, one after another, until nothing does; return how many came to an end.

    `do(backtest, progress)` does one. Errors of the kinds `refused` are kept with the backtest, for its page.
    """
    ended = 0
    with queue.alone() as first:
        while first and (waiting := queue.waiting()):
            backtest, tries = waiting[0], _attempt(waiting[0]).tries
            _keep(backtest, Attempt(tries + 1))
            try:
                do(backtest, _watch(backtest))
            except StoppedError:
                _keep(backtest, Attempt())
            except refused as error:
                _keep(backtest, Attempt(error=str(error)))
            else:
                queue.stop(backtest)
                ended += 1
    return ended


def _watch(backtest: Backtest) -> Callable[[int, int], None]:
    """Return a progress that raises StoppedError once the backtest is not wanted any more."""
    began = backtest.state.done

    def progress(done: int, of: int) -> None:
        if wanted_of(backtest) is None and done < of:
            raise StoppedError
        if done == began + 1:  # it gets on, so an end of the process from now on counts anew
            _keep(backtest, Attempt())

    return progress
