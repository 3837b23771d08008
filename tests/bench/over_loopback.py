"""Everything that is measured over HTTP: who is compared with whom, in which sizes, with how many clients."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

from cds_service.alert_log.reading import open_for_reading
from tests.bench.anchors.durable_rows import LOG_VARIABLE
from tests.bench.client import burst
from tests.bench.environments import python_of
from tests.bench.fhir_server import DATA_VARIABLE
from tests.bench.generate import CASES, SIZES, request, without_prefetch
from tests.bench.rounds import (
    SERVICE,
    Asked,
    Rounds,
    WrongAnswerError,
    cores,
    cpu_difference,
    first_right_answer,
    interleaved,
    rate_ratio,
    row,
    spread,
)
from tests.bench.server import Server, anchor_command, free_port, service_command

WITHOUT_CAPS = {"CDS_MAX_BODY_BYTES": str(32 * 1024 * 1024), "CDS_MAX_ENTRIES": "1000000"}  # for the size XL: its 11 MB are read
ANCHORS = ("noop", "noop_with_row", "good_service")
# Cards of this patient that the log finds → calls of a patient. Each call shows one more, so 7 calls find 0 to 6; at most 50 are
# looked at, so a patient of very many calls has 50.
PRIOR_CARDS = {"0": 1, "3": 7, "50": 0}
ENOUGH = 60.0  # seconds for a burst that ends after so many calls


class Plan(NamedTuple):
    rounds: int
    seconds: float  # of one burst
    starts: int
    concurrencies: tuple[int, ...]  # of what has no targets of its own for both


FULL = Plan(8, 0.5, 5, (1, 16))
SHORT = Plan(2, 0.1, 1, (16,))


class Place(NamedTuple):
    """Where and when servers run."""

    folder: Path
    core: int | None
    now: datetime

    def service(self, *, workers: int = 1, variant: str = "", pinned: bool = True) -> Server:
        """Return the real service's server, or that of one of `tests.bench.variants`."""
        port = free_port()
        command = (
            [sys.executable, "-m", "tests.bench.variants", variant, str(port)] if variant else service_command(port, workers)
        )
        environ = {"CDS_LOG_PATH": f"{mkdtemp(dir=self.folder)}/alerts.sqlite3", **WITHOUT_CAPS}
        return Server(command, port, self.folder, self.core if pinned else None, environ)

    def anchor(self, name: str, *, workers: int = 1, pinned: bool = True) -> Server | None:
        """Return the anchor's server; None where its environment is not there."""
        python = python_of("healthchain") if name == "healthchain_noop" else None
        if name == "healthchain_noop" and python is None:
            return None
        port = free_port()
        command = anchor_command(name, port, workers, *([str(python)] if python else []))
        environ = {LOG_VARIABLE: f"{mkdtemp(dir=self.folder)}/rows.sqlite3"}
        return Server(command, port, self.folder, self.core if pinned else None, environ)

    def body(self, size: str, case: str = "firing") -> bytes:
        return request(SIZES[size], "order-sign", self.now, case)


@asynccontextmanager
async def running(servers: dict[str, Server | None], body: bytes, cards: dict[str, int]) -> AsyncIterator[dict[str, Server]]:
    """Start the servers that are there, and see that each answers rightly."""
    there = {name: server for name, server in servers.items() if server is not None}
    with ExitStack() as stack:
        for server in there.values():
            stack.enter_context(server)
        for name, server in there.items():
            await first_right_answer(Asked(server, body, cards.get(name, 2)))
        yield there


