"""Measure what a worker occupies, in an environment from requirements.txt: without the packages of development.

    python -m tests.bench.memory

Makes that environment where it is not there yet, under var/environments/service.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from cds_service.clock import utc_now
from tests.bench import environments
from tests.bench.client import burst
from tests.bench.generate import SIZES, request
from tests.bench.rounds import SERVICE, Asked, first_right_answer
from tests.bench.server import Server, free_port, service_command

LIMIT_MB = 80
CALLS = {"S": 1000, "M": 300, "L": 60}  # by 16 clients
ENOUGH = 120.0  # seconds
AT_REST = 2.5  # seconds after the last answer: a process gives freed memory back once a second


async def measure(python: Path, folder: Path) -> dict[str, Any]:
    """Return resident memory in MB at the first answer and after S, M and L."""
    port = free_port()
    bodies = {size: request(SIZES[size], "order-sign", utc_now()) for size in CALLS}
    stages = {}
    environ = {"CDS_LOG_PATH": str(folder / "alerts.sqlite3")}
    with Server(service_command(port, python=str(python)), port, folder, None, environ) as server:
        await first_right_answer(Asked(server, bodies["S"], 2))
        stages["start"] = server.memory_mb()
        for size, body in bodies.items():
            await burst(port, SERVICE, body, 16, ENOUGH, most=CALLS[size])
            await asyncio.sleep(AT_REST)
            stages[f"after {size}"] = server.memory_mb()
    return stages


def measure_in_own_environment(folder: Path) -> dict[str, Any] | None:
    """Return what `measure` says; None where the environment cannot be made."""
    try:
        python = environments.python_of("service") or environments.make("service")
    except subprocess.CalledProcessError:
        return None
    return asyncio.run(measure(python, folder))


def main() -> None:
    var = Path("var")
    var.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=var) as folder:
        stages = measure_in_own_environment(Path(folder))
    if stages is None:
        print("not measured: the packages of requirements.txt are not available here")
        return
    for stage, seen in stages.items():
        print(f"{stage:8} {seen['VmRSS']:6.1f} MB, peak {seen['VmHWM']:6.1f}")
    verdict = "met" if stages["after L"]["VmRSS"] <= LIMIT_MB else "NOT MET"
    print(f"{verdict}: at most {LIMIT_MB} MB after S, M and L")


if __name__ == "__main__":
    main()
