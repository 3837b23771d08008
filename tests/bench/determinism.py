"""Make logs and verify every record of them: `python -m tests.bench.determinism FOLDER [--calls 100000] [--parts 4]`.

Each part is a log of 90 days that `cds-service demo-log` makes with a seed of its own; those that FOLDER has are used again. Then
`cds-service replay --verify` decides every record again. Ends with status 1 where one comes out differently.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

UNTIL = "2026-11-29T18:00"
DAYS = 90


def run(command: list[str], log: Path | None = None) -> int:
    """Run a command of the service, niced, with its log; return its status."""
    environment = os.environ | ({"CDS_LOG_PATH": str(log)} if log else {})
    return subprocess.run(["nice", sys.executable, "-m", "cds_service.cli.main", *command], env=environment).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description="Make logs and verify every record of them.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--parts", type=int, default=4)
    given = parser.parse_args()
    a_day = str(-(-given.calls // (given.parts * DAYS)))
    status = 0
    for seed in range(1, given.parts + 1):
        folder = given.folder / f"seed-{seed}"
        if not (folder / "alerts.sqlite3").exists():
            making = ["demo-log", "--days", str(DAYS), "--calls-per-day", a_day, "--seed", str(seed), "--until", UNTIL]
            if run([*making, "--into", str(folder)]):
                return 1
        status |= run(["replay", "--verify"], folder / "alerts.sqlite3")
    return status


if __name__ == "__main__":
    sys.exit(main())
