"""Send calls of all sizes at a steady rate for hours, and draw what the worker occupies meanwhile.

    python -m tests.bench.soak_hours [--hours 2] [--rate 20] [--warm 0.25] [--port 0] [--drawn var/soak_hours.json]

Of a hundred calls 60 are of size S, 30 M, 9 L (1 MB) and one XL (11 MB); half of them show cards, and a patient comes twice.
Writes var/soak_hours.json after each minute, and var/soak_hours.svg. Growth is the slope of resident memory after --warm hours.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from cds_service.clock import utc_now
from tests.bench.client import Connection
from tests.bench.generate import SIZES, request
from tests.bench.memory_curve import picture, slope
from tests.bench.rounds import SERVICE, WrongAnswerError
from tests.bench.server import Server, free_port, service_command

EVERY = 60.0  # seconds between two looks at the memory
WARM = 0.25  # hours
FLAT = 1.0  # MB an hour that the slope may be
CASES = ("silent", "repeatable", "silent", "firing")
SHARES = {"S": 60, "M": 30, "L": 9, "XL": 1}  # of a hundred calls
LARGEST = 16 * 1024 * 1024  # bytes of a body that the server takes: XL is above the limit as delivered
AT_ONCE = 2  # connections of each size and case; more calls than these wait


class Point(NamedTuple):
    hours: float
    calls: int
    mb: float


class Written(msgspec.Struct):
    """What var/soak_hours.json holds."""

    rate: float
    shares: dict[str, int]
    points: list[Point]


class Calls:
    """Connections of every size and case, and how many calls were answered."""

    def __init__(self, port: int) -> None:
        now = utc_now()
        self.answered = 0
        self._free: dict[tuple[str, str], asyncio.Queue[Connection]] = {}
        for size, case in itertools.product(SHARES, set(CASES)):
            body = request(SIZES[size], "order-sign", now, case)
            queue = self._free[size, case] = asyncio.Queue()
            for _ in range(AT_ONCE):
                queue.put_nowait(Connection(port, SERVICE, body, calls_per_patient=2))

    async def call(self, size: str, case: str) -> None:
        """Raises WrongAnswerError for a status other than 200."""
        waiting = await self._free[size, case].get()
        async with waiting as connection:  # anew for each call: the server closes one that is idle
            answer = await connection.ask()
        self._free[size, case].put_nowait(waiting)
        if answer.status != 200:
            raise WrongAnswerError(f"status {answer.status} to a call of size {size}")
        self.answered += 1


def cycle() -> list[str]:
    """Return the sizes of a hundred calls, each size spread evenly."""
    places = [((number + 0.5) / share, size) for size, share in SHARES.items() for number in range(share)]
    return [size for _, size in sorted(places)]


async def soak(hours: float, rate: float, port: int, folder: Path, written: Path) -> list[Point]:
    """Return memory at the start and after each minute; `written` holds what was seen so far. Raises WrongAnswerError."""
    environ = {"CDS_LOG_PATH": str(folder / "alerts.sqlite3"), "CDS_MAX_BODY_BYTES": str(LARGEST)}
    points: list[Point] = []
    kinds = zip(itertools.cycle(cycle()), itertools.cycle(CASES), strict=False)
    with Server(service_command(port), port, folder, None, environ) as server:
        server.wait()
        calls = Calls(port)
        began = time.perf_counter()

        def look() -> None:
            spent = (time.perf_counter() - began) / 3600
            points.append(Point(spent, calls.answered, server.memory_mb()["VmRSS"]))
            written.write_bytes(msgspec.json.encode(Written(rate, SHARES, points)))

        look()
        async with asyncio.TaskGroup() as tasks:
            for number in range(int(rate * hours * 3600)):
                due = began + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                tasks.create_task(calls.call(*next(kinds)))
                if time.perf_counter() - began >= len(points) * EVERY:
                    look()
        look()
    return points


def growth(points: list[Point], warm: float) -> float:
    """Return the slope of memory after `warm` hours in MB an hour."""
    return slope([(point.hours, point.mb) for point in points if point.hours >= warm])


def run(hours: float, rate: float, warm: float = WARM, port: int = 0) -> None:
    """Soak, draw the curve, and say whether it is flat."""
    var = Path("var")
    var.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=var) as folder:
        points = asyncio.run(soak(hours, rate, port or free_port(), Path(folder), var / "soak_hours.json"))
    report(points, warm)


def report(points: list[Point], warm: float) -> None:
    grown = growth(points, warm)
    end = f"{points[-1].hours:.2f} h, {points[-1].calls:,} calls"
    Path("var/soak_hours.svg").write_text(picture([(point.hours, point.mb) for point in points], end))
    for point in points[:: max(1, len(points) // 25)]:
        print(f"{point.hours:5.2f} h {point.calls:7} calls {point.mb:6.1f} MB {'#' * round(point.mb / 4)}")
    verdict = "met" if grown < FLAT else "NOT MET"
    print(f"{verdict}: growth after {warm:g} h less than {FLAT:g} MB an hour, measured {grown:.2f}; var/soak_hours.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description="Watch the memory of a worker over hours of calls of all sizes.")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--rate", type=float, default=20.0, help="calls a second")
    parser.add_argument("--warm", type=float, default=WARM, help="hours before memory is expected to be level")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--drawn", type=Path, metavar="JSON", help="call nothing; report what an earlier run has written")
    arguments = parser.parse_args()
    if arguments.drawn:
        report(msgspec.json.decode(arguments.drawn.read_bytes(), type=Written).points, arguments.warm)
    else:
        run(arguments.hours, arguments.rate, arguments.warm, arguments.port)


if __name__ == "__main__":
    main()
