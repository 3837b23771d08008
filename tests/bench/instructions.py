"""Count the instructions that a call executes in process, under valgrind's callgrind: what noise on the machine does not move.

Series "… logged" make the record of the call, too, and commit it, each in a transaction of its own, as for a single client.

    python -m tests.bench.instructions [--calls 20]

The time of day, the requests and the hash seed are fixed; each call is about another patient. Writes var/instructions.json.
Without valgrind it says so and ends.

The counted process calls `os.ctermid`, which nothing else calls, before and after each series; callgrind writes what it counted
since the last such call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from cds_service.alert_log import AlertLog, CallRecord
from cds_service.alert_log.store import Store
from cds_service.app import freeze_collector
from cds_service.respond import respond
from cds_service.runtime import Runtime, new_runtime
from cds_service.settings import Settings
from cds_service.wire.client_connection import ClientConnection
from cds_service.wire.hook_request import decode_request
from tests.bench.generate import SIZES, request
from tests.bench.in_process import Work, work_of
from tests.bench.resources import PATIENT_ID

MARKER = "ctermid"  # of the C library
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
SERIES = {
    "S": ("S", "firing"),
    "M": ("M", "firing"),
    "L": ("L", "firing"),
    "silent": ("S", "silent"),
    "S logged": ("S", "firing"),
    "silent logged": ("S", "silent"),
}
FEWER = {"M": 4, "L": 10}  # large ones are counted in fewer calls, as each takes seconds there
WARM_UP = 3  # calls
TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)


class LogInOneThread(AlertLog):
    """A log that commits each record where it is appended: how threads take turns would change the count."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._store = Store(path)

    @property
    def state(self) -> Literal["ok"]:
        return "ok"

    async def append(self, record: CallRecord) -> bool:
        self._store.append([record])
        return True


def logged_work_of(runtime: Runtime) -> Work:
    """Return what a server does with a body of order-sign, with the log."""
    service = next(one for one in runtime.knowledge.services if one.hook == "order-sign")

    async def stays_open() -> dict[str, str]:
        await asyncio.Event().wait()
        return {}

    async def ours(body: bytes) -> bytes:
        call = decode_request(body, service.hook)
        return (await respond(call, service, runtime, ClientConnection(len(body), stays_open))).body

    return ours


def of_patients(body: bytes, count: int) -> list[bytes]:
    """Return the body for so many patients."""
    return [body.replace(PATIENT_ID[-12:].encode(), b"%012d" % number) for number in range(count)]


def counted_process(calls: int) -> None:
    """Make the calls of each series between two calls of the marker."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alerts.sqlite3"
        runtime = new_runtime(Settings(log_path=path, hash_secret="0" * 32), "")
        runtime = msgspec.structs.replace(runtime, clock=lambda: NOW, alert_log=LogInOneThread(path))
        plain, logged = work_of(runtime, "order-sign"), logged_work_of(runtime)
        freeze_collector()

        async def series(ours: Work, body: bytes, times: int) -> None:
            bodies = of_patients(body, WARM_UP + times)
            for one in bodies[:WARM_UP]:
                await ours(one)
                json.loads(one)
            os.ctermid()
            for one in bodies[WARM_UP:]:
                await ours(one)
            os.ctermid()
            for one in bodies[WARM_UP:]:
                json.loads(one)
            os.ctermid()

        for name, (size, case) in SERIES.items():
            body = request(SIZES[size], "order-sign", NOW, case)
            asyncio.run(series(logged if name.endswith("logged") else plain, body, calls_of(size, calls)))


def calls_of(size: str, calls: int) -> int:
    return max(1, calls // FEWER.get(size, 1))


def instructions(dumps: list[str], calls: int) -> dict[str, float]:
    """Take instructions per call from callgrind's dumps: before the first series, its calls, its `json.loads`, and so on."""
    totals = [int(found[1]) for dump in dumps if (found := TOTAL.search(dump))]
    counted = {}
    for index, (name, (size, _)) in enumerate(SERIES.items()):
        counted[name] = totals[3 * index + 1] / calls_of(size, calls)
        counted[f"{name} json.loads"] = totals[3 * index + 2] / calls_of(size, calls)
    return counted


def count(valgrind: str, calls: int) -> dict[str, float]:
    """Run the counted process under callgrind."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind"
        command = [valgrind, "--tool=callgrind", f"--dump-before={MARKER}", f"--callgrind-out-file={out}", "--quiet"]
        command += [sys.executable, "-m", "tests.bench.instructions", "--counted", "--calls", str(calls)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "0"})
        dumps = sorted(Path(folder).glob("callgrind.*"), key=lambda path: int(path.suffix[1:]))
        return instructions([path.read_text(errors="replace") for path in dumps], calls)


def main() -> None:
    parser = argparse.ArgumentParser(description="Count instructions per call with callgrind.")
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--counted", action="store_true", help="be the process that is counted")
    arguments = parser.parse_args()
    if arguments.counted:
        counted_process(arguments.calls)
        return
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        print("not counted: valgrind is not installed here (apt install valgrind)")
        return
    counted = count(valgrind, arguments.calls)
    var = Path("var")
    var.mkdir(exist_ok=True)
    (var / "instructions.json").write_bytes(msgspec.json.encode({"calls": arguments.calls, "per_call": counted}))
    for name in SERIES:
        ours, reference = counted[name], counted[f"{name} json.loads"]
        print(f"{name:13} {ours / 1e6:8.3f} million instructions a call, {ours / reference:.2f} x json.loads")


if __name__ == "__main__":
    main()