async def anchors(place: Place, plan: Plan) -> dict[str, Any]:
    """Two cards and the log, against every anchor; then the silent call against the no-op."""
    servers = {"ours": place.service(), **{name: place.anchor(name) for name in (*ANCHORS, "healthchain_noop")}}
    firing: dict[str, Any] = {}
    silent: dict[str, Any] = {}
    async with running(servers, place.body("S"), {}) as there:
        memory = {"start": {name: server.memory_mb() for name, server in there.items()}}
        for size in SIZES:
            measured = there if size != "XL" else {name: there[name] for name in ("ours", "noop")}
            compared = {name: Asked(server, place.body(size), 2) for name, server in measured.items()}
            for concurrency in (1, 16) if size != "XL" else (1,):
                rounds = await interleaved(compared, concurrency, plan.rounds, plan.seconds)
                firing.setdefault(size, {})[str(concurrency)] = row(
                    rounds, [("ours", name) for name in compared if name != "ours"]
                )
            if size == "L":
                memory["after S, M, L"] = {name: server.memory_mb() for name, server in there.items()}
        for size in ("S", "M"):
            compared = {
                "ours": Asked(there["ours"], place.body(size, "silent"), CASES["silent"].cards),
                "noop": Asked(there["noop"], place.body(size, "silent"), 2),
            }
            for concurrency in plan.concurrencies:
                rounds = await interleaved(compared, concurrency, plan.rounds, plan.seconds)
                silent.setdefault(size, {})[str(concurrency)] = row(rounds, [("ours", "noop")])
    return {"firing": firing, "silent": silent, "memory_mb": memory}


async def prior_cards(place: Place, plan: Plan) -> dict[str, Any]:
    """Signing when the log holds 0, 3 (0 to 6) and 50 cards that this patient's clinicians saw before, beside the no-op."""
    rows: dict[str, Any] = {}
    servers = {"ours": place.service(), "noop": place.anchor("noop")}
    body = place.body("S", "repeatable")
    async with running(servers, body, {}) as there:
        ours = there["ours"]
        await burst(ours.port, SERVICE, body, 1, ENOUGH, 0, most=60)  # so that there are 50 from the first round on
        compared = {name: Asked(ours, body, 2, calls) for name, calls in PRIOR_CARDS.items()} | {
            "noop": Asked(there["noop"], body, 2)
        }
        for concurrency in plan.concurrencies:
            rounds = await interleaved(compared, concurrency, plan.rounds, plan.seconds)
            pairs = [("3", "0"), ("50", "0"), ("0", "noop"), ("3", "noop"), ("50", "noop")]
            rows[str(concurrency)] = row(rounds, pairs)
        log = Path(ours.environ["CDS_LOG_PATH"])
        found = {}
        for name, calls in PRIOR_CARDS.items():
            load = await burst(ours.port, SERVICE, body, 1, ENOUGH, calls, most=14)
            found[name] = spread(_prior_cards_found(log, len(load.latencies)))
    expected = {"0": (0, 0), "3": (0, 6), "50": (50, 50)}
    if any((found[name]["min"], found[name]["max"]) != limits for name, limits in expected.items()):
        raise WrongAnswerError(f"other numbers of prior cards were found than were meant: {found}")
    return {"rows": rows, "found": found}


def _prior_cards_found(log: Path, calls: int) -> list[int]:
    """How many cards of one id each of the last calls could look at: those of its patient's earlier calls, the newest 50."""
    earlier = """SELECT (SELECT min(50, coalesce(max(shown), 0)) FROM (SELECT count(*) AS shown FROM card
        WHERE card.patient = call.patient AND card.received_at < call.received_at
        AND state = (SELECT id FROM name WHERE text = 'shown') GROUP BY card))
        FROM call ORDER BY seq DESC LIMIT ?"""
    connection = open_for_reading(log, busy_ms=1000)
    try:
        rows = connection.execute(earlier, (calls,)).fetchall()
    finally:
        connection.close()
    return [found for (found,) in rows]


