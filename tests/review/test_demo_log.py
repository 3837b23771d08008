"""The page that fills an empty log."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from msgspec.structs import replace
from starlette.applications import Starlette

from cds_service.cli.main import _parser
from cds_service.database import open_database
from cds_service.demo.mark import ALIVE, Mark, write_mark
from cds_service.review.pages.demo_log import ROUTE
from cds_service.review.routes import review_routes
from cds_service.review.site import Site
from cds_service.settings import Settings
from tests.core import NOW, knowledge
from tests.log_tables import BLANK, make_sqlite_log

MARK = Mark(days=90, calls_per_day=300, seed=1, until=NOW, written_at=NOW, calls=9_000, reached=NOW - timedelta(days=45))
SAME_ORIGIN = {"sec-fetch-site": "same-origin", "origin": "http://cds.example"}


@contextmanager
def browser(folder: Path) -> Iterator[httpx2.AsyncClient]:
    open_database(folder / "alerts.sqlite3", folder / "review.sqlite3", writes_review=True).close()
    site = Site(Settings(log_path=folder / "alerts.sqlite3"), knowledge(), lambda: NOW, banner="Test")
    app = Starlette(routes=review_routes(site, (ROUTE,)))
    yield httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://cds.example", headers=SAME_ORIGIN, follow_redirects=False
    )
    site.close()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """The commands that were started, with their environment; none runs."""
    found: list[tuple[list[str], dict[str, str]]] = []

    class Started:
        def __init__(self, command: list[str], *, env: dict[str, str], **_: Any) -> None:
            found.append((command, env))

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(subprocess, "Popen", Started)
    return found


async def test_an_empty_log_is_filled_by_the_command(tmp_path: Path, started: list[tuple[list[str], dict[str, str]]]) -> None:
    make_sqlite_log(tmp_path / "alerts.sqlite3")
    with browser(tmp_path) as one:
        page = await one.get("/review/demo-log")
        assert "Fill the log" in page.text
        answer = await one.post("/review/demo-log", data={"days": "30"})
        assert "0 calls, 0 % of 30 days" in (await one.get("/review/demo-log")).text
        assert (await one.post("/review/demo-log", data={"days": "30"})).status_code == 400
    assert (answer.status_code, answer.headers["location"]) == (303, "/review/demo-log")
    ((command, environment),) = started
    assert command[:3] == [sys.executable, "-m", "cds_service.cli.main"]
    assert _parser().parse_args(command[3:]).days == 30
    assert environment["CDS_LOG_PATH"] == str(tmp_path / "alerts.sqlite3")
    assert environment["CDS_PROFILE"] == "dev"


@pytest.mark.parametrize("days", ["", "1000", "7; true"])
async def test_other_numbers_of_days_are_refused(
    tmp_path: Path, days: str, started: list[tuple[list[str], dict[str, str]]]
) -> None:
    make_sqlite_log(tmp_path / "alerts.sqlite3")
    with browser(tmp_path) as one:
        assert (await one.post("/review/demo-log", data={"days": days})).status_code == 400
    assert not started


async def test_a_log_with_records_is_left_alone(tmp_path: Path, started: list[tuple[list[str], dict[str, str]]]) -> None:
    make_sqlite_log(tmp_path / "alerts.sqlite3")
    with closing(sqlite3.connect(tmp_path / "alerts.sqlite3", isolation_level=None)) as log:
        row = BLANK["call"] | {"seq": 1, "id": b"1" * 16, "received_at": 1}
        marks = ", ".join("?" * len(row))
        log.execute(f"INSERT INTO call ({', '.join(row)}) VALUES ({marks})", list(row.values()))  # noqa: S608
    with browser(tmp_path) as one:
        page = await one.get("/review/demo-log")
        assert "has records of this service, or" in page.text
        assert "<form" not in page.text
        assert (await one.post("/review/demo-log", data={"days": "7"})).status_code == 400
    assert not started


@pytest.mark.parametrize(
    ("mark", "words", "goes_on"),
    [
        (MARK, "9,000 calls, 50 % of 90 days", True),
        (replace(MARK, written_at=NOW - 2 * ALIVE), "Stopped before its end", False),
        (replace(MARK, finished=True), "9,000 calls, 100 % of 90 days", False),
    ],
)
async def test_progress_is_shown(tmp_path: Path, mark: Mark, words: str, goes_on: bool) -> None:
    make_sqlite_log(tmp_path / "alerts.sqlite3")
    write_mark(tmp_path / "alerts.sqlite3", mark)
    with browser(tmp_path) as one:
        page = await one.get("/review/demo-log")
        told = (await one.get("/review/demo-log.json")).json()
    assert words in page.text
    assert (">Look again</a>" in page.text) is goes_on
    assert told["calls"] == 9_000
