"""Measure whether the time of a refused sign-in tells who has an account.

    python -m tests.bench.sign_in [--tries 60]

Each round tries every kind of failure once, in random order, through the gate of the pages with its real passwords (64 MiB, three
passes), its database and its audit. Medians are compared with that of a name that has no account: A5 allows 5 %.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cds_service.access.accounts import add_account, disable
from cds_service.access.audit import AuditLog
from cds_service.access.gate import Gate
from cds_service.access.local_sign_in import SignInError, forget_failures
from cds_service.database import DatabasePool, open_database
from cds_service.settings import Settings
from tests.core import NOW
from tests.log_tables import make_sqlite_log

PASSWORD = "correct horse battery staple"
WRONG = "incorrect horse battery staple"
KINDS = {  # name, password
    "no such account": ("Nobody", PASSWORD),
    "wrong password": ("Ada", WRONG),
    "right password, wrong code": ("Ada", PASSWORD),
    "disabled account": ("Dora", PASSWORD),
}


def measure(folder: Path, tries: int) -> dict[str, list[tuple[float, float]]]:
    """Return the seconds of each try by kind, those that passed and those of the processor."""
    make_sqlite_log(folder / "alerts.sqlite3")
    moments = iter(NOW + timedelta(hours=number) for number in range(10**6))

    def opened() -> DatabasePool:
        return DatabasePool(lambda: open_database(folder / "alerts.sqlite3", folder / "review.sqlite3", writes_review=True), 2)

    pool, auditing = opened(), opened()
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    with closing(pool), closing(auditing):
        with pool.borrow() as database:
            add_account(database, "Ada", PASSWORD, ["viewer"], None, None, at=0)
            add_account(database, "Dora", PASSWORD, ["viewer"], None, None, at=0)
            disable(database, "Dora")

        def clock() -> object:
            return next(moments)

        audit_log = AuditLog(auditing, clock)  # type: ignore[arg-type]
        gate = Gate(Settings(log_path=folder / "alerts.sqlite3"), clock, pool, audit_log, "/review")  # type: ignore[arg-type]
        for number in range(tries + 2):
            for kind in random.sample(list(KINDS), len(KINDS)):
                name, password = KINDS[kind]
                started, worked = time.perf_counter(), time.process_time()
                try:
                    gate.sign_in(name, password, "12345x")  # never right
                except SignInError:
                    took = time.perf_counter() - started, time.process_time() - worked
                else:
                    raise AssertionError("somebody was let in")
                if number >= 2:  # the first ones open connections
                    found[kind].append(took)
                with pool.borrow() as database:
                    forget_failures(database, name)
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=60)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        found = measure(Path(folder), options.tries)
    medians = {kind: [statistics.median(one) for one in zip(*times, strict=True)] for kind, times in found.items()}
    anchor = medians["no such account"]
    print(f"{options.tries} tries each, medians; the processor's time does not depend on what else runs")
    print(f"{'refused':28} {'ms':>8} {'ratio':>7} {'processor ms':>14} {'ratio':>7}")
    for kind, (passed, worked) in medians.items():
        print(f"{kind:28} {1000 * passed:8.1f} {passed / anchor[0]:7.3f} {1000 * worked:14.1f} {worked / anchor[1]:7.3f}")


if __name__ == "__main__":
    main()
