"""What a durable record costs: process CPU and waiting time per call record, at several numbers of concurrent requests.

    python tests/bench/alert_log.py [--records 20000] [--rounds 5] [--folder DIR]

Every record has 4 KB of evaluations, 3 KB of facts and, where --cards says so, cards of 1.8 KB. The best round counts.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
import uuid
from pathlib import Path

from cds_service.alert_log import AlertLog, CallRecord, CardRecord
from cds_service.clock import utc_now


def json_of(size: int) -> bytes:
    return b'["' + b"x" * (size - 4) + b'"]'


def record(cards: int) -> CallRecord:
    key = "k1:" + "0" * 32
    return CallRecord(
        *(uuid.uuid4().hex, utc_now(), "cramp-care-order-sign", "order-sign", str(uuid.uuid4()), "", key, key, "", 200),
        *("fired", json_of(4000), json_of(300), json_of(200), json_of(3000), "0.1.0", "0" * 64, "US", 10_000, 4_000),
        [
            CardRecord(str(uuid.uuid4()), "quinine-avoid", "1.0.0", "0" * 64, "warning", "live", key, json_of(1800))
            for _ in range(cards)
        ],
        digest=uuid.uuid4().hex,
    )


async def round_of(path: Path, concurrency: int, records: list[CallRecord], work: float) -> tuple[float, float, list[float]]:
    """CPU microseconds and wall microseconds per record, and the waiting times in ms. `work`: CPU seconds of each request."""
    log = AlertLog(path)
    log.start()
    waits: list[float] = []

    async def client(mine: list[CallRecord]) -> None:
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
    return cpu / len(records) * 1e6 - work * 1e6, wall / len(records) * 1e6, sorted(waits)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="where the file is written; another disk, another result")
    parser.add_argument("--work", type=float, default=0.0, help="microseconds of CPU that each request takes besides")
    arguments = parser.parse_args()
    print("concurrency  cards  CPU us/record  wall us/record  wait p50 ms  wait p99 ms")
    for cards in (0, 2):
        for concurrency in (1, 16, 64):
            best = None
            for _ in range(arguments.rounds):
                with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
                    records = [record(cards) for _ in range(arguments.records // (1 if concurrency > 1 else 4))]
                    result = asyncio.run(round_of(Path(folder) / "log.sqlite3", concurrency, records, arguments.work * 1e-6))
                best = min(best, result) if best else result
            assert best
            cpu, wall, waits = best
            p50, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
            print(f"{concurrency:11}  {cards:5}  {cpu:13.1f}  {wall:14.1f}  {p50:11.3f}  {p99:11.3f}", flush=True)


if __name__ == "__main__":
    main()
