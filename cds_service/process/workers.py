"""Fork worker processes from one that has loaded everything, and replace those that end.

The workers share what the parent has loaded: its memory, and one reading of the settings, the cards and the registry of clients.
The parent has no threads and opens no file of the service. It waits for signals and does nothing else.

SIGTERM and SIGINT end all workers, SIGHUP loads anew and replaces them one after another, SIGTTIN and SIGTTOU make them one more
and one fewer.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from uvicorn.config import STARTUP_FAILURE

from cds_service.telemetry.events import Event, tell

TICK = 0.5  # seconds between two looks at the workers, and between two signs of life of one
_SILENCE = 10  # ticks without a sign of life after which a worker is killed
_MINUTE = 120  # ticks
_MANY = 3  # deaths within a minute

_ENDING = (signal.SIGTERM, signal.SIGINT)
_SIGNALS = (*_ENDING, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD)

# Serves until SIGTERM. It is given a function, and passes it another one that says whether calls are answered by now.
Serve = Callable[[Callable[[Callable[[], bool]], None]], None]


class Worker:
    """One forked process, as its parent sees it."""

    def __init__(self, serve: Serve) -> None:
        """Fork. For a process without threads, with `_SIGNALS` blocked."""
        self.serve = serve
        self.ending = False  # it was told to end
        self.silent = 0  # ticks since its last sign of life
        self._seen = 0
        self._board = mmap.mmap(-1, 2)  # shared: a count that changes while the process lives; whether it answers calls
        self.pid = os.fork()
        if self.pid == 0:
            _work(serve, self._board)

    @property
    def ready(self) -> bool:
        return bool(self._board[1])

    def listen(self) -> None:
        """Look for a sign of life. To be called once in a tick."""
        self.silent = self.silent + 1 if self._board[0] == self._seen else 0
        self._seen = self._board[0]

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)  # its number is its own until `ended` has returned the status

    def ended(self) -> int | None:
        """Return the exit status once the process has ended, the negative number of the signal where one ended it."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None


def _work(serve: Serve, board: mmap.mmap) -> NoReturn:
    """Serve in a process that was just forked, and end it. Nothing returns from here into the parent's code."""
    parent = os.getppid()
    status = STARTUP_FAILURE
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        serve(lambda ready: threading.Thread(target=_show_life, args=(board, parent, ready), daemon=True).start())
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        status = 0
    except BaseException:  # noqa: BLE001 - logged as every exception that nothing caught; the parent sees the status
        sys.excepthook(*sys.exc_info())
        status = 1 if board[1] else STARTUP_FAILURE
    finally:
        os._exit(status)


def _show_life(board: mmap.mmap, parent: int, ready: Callable[[], bool]) -> None:
    """Give signs of life until the parent has ended. Then end too: without it, none would take the worker's place."""
    while os.getppid() == parent:
        board[0] = (board[0] + 1) % 256
        board[1] = ready()
        time.sleep(TICK)
    os.kill(os.getpid(), signal.SIGTERM)


class Workers:
    """Keep `count` workers running, each from a fork of this process."""

    def __init__(
        self, serve: Serve, count: int, load: Callable[[], Serve | None], changed: Callable[[], bool] = lambda: False
    ) -> None:
        """`load`: loads everything anew for SIGHUP; None where that failed, which it has logged.

        `changed`: asked in every tick; True means the same as SIGHUP.
        """
        self._serve = serve
        self._count = count
        self._load = load
        self._changed = changed
        self._workers: list[Worker] = []  # the oldest first
        self._deaths: deque[int] = deque(maxlen=_MANY)  # when the last ones were, in ticks
        self._ticks = 0
        self._ending = False
        self._status = 0

    def run(self) -> int:
        """Return once all workers have ended: 0 after SIGTERM or SIGINT, STARTUP_FAILURE where a worker could not start."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._fill()
        while self._workers:
            received = signal.sigtimedwait(_SIGNALS, TICK)
            self._remove_ended()
            if received is None:
                self._tick()
            elif received.si_signo in _ENDING:
                self._end()
            elif received.si_signo == signal.SIGHUP:
                self._serve = self._load() or self._serve
            elif received.si_signo == signal.SIGTTIN:
                self._count += 1
            elif received.si_signo == signal.SIGTTOU:
                self._count = max(1, self._count - 1)
        return self._status

    def _tick(self) -> None:
        self._ticks += 1
        for worker in self._workers:
            worker.listen()
            if worker.silent == _SILENCE:
                worker.send(signal.SIGKILL)
        if not self._ending:
            if self._changed():
                self._serve = self._load() or self._serve
            self._fill()
            self._retire()

    def _fill(self) -> None:
        """Fork what is missing, and one more where a worker is to be replaced."""
        staying = [worker for worker in self._workers if not worker.ending]
        wanted = self._count + any(worker.serve is not self._serve for worker in staying)
        self._workers += [Worker(self._serve) for _ in range(wanted - len(staying))]

    def _retire(self) -> None:
        """Tell the oldest worker to end where there are too many, as soon as all answer calls."""
        staying = [worker for worker in self._workers if not worker.ending]
        if len(staying) > self._count and all(worker.ready for worker in staying):
            self._stop(staying[0])

    def _stop(self, worker: Worker) -> None:
        worker.ending = True
        worker.send(signal.SIGTERM)

    def _end(self) -> None:
        self._ending = True
        for worker in self._workers:
            self._stop(worker)

    def _remove_ended(self) -> None:
        for worker in list(self._workers):
            status = worker.ended()
            if status is None:
                continue
            self._workers.remove(worker)
            if worker.ending:
                continue
            if status == STARTUP_FAILURE and not worker.ready:
                self._note_failed_start(worker)
            else:
                self._note_death(worker, status)

    def _note_failed_start(self, worker: Worker) -> None:
        """End the service, which the next worker could not start either; not where older workers go on."""
        older = [one.serve for one in self._workers if one.serve is not worker.serve]
        if older:
            self._serve = older[0]
            tell(Event.RELOAD_FAILED, code=f"exit {STARTUP_FAILURE}")
        else:
            tell(Event.START_FAILED, code=f"exit {STARTUP_FAILURE}")
            self._status = STARTUP_FAILURE
            self._end()

    def _note_death(self, worker: Worker, status: int) -> None:
        code = f"signal {-status}" if status < 0 else f"exit {status}"
        state = "silent" if worker.silent >= _SILENCE else "ended"
        self._deaths.append(self._ticks)
        if len(self._deaths) == _MANY and self._ticks - self._deaths[0] <= _MINUTE:
            tell(Event.WORKERS_DIE, code=code, state=state)
        else:
            tell(Event.WORKER_DIED, code=code, state=state)
