"""Measure how fast records move from the log's file to PostgreSQL, and how fast old ones are deleted from the file.

    python -m tests.bench.shipping [--calls 40000] [--batch 500 2000] [--rounds 3]

Of each call: hot columns, a body of 1.2 KB, a card, an order, its delivery; every second one has feedback. Records are those with
a sequence number: calls, deliveries, feedback. Uses the server at CDS_TEST_DATABASE_URL (default: 127.0.0.1, user postgres),
makes a database of its own there for each round and drops it. The median round counts.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

from cds_service.alert_log.commit_lock import CommitLock
from cds_service.alert_log.deletion import Deletion
from cds_service.shipping.link import Link
from tests.log_rows import NOW, fill
from tests.log_tables import postgres_database


def ship(path: Path, url: str, size: int) -> tuple[float, list[float], float]:
    """Return (records a second, seconds of each batch, share of the time that is this process's CPU)."""
    batches: list[float] = []
    records, whole = 0, False
    with closing(Link(path, url)) as link:
        cpu, began = time.process_time(), time.perf_counter()
        while not whole:
            at = time.perf_counter()
            moved = link.move(size, NOW)
            batches.append(time.perf_counter() - at)
            records, whole = records + moved.records, moved.whole
        seconds = time.perf_counter() - began
    return records / seconds, batches, (time.process_time() - cpu) / seconds


def delete(path: Path) -> tuple[float, list[float]]:
    """Delete everything beside a writer that commits every 10 ms. Return (records a second, seconds of each commit)."""
    waits: list[float] = []
    done = threading.Event()

    def write() -> None:
        lock = CommitLock(path)
        with closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            while not done.wait(0.01):
                began = time.perf_counter()
                with lock:
                    connection.execute("UPDATE source SET created_at = created_at + 1")
                waits.append(time.perf_counter() - began)
        lock.close()

    writer = threading.Thread(target=write)
    writer.start()
    deleted, began = 0, time.perf_counter()
    try:
        with Deletion(path) as deletion:
            while some := deletion.delete_some(1 << 62, 1 << 62):
                deleted += some
            deletion.empty_wal()
    finally:
        seconds = time.perf_counter() - began
        done.set()
        writer.join()
    return deleted / seconds, waits


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=40_000)
    parser.add_argument("--batch", type=int, nargs="+", default=[500, 2_000])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alerts.sqlite3"
        fill(path, arguments.calls)
        print("batch  records/s  again/s  batch p50 ms  batch p99 ms  own CPU")
        for size in arguments.batch:
            rounds, again = [], []
            for _ in range(arguments.rounds):
                with postgres_database() as url:
                    rounds.append(ship(path, url, size))
                    with closing(Link(path, url)) as link:
                        link.begin_again()
                    again.append(ship(path, url, size)[0])
            speed, batches, cpu = sorted(rounds)[len(rounds) // 2]
            times = [1e3 * percentile(batches, share) for share in (0.5, 0.99)]
            second = statistics.median(again)
            print(f"{size:5}  {speed:9.0f}  {second:7.0f}  {times[0]:12.1f}  {times[1]:12.1f}  {cpu:6.0%}", flush=True)
        speed, waits = delete(path)
        p99, longest = 1e3 * percentile(waits, 0.99), 1e3 * max(waits)
        print(f"deletion: {speed:.0f} records/s; commits beside it waited p99 {p99:.1f} ms, at most {longest:.1f} ms")


if __name__ == "__main__":
    main()
