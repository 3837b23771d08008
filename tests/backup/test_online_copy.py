"""A copy ends and is of one moment, however fast others write."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cds_service.backup.online_copy import copy_database


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("CREATE TABLE pair (one INTEGER, other INTEGER, filler BLOB)")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO pair VALUES (?, ?, zeroblob(2000))", ((n, n) for n in range(2000)))
        connection.execute("COMMIT")
    return path


@contextmanager
def written(path: Path) -> Iterator[list[int]]:
    """Write all the time, in transactions that each change the two numbers of a row together."""
    done, commits = threading.Event(), [0]

    def write() -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            while not done.is_set():
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("UPDATE pair SET one = one + 1 WHERE rowid % 50 = ?", (commits[0] % 50,))
                connection.execute("UPDATE pair SET other = other + 1 WHERE rowid % 50 = ?", (commits[0] % 50,))
                connection.execute("COMMIT")
                commits[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield commits
    finally:
        done.set()
        thread.join()


def test_it_ends_under_load_and_is_whole(source: Path, tmp_path: Path) -> None:
    target, steps = tmp_path / "copy", [0]

    def count(_: int, __: int) -> None:
        steps[0] += 1

    with written(source) as commits:
        before = commits[0]
        copy_database(source, target, count)
        meanwhile = commits[0] - before
    assert meanwhile > 3, "nothing was written while it was copied"
    assert 10 < steps[0] < 40, "it began again"
    with closing(sqlite3.connect(target)) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert copy.execute("SELECT count(*), sum(one != other) FROM pair").fetchone() == (2000, 0)


def test_the_copy_is_one_file_for_its_owner_only(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    copy_database(source, folder / "copy")
    assert [path.name for path in folder.iterdir()] == ["copy"]
    assert (folder / "copy").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        copy_database(source, folder / "copy")
