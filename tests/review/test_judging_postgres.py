"""Log, cases and plans on PostgreSQL: the same as on the file that was shipped there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, closing
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pytest

from cds_service.database import Database, open_database
from cds_service.review.plans import make_plan, samples, waiting
from cds_service.review.verdicts import Opinion, keep
from cds_service.rollups.days import SiteDays
from cds_service.rollups.rollup import roll_up
from cds_service.settings import Settings
from tests.core import NOW
from tests.log_tables import postgres_database
from tests.review.fired_log import CRITICAL, LOW_POTASSIUM, MALARIA, NO_LABS, QUININE, TWO_ORDERS, fire, pages
from tests.shipping.test_link import ship_all

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

CALLS = [*[(QUININE, "accepted"), (QUININE, "overridden"), (QUININE, "")] * 5,
         (MALARIA, ""), (CRITICAL, "overridden"), (TWO_ORDERS, ""), (LOW_POTASSIUM, ""), (NO_LABS, "")]  # fmt: skip
DAYS = "from=2025-11-01&to=2025-11-30"


def opened(settings: Settings) -> Database:
    log = settings.log_path
    return open_database(log, log.with_name("review.sqlite3"), settings.log_database_url, limit_ms=None, writes_review=True)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Settings]]:
    """The settings of a log in a file and of the same in PostgreSQL, each with a plan of which a case was judged."""
    folder = tmp_path_factory.mktemp("log")
    asyncio.run(fire(folder, CALLS, end=NOW - timedelta(hours=10)))
    log = folder / "alerts.sqlite3"
    with postgres_database() as url:
        ship_all(log, url)
        each = Settings(log_path=log), Settings(log_path=log, log_database_url=url)
        for settings in each:
            with closing(opened(settings)) as database:
                roll_up(database, SiteDays("UTC"), lambda: NOW)
                plan = make_plan(database, "quinine-avoid", 202511, zone=ZoneInfo("UTC"), now=NOW, seed=3)
                first = samples(database, plan)[0].case
                keep(database, first, "Ann", Opinion("appropriate", harm="none"), plan=plan, at=1)
        yield each


def browser(settings: Settings, reviewer: str) -> AbstractAsyncContextManager[httpx2.AsyncClient]:
    shipped: dict[str, Any] = {"log_database_url": settings.log_database_url} if settings.log_database_url else {}
    return pages(settings.log_path.parent, reviewer, **shipped)


async def data(settings: Settings, path: str) -> dict[str, Any]:
    """The data of a page, without the line about the log."""
    async with browser(settings, "Ann") as client:
        answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return {name: value for name, value in found.items() if name != "log"}


def test_the_same_seed_draws_the_same_cases(both: tuple[Settings, Settings]) -> None:
    drawn, left = [], []
    for settings in both:
        with closing(opened(settings)) as database:
            drawn.append([(one.position, one.stratum, one.case) for one in samples(database, 1)])
            left.append(waiting(database))
    assert drawn[0] == drawn[1]
    assert left[0] == left[1] < len(drawn[0])
    assert {stratum for _, stratum, _ in drawn[0]} >= {"accepted", "overridden_critical", "no_feedback", "not_fired"}


@pytest.mark.parametrize("path", [f"/review/log.json?{DAYS}", f"/review/log.json?{DAYS}&response=none&card=quinine-avoid",
                                  "/review/queue.json?plan=1", "/review/results.json"])  # fmt: skip
async def test_pages_are_the_same(both: tuple[Settings, Settings], path: str) -> None:
    assert await data(both[1], path) == await data(both[0], path)


async def test_each_case_is_the_same(both: tuple[Settings, Settings]) -> None:
    cases = (await data(both[0], "/review/queue.json?plan=1"))["plan"]["cases"]
    rows = (await data(both[0], f"/review/log.json?{DAYS}"))["rows"]
    for path in [f"/review{one['path']}.json?plan=1" for one in cases[:8]] + [f"{one['path']}.json" for one in rows[:4]]:
        assert await data(both[1], path) == await data(both[0], path)


async def test_verdicts_and_views_are_kept(both: tuple[Settings, Settings]) -> None:
    for settings in both:  # in both, because the other tests compare them
        second = (await data(settings, "/review/queue.json?plan=1"))["plan"]["cases"][1]
        async with browser(settings, "Ben") as client:
            answer = await client.post(f"/review{second['path']}?plan=1&work=first", data={"verdict": "malfunction"})
            assert answer.status_code == 303
            assert (await client.post("/review/log", data={"name": "mine", "view": "days=7"})).status_code == 303
            assert [one["name"] for one in (await client.get("/review/log.json")).json()["views"]] == ["mine"]
        with closing(opened(settings)) as database:
            assert database.one("SELECT count(*) AS n FROM review.verdict") == {"n": 2}
