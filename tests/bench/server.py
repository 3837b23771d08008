"""A server process under measurement: started, pinned to a core, its CPU time and memory read from /proc."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType

START_LIMIT = 30.0  # seconds


class ServerStartError(RuntimeError):
    """The server ended or did not begin to listen; the text ends with what it printed last."""


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def service_command(port: int, workers: int = 1, python: str = sys.executable) -> list[str]:
    """The real service, as a user starts it, from the environment of `python`."""
    script = str(Path(python).with_name("cds-service"))
    return [script, "serve", "--quiet", "--profile", "dev", "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]


def anchor_command(name: str, port: int, workers: int = 1, python: str = sys.executable) -> list[str]:
    """One of `tests.bench.anchors`."""
    return [python, "-m", "tests.bench.anchors.serve", name, str(port), str(workers)]


class Server:
    """A context manager around one process that listens on `port`. `core` None leaves it where the system puts it."""

    def __init__(self, command: Sequence[str], port: int, folder: Path, core: int | None, environ: Mapping[str, str]) -> None:
        self.port = port
        self._command = command
        self._output = folder / f"server-{port}.txt"
        self._core = core
        self.environ = {**os.environ, **environ}

    def __enter__(self) -> Server:
        with self._output.open("wb") as output:
            self.started = time.perf_counter()
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output, env=self.environ)
        if self._core is not None:
            os.sched_setaffinity(self.pid, {self._core})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait(self) -> None:
        """Return as soon as the port accepts connections. Raises ServerStartError."""
        while True:
            with closing(socket.socket()) as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self._process.poll() is not None or time.perf_counter() - self.started > START_LIMIT:
                printed = self._output.read_text(errors="replace")[-2000:]
                raise ServerStartError(f"{' '.join(self._command)} does not listen\n{printed}")
            time.sleep(0.002)

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_ns(self) -> int:
        """CPU time so far of all threads of the process and of its workers, in nanoseconds.

        From schedstat: utime in stat has only 10 ms ticks.
        """
        return sum(spent for pid in _with_workers(self.pid) for spent in _threads_ns(pid).values())

    def main_thread_ns(self) -> int:
        """CPU time so far of the thread that runs the event loop."""
        return _threads_ns(self.pid)[self.pid]

    def memory_mb(self) -> dict[str, float]:
        """Resident memory now (`VmRSS`) and at its highest (`VmHWM`), in MB of 10^6 bytes."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return {name: int(fields[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM")}


def _threads_ns(pid: int) -> dict[int, int]:
    """CPU time in nanoseconds by thread id."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return {int(thread.name): int((thread / "schedstat").read_text().split()[0]) for thread in threads}


def _with_workers(pid: int) -> list[int]:
    """The process and all that descend from it."""
    children = [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
    return [pid, *(one for child in children for one in _with_workers(child))]
