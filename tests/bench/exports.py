"""Measure exports: rows a second and the memory of the process, for each format, beside reading the same bodies alone.

    python -m tests.bench.exports [--rows 100000] [--formats csv ndjson …]

A log of calls that were really fired at the service is copied, each with new ids, until it has so many cards. Each format is the
command `cds-service log export` in a process of its own, its output thrown away; memory is the most that the process held
(getrusage), and time is that of the processor, which other work on the machine changes less than that of a clock. The anchor
reads and decompresses the bodies of the same log and decodes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid5

from cds_service.alert_log.call_bodies import decompressor
from cds_service.database import open_database
from cds_service.exports.formats import FORMATS
from tests.core import NOW
from tests.review.fired_log import CRITICAL, LOW_POTASSIUM, MALARIA, NO_LABS, PAIN, QUININE, TWO_ORDERS, fire

CALLS = [*[(QUININE, "accepted"), (QUININE, "overridden"), (QUININE, "")] * 4,
         (MALARIA, ""), (CRITICAL, "overridden"), (TWO_ORDERS, ""), (LOW_POTASSIUM, ""),
         (NO_LABS, ""), (PAIN, "informed")]  # fmt: skip
Row = dict[str, Any]
_NAMES = UUID(int=0)
_STEP = 7_000_000  # µs between two copied calls: 12,300 a day
# Starts the export from a small process: what a process held before it became another program counts as that one's.
_MEASURED = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, file=sys.stderr)
sys.exit(status)
"""
_PER_CARD = ("call", "card", "feedback", "delivery", "ordered", "body")


def make_log(folder: Path, rows: int) -> int:
    """Write a log of at least `rows` cards; return how many it has."""
    asyncio.run(fire(folder, CALLS, end=NOW))
    path = folder / "alerts.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as log:
        log.row_factory = sqlite3.Row
        kept = {table: [dict(row) for row in log.execute(f"SELECT * FROM {table}")] for table in _PER_CARD}  # noqa: S608
        (cards,) = log.execute("SELECT count(*) FROM card").fetchone()
        log.execute("PRAGMA synchronous = OFF")
        log.execute("BEGIN")
        seq: int = log.execute("SELECT last_seq FROM source").fetchone()[0]
        at = min(call["received_at"] for call in kept["call"]) - (rows // cards + 1) * len(kept["call"]) * _STEP
        found: int = cards
        for copy in range(rows // cards + 1):
            for call in kept["call"]:
                at += _STEP
                seq = _copy(log, kept, call, copy, at, seq)
            found += cards
            if found >= rows:
                break
        log.execute("UPDATE source SET last_seq = ?", (seq,))
        log.execute("COMMIT")
    return found


def _copy(log: sqlite3.Connection, kept: dict[str, list[Row]], call: Row, copy: int, at: int, seq: int) -> int:
    """Write a call again with what belongs to it, at another time; return the last number that it took."""
    id_ = (at // 1000).to_bytes(6, "big") + uuid5(_NAMES, f"{call['seq']}/{copy}").bytes[6:]
    changed = {"received_at": at, "call_id": id_}
    seq += 1
    _insert(log, "call", call | {"seq": seq, "id": id_, "received_at": at})
    for body in kept["body"]:
        if body["seq"] == call["seq"]:
            _insert(log, "body", body | {"seq": seq})
    for card in kept["card"]:
        if card["call_id"] == call["id"]:
            uuid = uuid5(_NAMES, f"{bytes(card['uuid']).hex()}/{copy}").bytes
            _insert(log, "card", card | changed | {"uuid": uuid})
            for item in kept["feedback"]:
                if item["card_uuid"] == card["uuid"]:
                    seq += 1
                    new = uuid5(_NAMES, f"{bytes(item['id']).hex()}/{copy}").bytes
                    _insert(log, "feedback", item | {"seq": seq, "id": new, "card_uuid": uuid, "received_at": at + 20_000_000})
    for table in ("delivery", "ordered"):
        for one in kept[table]:
            if one["call_id"] == call["id"]:
                seq += table == "delivery"
                _insert(log, table, one | changed | ({"seq": seq} if table == "delivery" else {}))
    return seq


def _insert(log: sqlite3.Connection, table: str, row: Row) -> None:
    marks = ", ".join("?" * len(row))
    log.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))  # noqa: S608 - columns of the log


def anchor(path: Path) -> float:
    """Return the seconds on the processor that it takes to read and decompress all bodies."""
    with closing(open_database(path, path.with_name("review.sqlite3"), limit_ms=None, writes_review=True)) as database:
        decompressed = decompressor(database)
        began, seq = time.process_time(), 0
        while rows := database.rows("SELECT seq, content FROM log.body WHERE seq > :seq ORDER BY seq LIMIT 500", seq=seq):
            for row in rows:
                decompressed(row["content"])
            seq = rows[-1]["seq"]
        return time.process_time() - began


def export(folder: Path, name: str) -> tuple[float, float, int]:
    """Export all in a process; return its seconds on the processor, its most memory in MB, and the bytes that came."""
    environ = {**os.environ, "CDS_LOG_PATH": str(folder / "alerts.sqlite3")}
    options = ["--format", name, "--reason", "bench"]
    out = folder / f"out-{name}"
    if name.endswith("parquet"):
        options += ["--output", str(out)]
    command = [sys.executable, "-m", "cds_service.cli.main", "log", "export", *options]
    with (folder / "bytes").open("wb") as written:
        done = subprocess.run([sys.executable, "-c", _MEASURED, *command], env=environ, stdout=written, stderr=subprocess.PIPE)
    if done.returncode:
        raise RuntimeError(f"the export of {name} ended with status {done.returncode}")
    took, held = map(float, done.stderr.split()[-2:])
    size = (folder / "bytes").stat().st_size
    if out.exists():
        size = sum(one.stat().st_size for one in out.rglob("*") if one.is_file())
    return took, held, size


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each format."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000, help="cards of the log")
    parser.add_argument("--formats", nargs="*", choices=list(FORMATS), default=["csv", "ndjson", "parquet", "detected-issue"])
    options = parser.parse_args(arguments)
    with TemporaryDirectory(prefix="bench-exports-") as place:
        folder = Path(place)
        rows = make_log(folder, options.rows)
        path = folder / "alerts.sqlite3"
        alone = anchor(path)
        print(f"{rows} cards, log of {path.stat().st_size / 1e6:.0f} MB; a second is one of the processor")
        print(f"anchor (bodies alone): {rows / alone:,.0f} cards/s", flush=True)
        print(f"{'format':20} {'cards/s':>10} {'x anchor':>9} {'MB held':>8} {'MB out':>8}")
        for name in options.formats:
            took, held, size = export(folder, name)
            print(f"{name:20} {rows / took:>10,.0f} {took / alone:>9.1f} {held:>8.0f} {size / 1e6:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
