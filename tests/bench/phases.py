"""Measure the share of each phase of a call, by size and number of clients: where the time goes.

    python -m tests.bench.phases [--seconds 3]

Phases are those that the service times itself (`cds_phase_seconds` of /metrics); those in `WAITING` end with a wait, so only
their CPU counts, as part of the main thread. CPU of the main thread and of the log's threads comes from the system.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import httpx2

from cds_service.clock import utc_now
from tests.bench.client import burst
from tests.bench.over_loopback import Place
from tests.bench.rounds import SERVICE, Asked, cores, first_right_answer
from tests.bench.server import Server

PHASE_SUM = re.compile(r'^cds_phase_seconds_sum\{phase="(\w+)"\} (\S+)$', re.MULTILINE)
WAITING = frozenset({"receive", "gather", "shown_before", "log"})
REST = "receive, gather, record, server"  # the main thread's CPU beyond the phases that do not wait
LOG_THREADS = "threads of the log"


class Counted(NamedTuple):
    """What was spent so far."""

    phases: dict[str, float]  # microseconds
    main_us: float
    all_us: float


def counted(server: Server) -> Counted:
    page = httpx2.get(f"http://127.0.0.1:{server.port}/metrics", trust_env=False).text
    phases = {phase: float(seconds) * 1e6 for phase, seconds in PHASE_SUM.findall(page)}
    return Counted(phases, server.main_thread_ns() / 1000, server.cpu_ns() / 1000)


def per_call(before: Counted, after: Counted, calls: int) -> dict[str, float]:
    """Return microseconds of CPU a call: by phase, for the rest of the main thread, and for the log's threads."""
    phases = {
        phase: (spent - before.phases.get(phase, 0)) / calls for phase, spent in after.phases.items() if phase not in WAITING
    }
    main = (after.main_us - before.main_us) / calls
    threads = (after.all_us - before.all_us) / calls - main
    return phases | {REST: main - sum(phases.values()), LOG_THREADS: threads}


async def measure(place: Place, seconds: float) -> dict[str, dict[str, float]]:
    """By "size clients", microseconds a call by phase."""
    columns = {}
    with place.service() as server:
        await first_right_answer(Asked(server, place.body("S"), 2))
        for size in ("S", "M", "L"):
            for clients in (1, 16):
                await burst(server.port, SERVICE, place.body(size), clients, seconds / 5)
                before = counted(server)
                load = await burst(server.port, SERVICE, place.body(size), clients, seconds)
                columns[f"{size} {clients}"] = per_call(before, counted(server), len(load.latencies))
    return columns


def table(columns: dict[str, dict[str, float]]) -> str:
    """Draw the shares, and what all of them come to."""
    totals = {name: sum(column.values()) for name, column in columns.items()}
    lines = [f"{'share of CPU, %':34}" + "".join(f"{name:>9}" for name in columns)]
    lines += [
        f"{phase:34}" + "".join(f"{100 * column[phase] / totals[name]:9.1f}" for name, column in columns.items())
        for phase in next(iter(columns.values()))
    ]
    lines.append(f"{'CPU, us a call':34}" + "".join(f"{total:9.0f}" for total in totals.values()))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Show where the time of a call goes, by size and number of clients.")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each column")
    arguments = parser.parse_args()
    var = Path("var")
    var.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=var) as folder:
        place = Place(Path(folder), cores()[0], utc_now())
        print(table(asyncio.run(measure(place, arguments.seconds))))


if __name__ == "__main__":
    main()
