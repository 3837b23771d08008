"""Send many calls that find prior cards, and draw what the worker occupies meanwhile.

    python -m tests.bench.soak [--calls 50000] [--prior 3]
    python -m tests.bench.soak --hours 2 [--rate 20]

`--prior N`: calls find 0 to 2 N cards that were shown about their patient before, N on average. Writes var/soak.json and
var/soak.svg. Growth is the slope of resident memory over the second half, when caches are full.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec

from cds_service.clock import utc_now
from tests.bench import environments, soak_hours
from tests.bench.client import burst
from tests.bench.generate import SIZES, request
from tests.bench.memory_curve import picture, slope
from tests.bench.rounds import SERVICE, Asked, WrongAnswerError, first_right_answer
from tests.bench.server import Server, free_port, service_command

STEP = 1000  # calls between two looks at the memory
CLIENTS = 16
ENOUGH = 600.0  # seconds for one step
FLAT = 100  # bytes a call that the slope may be: a page now and then, 5 MB in 50,000 calls; a cycle a call was 8,200
CARDS = 2


class Point(NamedTuple):
    calls: int
    mb: float


async def soak(calls: int, prior: int, folder: Path) -> list[Point]:
    """Return memory at the start and after each step. Raises WrongAnswerError."""
    port = free_port()
    body = request(SIZES["S"], "order-sign", utc_now(), "repeatable")
    python = environments.python_of("service")
    command = service_command(port, python=str(python)) if python else service_command(port)
    points, asked = [], 0
    with Server(command, port, folder, None, {"CDS_LOG_PATH": str(folder / "alerts.sqlite3")}) as server:
        await first_right_answer(Asked(server, body, CARDS))
        points.append(Point(0, server.memory_mb()["VmRSS"]))
        while asked < calls:
            load = await burst(port, SERVICE, body, CLIENTS, ENOUGH, 2 * prior + 1, most=STEP)
            if set(load.came) != {(200, CARDS)}:
                raise WrongAnswerError(f"(status, cards): {dict(load.came)}")
            asked += len(load.latencies)
            points.append(Point(asked, server.memory_mb()["VmRSS"]))
    return points


def growth(points: list[Point]) -> float:
    """Return the slope of memory over the second half in bytes a call."""
    return 1e6 * slope([(point.calls, point.mb) for point in points if point.calls * 2 >= points[-1].calls])


def main() -> None:
    parser = argparse.ArgumentParser(description="Watch the memory of a worker over many calls that find prior cards.")
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--prior", type=int, default=3)
    parser.add_argument("--hours", type=float, help="in place of --calls: so long, calls of all sizes (tests.bench.soak_hours)")
    parser.add_argument("--rate", type=float, default=20.0, help="calls a second, with --hours")
    arguments = parser.parse_args()
    if arguments.hours:
        soak_hours.run(arguments.hours, arguments.rate)
        return
    var = Path("var")
    var.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=var) as folder:
        points = asyncio.run(soak(arguments.calls, arguments.prior, Path(folder)))
    grown = growth(points)
    (var / "soak.json").write_bytes(msgspec.json.encode({"prior": arguments.prior, "points": points, "bytes_per_call": grown}))
    (var / "soak.svg").write_text(picture([(point.calls, point.mb) for point in points], f"{points[-1].calls:,} calls"))
    for point in points[:: max(1, len(points) // 25)]:
        print(f"{point.calls:7} calls {point.mb:6.1f} MB {'#' * round(point.mb / 4)}")
    verdict = "met" if grown <= FLAT else "NOT MET"
    print(
        f"{verdict}: growth over the second half at most {FLAT} bytes a call, measured {grown:.0f}; var/soak.json, var/soak.svg"
    )


if __name__ == "__main__":
    main()
