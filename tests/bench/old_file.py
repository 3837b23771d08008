"""Time how a file of version 0.1.0 opens: its migration, and the first record that is appended to it.

    python -m tests.bench.old_file [--mb 1000] [--rounds 3]

The file has schema 4; its rows are those of `tests/alert_log/golden/schema_4.sql` again and again, each time of other patients.
Every round opens a copy that has left the cache of the operating system, as after a restart of the machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import statistics
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cds_service.alert_log.reading import old_calls
from cds_service.alert_log.records import CallRecord
from cds_service.alert_log.store import Store
from tests.bench.log_mix import records

_GOLDEN = Path(__file__).parent.parent / "alert_log" / "golden" / "schema_4.sql"
_TABLES = ("call", "card", "feedback")
_AT_ONCE = 200  # times that the rows are written between two looks at the size
_SEED = 7_000_000  # of the record that is appended
_MB = 1_000_000


def make_old_file(path: Path, mb: float) -> None:
    """Write a file of schema 4 of at least so many MB (10^6 bytes); its calls are a minute apart."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(_GOLDEN.read_text(encoding="utf-8"))
        connection.row_factory = sqlite3.Row
        models = {table: [dict(row) for row in connection.execute(f"SELECT * FROM {table}")] for table in _TABLES}  # noqa: S608
        number = 0
        while path.stat().st_size < mb * _MB:
            connection.execute("BEGIN")
            for number in range(number + 1, number + 1 + _AT_ONCE):  # noqa: B020 - goes on where the last one ended
                for table in _TABLES:
                    _insert(connection, table, [_another(row, number, len(models["call"])) for row in models[table]])
            connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")  # as that version left it


def _another(row: dict[str, Any], number: int, calls: int) -> dict[str, Any]:
    """The row of another patient, so many times `calls` minutes later."""
    made = {name: value for name, value in row.items() if name != "seq"}
    made["received_at"] = _later(row["received_at"], number * calls) if "received_at" in row else None
    if "call_seq" in row:
        made["call_seq"] = row["call_seq"] + number * calls
    for name in ("patient_key", "encounter_key", "order_key"):
        if row.get(name):
            made[name] = f"k1:{_hashed(row[name], number).hex()}"
    for name in ("uuid", "card_uuid", "hook_instance"):
        if name in row:
            made[name] = str(uuid.UUID(bytes=_hashed(row[name], number)))
    if "id" in row:
        made["id"] = _hashed(row["id"], number).hex()
    return {name: value for name, value in made.items() if value is not None or name == "facts"}


def _later(received_at: str, minutes: int) -> str:
    return (datetime.fromisoformat(received_at) + timedelta(minutes=minutes)).isoformat(timespec="microseconds")


def _hashed(text: str, number: int) -> bytes:
    return blake2b(f"{text} {number}".encode(), digest_size=16).digest()


def _insert(connection: sqlite3.Connection, table: str, rows: Sequence[dict[str, Any]]) -> None:
    columns, marks = ", ".join(rows[0]), ", ".join(f":{name}" for name in rows[0])
    connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)  # noqa: S608 - names of the tables above


def opened(path: Path, record: CallRecord) -> tuple[float, float]:
    """Return the seconds of opening the file and of appending the record."""
    began = time.perf_counter()
    with closing(Store(path)) as store:
        migrated = time.perf_counter()
        store.append([record])
        return migrated - began, time.perf_counter() - migrated


def forget(path: Path) -> None:
    """Write the file to the disk and take it out of the cache of the operating system."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def main() -> None:
    """Print both times of each round."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mb", type=float, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    (record,) = records(1, _SEED)
    with TemporaryDirectory(prefix="old-file-") as folder:
        made, path = Path(folder) / "made.sqlite3", Path(folder) / "alerts.sqlite3"
        make_old_file(made, options.mb)
        rounds = []
        for number in range(options.rounds):
            for left in Path(folder).glob("alerts.sqlite3*"):
                left.unlink()
            shutil.copy(made, path)
            forget(path)
            opening, append = opened(path, record)
            rounds.append((opening, append))
            print(f"round {number + 1}: opened in {opening * 1e3:.0f} ms, first append {append * 1e3:.0f} ms", flush=True)
        size, calls = made.stat().st_size / _MB, old_calls(path)
        opening, append = (statistics.median(one) for one in zip(*rounds, strict=True))
        print(f"a file of {size:,.0f} MB, {calls:,} calls: {opening * 1e3:.0f} ms, then {append * 1e3:.0f} ms (medians)")


if __name__ == "__main__":
    main()
