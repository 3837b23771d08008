"""Measure the share of each phase of a call, by size and number of clients: where the CPU time goes.

    python -m tests.bench.phases [--seconds 3]

Phases are those that the service times itself (`cds_phase_seconds` of /metrics), by the CPU clock of the event loop's thread: a
busy machine does not stretch them. `log` is making the record and handing it over. A phase with a wait (`WAITING`) holds the work
of other calls where there are any, so with 16 clients it is part of the rest. CPU of the log's threads comes from the system.
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
REST = "server, framework, metrics"  # the main thread's CPU beyond the phases
LOG_THREADS = "threads of the log"


class Counted(NamedTuple):
    """What was spent so far, in microseconds of CPU."""

    phases: dict[str, float]
    main: float  # thread
    all: float  # threads


def counted(server: Server) -> Counted:
    page = httpx2.get(f"http://127.0.0.1:{server.port}/metrics", trust_env=False).text
    phases = {phase: float(seconds) * 1e6 for phase, seconds in PHASE_SUM.findall(page) if float(seconds)}
    return Counted(phases, server.main_thread_ns() / 1000, server.cpu_ns() / 1000)


def per_call(before: Counted, after: Counted, calls: int, *, alone: bool) -> dict[str, float]:
    """Return CPU a call by phase, for the rest of the main thread, and for the log's threads.

    `alone`: one call at a time, so that the phases with a wait hold their own work only.
    """
    phases = {
        phase: (spent - before.phases.get(phase, 0)) / calls
        for phase, spent in after.phases.items()
        if alone or phase not in WAITING
    }
    main = (after.main - before.main) / calls
    threads = (after.all - before.all) / calls - main
    return phases | {REST: main - sum(phases.values()), LOG_THREADS: threads}


async def measure(place: Place, seconds: float) -> dict[str, dict[str, float]]:
    """By "size clients", microseconds a call by phase."""
    columns = {}
    with place.service(variant="cpu_timed") as server:
        await first_right_answer(Asked(server, place.body("S"), 2))
        for clients in (1, 16):
            for size in ("S", "M", "L"):
                await burst(server.port, SERVICE, place.body(size), clients, seconds / 5)
                before = counted(server)
                load = await burst(server.port, SERVICE, place.body(size), clients, seconds)
                columns[f"{size} {clients}"] = per_call(before, counted(server), len(load.latencies), alone=clients == 1)
    return columns


def table(columns: dict[str, dict[str, float]]) -> str:
    """Draw the shares, and what all of them come to; a dash where a phase is part of the rest."""
    totals = {name: sum(column.values()) for name, column in columns.items()}
    lines = [f"{'share of CPU, %':28}" + "".join(f"{name:>8}" for name in columns)]
    for phase in next(iter(columns.values())):
        shares = (
            f"{100 * column[phase] / totals[name]:8.1f}" if phase in column else f"{'-':>8}" for name, column in columns.items()
        )
        lines.append(f"{phase:28}" + "".join(shares))
    lines.append(f"{'CPU, us a call':28}" + "".join(f"{total:8.0f}" for total in totals.values()))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Show where the CPU time of a call goes, by size and number of clients.")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each column")
    arguments = parser.parse_args()
    var = Path("var")
    var.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=var) as folder:
        place = Place(Path(folder), cores()[0], utc_now())
        print(table(asyncio.run(measure(place, arguments.seconds))))


if __name__ == "__main__":
    main()
