"""Measure how long commits of a service wait while old records are purged, and how fast that goes.

    python -m tests.bench.purge [--calls 20000] [--every 10]

Of each call: hot columns, a body of 1.2 KB, a card, an order, its delivery; every second one has feedback. All of them
are old. A second process commits as the log's writer does (its lock, `synchronous=FULL`), every so many ms: first alone, then
while `purge` runs. Figures are of commits from asking for the lock until the commit is on the disk.
"""

from __future__ import annotations

import argparse
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from cds_service.alert_log.commit_lock import CommitLock
from cds_service.retention.purge import purge
from cds_service.settings import Settings
from tests.bench.shipping import percentile
from tests.log_rows import NOW, fill

_ALONE = 5.0  # seconds


def write(path: Path, every: float) -> None:
    """Commit until standard input ends; print the seconds of each commit."""
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    lock = CommitLock(path)
    with closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        while not ended.wait(every):
            began = time.perf_counter()
            with lock:
                connection.execute("UPDATE source SET created_at = created_at + 1")
            print(time.perf_counter() - began)
    lock.close()


class Beside:
    """The process that commits, while inside; then `waits` has the seconds of its commits."""

    def __init__(self, path: Path, every: float) -> None:
        command = [sys.executable, "-m", "tests.bench.purge", "--write", str(path), "--every", str(every * 1e3)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *_: object) -> None:
        written = self._process.communicate("")[0]
        self.waits = [float(line) for line in written.split()]

    def __str__(self) -> str:
        p50, p99, most = (1e3 * one for one in (percentile(self.waits, 0.5), percentile(self.waits, 0.99), max(self.waits)))
        return f"{len(self.waits)} commits, p50 {p50:.1f} ms, p99 {p99:.1f} ms, at most {most:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--every", type=float, default=10, help="ms between two commits")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write, options.every / 1e3)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alerts.sqlite3"
        fill(path, options.calls)
        with Beside(path, options.every / 1e3) as alone:
            time.sleep(_ALONE)
        now = NOW + timedelta(seconds=options.calls, days=402)
        with Beside(path, options.every / 1e3) as beside:
            began = time.perf_counter()
            (purged,) = purge(Settings(log_path=path), lambda: now)
            seconds = time.perf_counter() - began
        deleted = sum(one.deleted for one in purged.found)
        print(f"alone: {alone}")
        print(f"while purging: {beside}")
        print(f"{deleted} rows of {options.calls} calls purged in {seconds:.1f} s, roll-up included; left {purged.left}")


if __name__ == "__main__":
    main()
