"""Measure what hook calls lose while the log is read, purged and rewritten.

    python -m tests.bench.no_harm [--calls 60000] [--old-mb 300] [--rounds 4] [--seconds 15] [--rate 20] [--think 0]
        [--beside compact]

One `serve` on an SQLite log of a year (rows of `tests.rollups.synthetic`, and those of version 0.1.0 of `tests.bench.old_file`)
answers calls at a steady rate. In each round they are timed alone, and then beside each of:

- `readers`: five readers on the heaviest pages of a `review` process of its own, --think seconds between answer and next page;
- `purge`: `cds-service log purge`, in each round of another part of the year;
- `compact`: `cds-service log compact`; it is stopped at the end of its turn, and goes on in the next round.

A turn ends after --seconds, or with its work. Ratios are to the calls alone of the same round, their median counts; a p99 of one
turn is of a few hundred calls, so `p99 of all` is that of all rounds, beside the one of all calls alone.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2

from cds_service.clock import utc_now
from tests.bench.client import Connection
from tests.bench.generate import SIZES, request
from tests.bench.old_file import make_old_file
from tests.bench.rounds import SERVICE, WrongAnswerError
from tests.bench.server import Server, free_port
from tests.log_tables import make_sqlite_log
from tests.rollups.fill import SqliteFiller
from tests.rollups.synthetic import Shape, SyntheticLog

DAYS = 365
READERS = 5
SLOW = 503  # of a page with a statement that reached its limit of 2 s
PAGES = (
    *("?days=365", "/cards?days=365", "/cards/card-3?days=365", "/reasons?days=365", "/data?days=365", "/clients?days=365"),
    *("/log?days=365", "/log?days=365&card=card-3&state=withdrawn&response=accepted"),
)
CASES = (("M", "silent"), ("S", "silent"), ("M", "repeatable"), ("S", "firing"))  # half of the calls show a card
_CLI = (sys.executable, "-m", "cds_service.cli.main")
_BESIDE = ("readers", "purge", "compact")
_CONNECTIONS = 8  # more calls than these at once wait, and their wait counts

Running = Callable[[], bool]  # says whether the work still runs


def make_log(path: Path, calls: int, old_mb: float) -> None:
    """Write a log of so many calls up to today, and the rows of a file of version 0.1.0."""
    make_old_file(path, old_mb)
    make_sqlite_log(path)
    log = SyntheticLog(Shape(calls=calls, days=DAYS, first=utc_now() - timedelta(days=DAYS)))
    with closing(SqliteFiller(path)) as filler:
        filler.start(log)
        for rows in log.days():
            filler.fill(log, rows)


async def steady(port: int, rate: float, seconds: float, running: Running) -> list[float]:
    """Call at so many a second until the time is over or the work done; return the ms from when each call was due to its answer.

    Raises WrongAnswerError for a status other than 200.
    """
    now, took = utc_now(), []
    bodies = [request(SIZES[size], "order-sign", now, case) for size, case in CASES]
    free: asyncio.Queue[Connection] = asyncio.Queue()

    async def call(due: float) -> None:
        connection = await free.get()
        answer = await connection.ask()
        took.append((time.perf_counter() - due) * 1_000)
        free.put_nowait(connection)
        if answer.status != 200:
            raise WrongAnswerError(f"status {answer.status}")

    async with AsyncExitStack() as stack:
        for n in range(_CONNECTIONS):
            connection = Connection(port, SERVICE, bodies[n % len(bodies)], calls_per_patient=2)
            free.put_nowait(await stack.enter_async_context(connection))
        async with asyncio.TaskGroup() as calls:
            began = time.perf_counter()
            for number in range(int(rate * seconds)):
                due = began + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                if not running():
                    break
                calls.create_task(call(due))
    return took


def read(port: int, number: int, think: float, answered: multiprocessing.Queue[int]) -> None:
    """One reader, in a process of its own until it is ended: the pages in turn, from another one than the other readers."""
    pages = deque(PAGES)
    pages.rotate(-number)
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
        while True:
            answered.put(client.get(f"/review{pages[0]}").status_code)
            pages.rotate(-1)
            time.sleep(think)


class Bench:
    """One log with its service, and what may run beside it."""

    def __init__(self, folder: Path, think: float, keep_days: Iterator[int]) -> None:
        self.folder = folder
        self.environ = {"CDS_LOG_PATH": str(folder / "alerts.sqlite3"), "CDS_REVIEW_PATH": str(folder / "review.sqlite3")}
        self.pages: list[int] = []  # statuses
        self._think = think
        self._keep_days = keep_days

    def server(self, verb: str) -> Server:
        """Return a process of the service or of the pages."""
        port = free_port()
        return Server(
            [*_CLI, verb, *(["--quiet"] if verb == "serve" else []), "--profile", "dev", "--port", str(port)],
            port,
            self.folder,
            None,
            self.environ,
        )

    @contextmanager
    def alone(self) -> Iterator[Running]:
        yield lambda: True

    @contextmanager
    def readers(self) -> Iterator[Running]:
        context = multiprocessing.get_context("spawn")
        answered = context.Queue()
        with self.server("review") as server:
            server.wait()
            some = [context.Process(target=read, args=(server.port, n, self._think, answered)) for n in range(READERS)]
            for one in some:
                one.start()
            first = [answered.get(timeout=120) for _ in some]  # they read by now, and the process has loaded what it needs
            done = threading.Event()

            def collect() -> None:
                while not done.is_set() or not answered.empty():
                    self.pages.append(answered.get())

            thread = threading.Thread(target=collect, daemon=True)
            thread.start()
            try:
                yield lambda: True
            finally:
                done.set()
                for one in some:
                    one.terminate()
                    one.join()
            if wrong := {*first, *self.pages} - {200, SLOW}:
                raise WrongAnswerError(f"pages: {sorted(wrong)}")

    @contextmanager
    def purge(self) -> Iterator[Running]:
        with self._command("purge", {"CDS_KEEP_DAYS": str(next(self._keep_days))}) as running:
            yield running

    @contextmanager
    def compact(self) -> Iterator[Running]:
        with self._command("compact", {}) as running:
            yield running

    def run(self, *command: str) -> None:
        """Run a command of the log to its end. Raises subprocess.CalledProcessError."""
        subprocess.run([*_CLI, "log", *command], env=os.environ | self.environ, check=True, capture_output=True)

    @contextmanager
    def _command(self, name: str, environ: dict[str, str]) -> Iterator[Running]:
        quiet = subprocess.DEVNULL
        every = os.environ | self.environ | environ
        with subprocess.Popen([*_CLI, "log", name], env=every, stdout=quiet, stderr=quiet) as process:
            try:
                yield lambda: process.poll() is None
            finally:
                process.terminate()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values is."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def report(rounds: Sequence[Mapping[str, list[float]]]) -> None:
    """Print a row for each kind of turn."""
    print("| beside  | calls | p50 ms | p50 x | p99 x | p99 of all ms | p99 of all x | longest ms |")
    print("|---------|------:|-------:|------:|------:|--------------:|-------------:|-----------:|")
    every = {name: [ms for one in rounds for ms in one[name]] for name in rounds[0]}
    for name, took in every.items():
        ratios = {
            share: statistics.median(percentile(one[name], share) / percentile(one["alone"], share) for one in rounds)
            for share in (0.5, 0.99)
        }
        p99 = percentile(took, 0.99)
        print(
            f"| {name:7} | {len(took):5} | {statistics.median(took):6.1f} | {ratios[0.5]:5.2f} | {ratios[0.99]:5.2f} |"
            f" {p99:13.1f} | {p99 / percentile(every['alone'], 0.99):12.2f} | {max(took):10.1f} |"
        )


async def measure(bench: Bench, options: argparse.Namespace) -> list[dict[str, list[float]]]:
    """Return the ms of the calls of each turn, by what ran beside them, for each round."""
    every = {"alone": bench.alone, "readers": bench.readers, "purge": bench.purge, "compact": bench.compact}
    kinds = deque((name, beside) for name, beside in every.items() if name == "alone" or name in options.beside)
    rounds = []
    with bench.server("serve") as server:
        server.wait()
        await steady(server.port, options.rate, 3, lambda: True)  # what is loaded at first
        for number in range(options.rounds):
            took = {}
            for name, beside in kinds:
                with beside() as running:
                    took[name] = await steady(server.port, options.rate, options.seconds, running)
            rounds.append({name: took[name] for name in every if name in took})
            kinds.rotate(1)
            turns = ", ".join(f"{len(one)} calls {name}" for name, one in took.items())
            print(f"round {number + 1}: {turns}; load {os.getloadavg()[0]:.1f}", flush=True)
    return rounds


def main() -> None:
    """Make the log, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=60_000)
    parser.add_argument("--old-mb", type=float, default=300)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rate", type=float, default=20, help="calls a second")
    parser.add_argument("--think", type=float, default=0, help="seconds for which a reader looks at a page")
    parser.add_argument("--beside", nargs="+", choices=_BESIDE, default=_BESIDE, help="what the calls are timed beside")
    options = parser.parse_args()
    shortest = 30  # days that may be kept
    keep_days = (DAYS - (n + 1) * (DAYS - shortest) // options.rounds for n in range(options.rounds))
    with TemporaryDirectory(prefix="no-harm-") as folder:
        bench = Bench(Path(folder), options.think, keep_days)
        make_log(Path(folder) / "alerts.sqlite3", options.calls, options.old_mb)
        bench.run("rollup")
        rounds = asyncio.run(measure(bench, options))
    report(rounds)
    a_second = len(bench.pages) / options.rounds / options.seconds
    print(f"{a_second:.1f} pages a second were read; {bench.pages.count(SLOW)} of {len(bench.pages)} reached their limit of 2 s")


if __name__ == "__main__":
    main()
