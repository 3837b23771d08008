"""Every way in which the file of the alert log can be bad, made of a good one."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from cds_service.alert_log.schema import SCHEMA_VERSION

Spoil = Callable[[Path], None]


def garbage(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def cut_to_nothing(path: Path) -> None:
    os.truncate(path, 0)


def overwritten(path: Path) -> None:
    """Every page but the first is noise, as after a disk that mixed its blocks up."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\x5a" * (path.stat().st_size - 4096))


def newer(path: Path) -> None:
    """Another file is put in its place, as by somebody who restores the wrong backup."""
    copy = path.with_name("copy")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    copy.replace(path)


def without_a_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE body")


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE recipe (dish TEXT); INSERT INTO recipe VALUES ('soup')")


def foreign_with_a_version(path: Path) -> None:
    foreign(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BAD: dict[str, tuple[Spoil, str]] = {
    "garbage": (garbage, "damaged"),
    "truncated": (truncated, "damaged"),
    "overwritten": (overwritten, "damaged"),
    "without a table": (without_a_table, "damaged"),
    "newer": (newer, "newer"),
    "foreign": (foreign, "foreign"),
    "foreign with our version": (foreign_with_a_version, "foreign"),
    "a folder": (folder, "not-a-file"),
}
