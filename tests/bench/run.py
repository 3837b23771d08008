"""The benchmark: the real service beside its anchors, whole requests over loopback, then the work without a server.

    python -m tests.bench.run [--short]

All servers of a comparison run at once on one core and take turns, round by round, so that whatever else the machine does meets
all; ratios are taken within a round. Writes var/bench.json and prints a table. Fails on a wrong answer, never on a slow one.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from cds_service.clock import utc_now
from tests.bench import memory, report
from tests.bench.generate import CASES, SIZES
from tests.bench.in_process import KINDS
from tests.bench.over_loopback import FULL, SHORT, measure
from tests.bench.rounds import WrongAnswerError, cores


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
    for name, kind in KINDS.items():
        if kind.hook == "order-sign":
            for size in SIZES:
                cards = decoded["kinds"][name][size]["cards"]
                if len(cards) != CASES[kind.case].cards:
                    raise WrongAnswerError(f"{name}: {CASES[kind.case].cards} cards expected in process, not {cards}")
    return decoded


def machine() -> dict[str, Any]:
    packages = ("fastapi", "uvicorn", "uvloop", "httptools", "msgspec", "pydantic", "fhir.resources")
    return {
        "measured_at": utc_now().isoformat(timespec="seconds"),
        "python": sys.version,
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "packages": {name: version(name) for name in packages},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the service against its anchors.")
    parser.add_argument("--short", action="store_true", help="fewer rounds, under a minute")
    short = parser.parse_args().short
    var = Path("var")
    var.mkdir(exist_ok=True)
    core, _ = cores()
    result: dict[str, Any] = {"machine": machine(), "short": short}
    # Beside the real log, not in /tmp: a file system in memory would make a durable log free.
    with tempfile.TemporaryDirectory(dir=var) as folder:
        result |= uvloop.run(measure(SHORT if short else FULL, Path(folder), utc_now()))
        result["in_process"] = in_process(short, core)
        result["memory_without_development"] = None if short else memory.measure_in_own_environment(Path(folder))
    result["targets"] = [{**target._asdict(), "met": target.met} for target in report.targets(result)]
    (var / "bench.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    print(report.table(result))
    print("written to var/bench.json")


if __name__ == "__main__":
    main()
