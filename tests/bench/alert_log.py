"""Measure what a durable record costs: CPU and waiting time for each record, by concurrency and number of processes.

    python -m tests.bench.alert_log [--records 20000] [--rounds 5] [--processes 1 2] [--folder DIR]

Every record has 4 KB of evaluations, 3 KB of facts and, where the table says so, two cards of 1.8 KB. The best round counts. With
several processes all append to one file; `wall us/record` is then the time of all over the records of all.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import tempfile
import time
import uuid
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

from cds_service.alert_log import AlertLog, CallRecord, CardRecord
from cds_service.alert_log.records import new_call_id
from cds_service.clock import utc_now

Measured = tuple[float, float, list[float]]  # CPU and wall microseconds per record, waiting times in ms

_begin: Barrier  # of the processes of a round


def json_of(size: int) -> bytes:
    return b'["' + b"x" * (size - 4) + b'"]'


def record(cards: int) -> CallRecord:
    key = "k1:" + "0" * 32
    now = utc_now()
    return CallRecord(
        id=new_call_id(now),
        received_at=now,
        service="cramp-care-order-sign",
        hook="order-sign",
        hook_instance=str(uuid.uuid4()),
        client="",
        patient_key=key,
        user_key=key,
        encounter_key="",
        status=200,
        outcome="fired",
        evaluations=json_of(4000),
        sources=json_of(300),
        timings=json_of(200),
        facts=json_of(3000),
        service_version="0.1.0",
        knowledge_hash="0" * 64,
        jurisdiction="US",
        bytes_in=10_000,
        bytes_out=4_000,
        cards=tuple(
            CardRecord(str(uuid.uuid4()), "quinine-avoid", "1.0.0", "0" * 64, "warning", "live", key, json_of(1800))
            for _ in range(cards)
        ),
        digest=random.getrandbits(63),
    )


async def round_of(path: Path, concurrency: int, records: Sequence[CallRecord], work: float) -> Measured:
    """Append all records from `concurrency` clients. `work`: seconds of CPU that each request takes besides."""
    log = AlertLog(path, patience=60)
    log.start()
    waits: list[float] = []

    async def client(mine: Sequence[CallRecord]) -> None:
        for one in mine:
            busy_until = time.perf_counter() + work
            while time.perf_counter() < busy_until:
                pass
            began = time.perf_counter()
            assert await log.append(one)
            waits.append((time.perf_counter() - began) * 1e3)

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(client(records[n::concurrency]) for n in range(concurrency)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    await log.close()
    return cpu / len(records) * 1e6 - work * 1e6, wall / len(records) * 1e6, waits


def one_process(path: Path, concurrency: int, count: int, cards: int, work: float) -> Measured:
    records = [record(cards) for _ in range(count)]
    _begin.wait()
    return asyncio.run(round_of(path, concurrency, records, work))


def _join(begin: Barrier) -> None:
    global _begin
    _begin = begin


def measure(processes: int, concurrency: int, count: int, cards: int, work: float, folder: Path | None) -> Measured:
    """Run one round, with a new file, in new processes."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=folder) as place, context.Pool(processes, _join, (context.Barrier(processes),)) as pool:
        given = (Path(place) / "log.sqlite3", concurrency, count // processes, cards, work)
        results = pool.starmap(one_process, [given] * processes, chunksize=1)
    waits = sorted(wait for _, _, waits in results for wait in waits)
    return sum(cpu for cpu, _, _ in results) / processes, max(wall for _, wall, _ in results) / processes, waits


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, nargs="+", default=[1])
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16, 64], help="requests at once, in each process")
    parser.add_argument("--cards", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--folder", type=Path, default=None, help="where the file is written; another disk, another result")
    parser.add_argument("--work", type=float, default=0.0, help="microseconds of CPU that each request takes besides")
    arguments = parser.parse_args()
    print("processes  concurrency  cards  CPU us/record  wall us/record  wait p50 ms  wait p99 ms")
    for processes in arguments.processes:
        for cards in arguments.cards:
            for concurrency in arguments.concurrency:
                count = arguments.records // (1 if concurrency > 1 else 4)
                cpu, wall, waits = min(
                    measure(processes, concurrency, count, cards, arguments.work * 1e-6, arguments.folder)
                    for _ in range(arguments.rounds)
                )
                p50, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
                print(
                    f"{processes:9}  {concurrency:11}  {cards:5}  {cpu:13.1f}  {wall:14.1f}  {p50:11.3f}  {p99:11.3f}", flush=True
                )


if __name__ == "__main__":
    main()