async def fetched(place: Place, plan: Plan) -> dict[str, Any]:
    """The same data sent, and fetched from a FHIR server on this machine."""
    rows: dict[str, Any] = {}
    for size in ("S", "M") if plan is FULL else ("S",):
        body = place.body(size)
        data = place.folder / f"request-{size}.json"
        data.write_bytes(body)
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "--factory", "tests.bench.fhir_server:application"]
        command += ["--port", str(port), "--no-access-log", "--log-level", "warning"]
        client_core = cores()[1] if place.core is not None else None
        ehr = Server(command, port, place.folder, client_core, {DATA_VARIABLE: str(data)})
        with ehr:
            ehr.wait()
            async with running({"ours": place.service()}, body, {}) as there:
                asked = without_prefetch(body, f"http://127.0.0.1:{port}/fhir")
                # The FHIR server has one patient.
                compared = {"fetched": Asked(there["ours"], asked, 2, 0), "sent": Asked(there["ours"], body, 2, 0)}
                for concurrency in plan.concurrencies:
                    rounds = await interleaved(compared, concurrency, plan.rounds, plan.seconds)
                    rows.setdefault(size, {})[str(concurrency)] = row(rounds, [("fetched", "sent")])
    return rows


async def log_cost(place: Place, plan: Plan) -> dict[str, Any]:
    """CPU that record and log take of a call, beside one fdatasync."""
    rows: dict[str, Any] = {}
    servers: dict[str, Server | None] = {"with": place.service(), "without": place.service(variant="without_log")}
    async with running(servers, place.body("S"), {}) as there:
        compared = {name: Asked(server, place.body("S"), 2) for name, server in there.items()}
        for concurrency in (1, 16):
            rounds = await interleaved(compared, concurrency, plan.rounds, plan.seconds)
            rows[str(concurrency)] = row(rounds, []) | {"log_us": cpu_difference(rounds, "with", "without")}
    return {"rows": rows, "fdatasync_us": fdatasync_us(place.folder)}


def fdatasync_us(folder: Path, times: int = 200) -> float:
    """CPU of this thread for writing 4 KB and one fdatasync, median in microseconds."""
    spent = []
    with (folder / "synced").open("wb", buffering=0) as file:
        for _ in range(times):
            begun = time.thread_time_ns()
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            spent.append(time.thread_time_ns() - begun)
    return statistics.median(spent) / 1000


async def two_workers(place: Place, plan: Plan) -> dict[str, Any]:
    """What a second worker gains in requests per second, of the service and of the no-op. Nothing is pinned to a core."""
    os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))
    servers = {
        "ours 1": place.service(pinned=False),
        "ours 2": place.service(workers=2, pinned=False),
        "noop 1": place.anchor("noop", pinned=False),
        "noop 2": place.anchor("noop", workers=2, pinned=False),
    }
    async with running(servers, place.body("S"), {}) as there:
        compared = {name: Asked(server, place.body("S"), 2) for name, server in there.items()}
        rounds: Rounds = await interleaved(compared, 32, plan.rounds, plan.seconds)
    ours, noop = rate_ratio(rounds, "ours 2", "ours 1"), rate_ratio(rounds, "noop 2", "noop 1")
    gains = {"ours": spread(ours), "noop": spread(noop), "ratio": spread(a / b for a, b in zip(ours, noop, strict=True))}
    return row(rounds, []) | {"gain": gains}


async def starts(place: Place, plan: Plan) -> dict[str, Any]:
    """From the start of the process to its first answer: CPU and wall time, in seconds."""
    cpu: dict[str, list[float]] = {}
    wall: dict[str, list[float]] = {}
    for _ in range(plan.starts):
        for name, server in (("ours", place.service()), ("noop", place.anchor("noop"))):
            if server is not None:
                with server:
                    wall.setdefault(name, []).append(await first_right_answer(Asked(server, place.body("S"), 2)))
                    cpu.setdefault(name, []).append(server.cpu_ns() / 1e9)
    return {name: {"cpu_s": spread(cpu[name]), "wall_s": spread(wall[name])} for name in cpu}


async def measure(plan: Plan, folder: Path, now: datetime) -> dict[str, Any]:
    """Everything that goes over HTTP."""
    core, own = cores()
    place = Place(folder, core, now)
    if own is not None:
        os.sched_setaffinity(0, {own})
    return {
        "bytes": {size: len(place.body(size)) for size in SIZES},
        "start": await starts(place, plan),
        **await anchors(place, plan),
        "prior": await prior_cards(place, plan),
        "fetched": await fetched(place, plan),
        "log": await log_cost(place, plan),
        "workers": await two_workers(place, plan),
    }
