"""The benchmark: the real service beside a no-op, whole requests over loopback, then the work without a server.

    python -m tests.bench.run [--short] [--only-noop]

Both servers run at once on one core and take turns, round by round, so that whatever else the machine does meets both; ratios are
taken within a round. Writes var/bench.json and prints a table. Fails on a wrong answer, never on a slow one.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import uvloop

from cds_service.clock import utc_now
from tests.bench import report
from tests.bench.client import Load, burst, first_answer
from tests.bench.generate import SIZES, request
from tests.bench.server import Server, free_port, noop_command, service_command

SERVICE = "cramp-care-order-sign"
EXPECTED = 2  # cards
WITHOUT_CAPS = {"CDS_MAX_BODY_BYTES": str(32 * 1024 * 1024), "CDS_MAX_ENTRIES": "1000000"}  # for the size XL: its 11 MB are read


class WrongAnswerError(RuntimeError):
    """What was measured isn't the work that was agreed on."""


class Plan(NamedTuple):
    rounds: int
    seconds: float  # of one burst
    starts: int
    concurrencies: dict[str, tuple[int, ...]]


FULL = Plan(10, 0.7, 5, dict.fromkeys(SIZES, (1, 16)))
SHORT = Plan(4, 0.2, 2, {"S": (1, 16), "M": (1, 16), "L": (1, 16), "XL": (1,)})


class Pair(NamedTuple):
    ours: Server
    noop: Server

    def memory(self) -> dict[str, dict[str, float]]:
        return {"ours": self.ours.memory_mb(), "noop": self.noop.memory_mb()}


class Round(NamedTuple):
    load: Load
    cpu_us: float  # per request


