"""A log that can be filled, in SQLite or PostgreSQL, and its roll-ups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from cds_service.database import Database, open_database
from tests.log_tables import make_postgres_log, make_sqlite_log, postgres_database
from tests.rollups.fill import Filler, PostgresFiller, SqliteFiller


class Made(NamedTuple):
    """Appends to a log, and reads it and writes its counts."""

    filler: Filler
    database: Database


@contextmanager
def made_log(dialect: str, folder: Path) -> Iterator[Made]:
    """Lend an empty log with its roll-ups."""
    log, review = folder / "alerts.sqlite3", folder / "review.sqlite3"
    if dialect == "sqlite":
        make_sqlite_log(log)
        with closing(SqliteFiller(log)) as filler, closing(open_database(log, review, limit_ms=None, writes_review=True)) as one:
            yield Made(filler, one)
        return
    with postgres_database() as url:
        make_postgres_log(url)
        with (
            closing(PostgresFiller(url)) as filler,
            closing(open_database(log, review, url, limit_ms=None, writes_review=True)) as one,
        ):
            yield Made(filler, one)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.loopback)])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Made]:
    with made_log(request.param, tmp_path) as one:
        yield one
