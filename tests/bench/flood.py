"""Measure what a flood of unsigned calls costs: bytes of logs, and how much later signed calls are answered.

    python -m tests.bench.flood [--rate 1000] [--seconds 20] [--signed 20] [--rounds 3]

One `serve` with a registry answers signed calls at a steady rate. In each round they are timed alone, and then beside a process
that sends calls without a token at --rate a second, over 16 connections. The ratio is of the medians of one round, and the median
ratio counts. Goals: under 1 MB of log lines a minute, a p50 of at most twice that of the calls alone. The service, the flood and
the signed calls share the machine's cores; the load of the machine is printed, because it moves the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from cds_service.clock import utc_now
from tests.bench.server import Server, free_port
from tests.faults.wire import CALL, SERVICE, answer_of, connected, whole
from tests.tokens import PUBLIC_URL, a_client, signed, write_registry

_URL = f"{PUBLIC_URL}/cds-services/{SERVICE}"
_FLOODERS = 16


async def flood(port: int, rate: float, seconds: float) -> Counter[int]:
    """Send unsigned calls at so many a second; return their statuses."""
    statuses: Counter[int] = Counter()
    until = time.perf_counter() + seconds
    message = whole(CALL)

    async def send(number: int) -> None:
        due = time.perf_counter() + number / rate
        async with connected(port) as (reader, writer):
            while due < until:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                writer.write(message)
                statuses[(await answer_of(reader))[0]] += 1
                due = max(due + _FLOODERS / rate, time.perf_counter() - 1)

    await asyncio.gather(*(send(number) for number in range(_FLOODERS)))
    return statuses


def run_flood(port: int, rate: float, seconds: float, done: multiprocessing.Queue[Counter[int]]) -> None:
    done.put(asyncio.run(flood(port, rate, seconds)))


async def signed_calls(port: int, rate: float, seconds: float) -> list[float]:
    """The ms that signed calls took, of which so many are due in a second. Raises ValueError for one that is not answered 200."""
    now = utc_now().timestamp()
    head = f"POST /cds-services/{SERVICE} HTTP/1.1\r\nhost: cds.example\r\ncontent-type: application/json\r\n"
    tokens = [signed(_URL, now=now) for _ in range(int(rate * seconds))]
    took = []
    async with connected(port) as (reader, writer):
        began = time.perf_counter()
        for number, token in enumerate(tokens):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sent = time.perf_counter()
            writer.write(f"{head}authorization: Bearer {token}\r\ncontent-length: {len(CALL)}\r\n\r\n".encode() + CALL)
            status, _ = await answer_of(reader)
            took.append((time.perf_counter() - sent) * 1000)
            if status != 200:
                raise ValueError(f"a signed call was answered {status}")
    return took


def written(folder: Path) -> tuple[int, int]:
    """Bytes of log lines, and of the alert log, so far."""
    lines = sum(path.stat().st_size for path in folder.glob("server-*.txt"))
    return lines, sum(path.stat().st_size for path in folder.glob("alerts.sqlite3*"))


def measure(folder: Path, options: argparse.Namespace) -> None:
    port = free_port()
    environ = {
        "CDS_LOG_PATH": str(folder / "alerts.sqlite3"),
        "CDS_PUBLIC_URL": PUBLIC_URL,
        "CDS_CLIENTS_FILE": str(write_registry(folder, a_client())),
    }
    command = [sys.executable, "-m", "cds_service.cli.main", "serve", "--profile", "dev", "--port", str(port)]
    ratios = []
    with Server(command, port, folder, None, environ) as server:
        server.wait()
        asyncio.run(signed_calls(port, 20, 2))
        for number in range(options.rounds):
            alone = asyncio.run(signed_calls(port, options.signed, options.seconds))
            before, began = written(folder), time.perf_counter()
            context = multiprocessing.get_context("spawn")
            done: multiprocessing.Queue[Counter[int]] = context.Queue()
            flooding = context.Process(target=run_flood, args=(port, options.rate, options.seconds + 3, done))
            flooding.start()
            time.sleep(2)  # until it sends
            beside = asyncio.run(signed_calls(port, options.signed, options.seconds))
            statuses = done.get()
            flooding.join()
            minutes = (time.perf_counter() - began) / 60
            lines, log = ((after - first) / 1e6 for after, first in zip(written(folder), before, strict=True))
            ratios.append(statistics.median(beside) / statistics.median(alone))
            print(
                f"round {number + 1}: {dict(statuses)}, {sum(statuses.values()) / (options.seconds + 3):.0f} unsigned calls/s; "
                f"log lines {lines / minutes:.3f} MB/min, alert log {log / minutes:.2f} MB/min (with the signed calls); "
                f"signed p50 alone {statistics.median(alone):.2f} ms, beside {statistics.median(beside):.2f} ms, "
                f"ratio {ratios[-1]:.2f}; load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    print(f"median ratio of p50: {statistics.median(ratios):.2f} (goal 2)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--signed", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        measure(Path(folder), options)


if __name__ == "__main__":
    main()