def spread(values: Iterable[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"min": ordered[0], "median": statistics.median(ordered), "max": ordered[-1]}


def cores() -> tuple[int | None, int | None]:
    """The core of the servers and that of the client; none where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


async def start_to_first_answer(server: Server, body: bytes) -> float:
    """Seconds from the start of the process to its first answered hook call. Raises WrongAnswerError."""
    server.wait()
    answer = await first_answer(server.port, SERVICE, body)
    took = time.perf_counter() - server.started
    if answer.status != 200:
        raise WrongAnswerError(f"status {answer.status} from port {server.port}: {answer.body[:500].decode(errors='replace')}")
    cards = msgspec.json.decode(answer.body)["cards"]
    if len(cards) != EXPECTED:
        topics = [card["source"]["topic"]["code"] for card in cards]
        raise WrongAnswerError(f"{len(cards)} cards in place of {EXPECTED}: {topics}")
    return took


async def one_round(server: Server, body: bytes, concurrency: int, seconds: float) -> Round:
    before = server.cpu_ns()
    load = await burst(server.port, SERVICE, body, concurrency, seconds)
    used = server.cpu_ns() - before
    if load.statuses != Counter({200: len(load.latencies)}):
        raise WrongAnswerError(f"statuses {dict(load.statuses)} from port {server.port}")
    return Round(load, used / 1000 / len(load.latencies))


async def compare(pair: Pair, body: bytes, concurrency: int, plan: Plan) -> dict[str, Any]:
    """Rounds of both servers in turn, the order of the two swapped from round to round."""
    rounds: dict[str, list[Round]] = {"ours": [], "noop": []}
    for number in range(plan.rounds + 1):
        turn = [("ours", pair.ours), ("noop", pair.noop)]
        for who, server in turn if number % 2 else reversed(turn):
            done = await one_round(server, body, concurrency, plan.seconds)
            if number:  # the first round warms up
                rounds[who].append(done)
    ratios = [ours.cpu_us / noop.cpu_us for ours, noop in zip(rounds["ours"], rounds["noop"], strict=True)]
    return {"cpu_ratio": spread(ratios), **{who: summary(done) for who, done in rounds.items()}}


def summary(rounds: list[Round]) -> dict[str, float]:
    latencies = sorted(latency * 1000 for done in rounds for latency in done.load.latencies)
    return {
        "requests": len(latencies),
        "per_second": statistics.median(len(done.load.latencies) / done.load.seconds for done in rounds),
        "p50_ms": statistics.median(latencies),
        "p99_ms": latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))],
        "cpu_us": statistics.median(done.cpu_us for done in rounds),
    }


def servers(folder: Path, core: int | None, only_noop: bool) -> Pair:
    """Two servers, not yet started; the service with a new log in `folder`."""
    ours, noop = free_port(), free_port()
    command = noop_command(ours) if only_noop else service_command(ours)
    log = tempfile.mkdtemp(dir=folder)
    return Pair(
        Server(command, ours, folder, core, {"CDS_LOG_PATH": f"{log}/alerts.sqlite3", **WITHOUT_CAPS}),
        Server(noop_command(noop), noop, folder, core, {}),
    )


async def measure(plan: Plan, folder: Path, only_noop: bool) -> dict[str, Any]:
    """Everything that goes over HTTP."""
    now = utc_now()
    bodies = {name: request(size, "order-sign", now) for name, size in SIZES.items()}
    core, own = cores()
    if own is not None:
        os.sched_setaffinity(0, {own})
    starts: dict[str, list[float]] = {"ours": [], "noop": []}
    for _ in range(plan.starts):
        for who, server in servers(folder, core, only_noop)._asdict().items():
            with server:
                starts[who].append(await start_to_first_answer(server, bodies["S"]))
    pair = servers(folder, core, only_noop)
    http: dict[str, dict[str, Any]] = {}
    with pair.ours, pair.noop:
        for server in pair:
            await start_to_first_answer(server, bodies["S"])
        memory = {"start": pair.memory()}
        for name, body in bodies.items():
            http[name] = {}
            for concurrency in plan.concurrencies[name]:
                http[name][str(concurrency)] = await compare(pair, body, concurrency, plan)
            memory["S to L" if name != "XL" else "S to XL"] = pair.memory()
    return {
        "bytes": {name: len(body) for name, body in bodies.items()},
        "http": http,
        "memory_mb": {who: {stage: seen[who] for stage, seen in memory.items()} for who in ("ours", "noop")},
        "start_s": {who: spread(values) for who, values in starts.items()},
    }


def in_process(short: bool, core: int | None) -> dict[str, Any]:
    """What `tests.bench.in_process` measures, in a process of its own on the servers' core."""
    command = [sys.executable, "-m", "tests.bench.in_process", *(["--short"] if short else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        printed, _ = process.communicate()
    if process.returncode:
        raise WrongAnswerError("the measurement without a server failed")
    decoded: dict[str, Any] = msgspec.json.decode(printed)
    for size in SIZES:
        cards = decoded["order-sign"][size]["cards"]
        if len(cards) != EXPECTED:
            raise WrongAnswerError(f"{len(cards)} cards in place of {EXPECTED} in process: {cards}")
    return decoded


def machine() -> dict[str, Any]:
    packages = ("fastapi", "uvicorn", "uvloop", "httptools", "msgspec", "pydantic", "orjson")
    return {
        "measured_at": utc_now().isoformat(timespec="seconds"),
        "python": sys.version,
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "packages": {name: version(name) for name in packages},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the service against a no-op.")
    parser.add_argument("--short", action="store_true", help="fewer rounds, under 40 seconds")
    parser.add_argument("--only-noop", action="store_true", help="the no-op against itself: what the harness adds or hides")
    arguments = parser.parse_args()
    var = Path("var")
    var.mkdir(exist_ok=True)
    result: dict[str, Any] = {"machine": machine(), "short": arguments.short}
    core, _ = cores()
    # Beside the real log, not in /tmp: a file system in memory would make a durable log free.
    with tempfile.TemporaryDirectory(dir=var) as folder:
        result |= uvloop.run(measure(SHORT if arguments.short else FULL, Path(folder), arguments.only_noop))
    if arguments.only_noop:
        print("\n".join(report.http_lines(result)))
        return
    result["in_process"] = in_process(arguments.short, core)
    result["targets"] = [{**target._asdict(), "met": target.met} for target in report.targets(result)]
    (var / "bench.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    print(report.table(result))
    print("written to var/bench.json")


if __name__ == "__main__":
    main()
