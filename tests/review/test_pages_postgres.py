"""The pages on PostgreSQL: the same figures as on the file that was shipped there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from cds_service.database import open_database
from cds_service.review.routes import review_routes
from cds_service.review.site import Site
from cds_service.rollups.days import SiteDays
from cds_service.rollups.rollup import roll_up
from cds_service.settings import Settings
from tests.core import knowledge
from tests.log_tables import postgres_database
from tests.review.sample_log import NOW, write_sample_log
from tests.review.test_pages import PATHS, QUININE
from tests.shipping.test_link import ship_all

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

Json = dict[str, Any]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Settings]]:
    """The settings of a counted log in a file, and of the same log in PostgreSQL."""
    log = tmp_path_factory.mktemp("log") / "alerts.sqlite3"
    write_sample_log(log, days=34)
    with postgres_database() as url:
        ship_all(log, url)
        for database_url in ("", url):
            opened = open_database(log, log.with_name("review.sqlite3"), database_url, limit_ms=None, writes_review=True)
            with closing(opened) as database:
                roll_up(database, SiteDays("UTC"), lambda: NOW)
        yield Settings(log_path=log), Settings(log_path=log, log_database_url=url)


async def page(settings: Settings, path: str) -> Json:
    """The data of a page, without the line about the log."""
    site = Site(settings, knowledge(), lambda: NOW)
    transport = httpx2.ASGITransport(app=Starlette(routes=review_routes(site)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://cds.example") as client:
        answer = await client.get(f"/review{path}")
    site.close()
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    del found["log"]
    return found


@pytest.mark.parametrize("query", ["", "?days=7&hook=order-sign", f"?card={QUININE}&from=2026-10-25&to=2026-11-20"])
@pytest.mark.parametrize("path", PATHS[:-1])
async def test_figures_are_the_same(both: tuple[Settings, Settings], path: str, query: str) -> None:
    in_file, in_postgres = both
    if path == f"/cards/{QUININE}" and "card=" in query:
        query = query.replace(f"card={QUININE}&", "")
    assert await page(in_postgres, f"{path}.json{query}") == await page(in_file, f"{path}.json{query}")


async def test_the_line_above_says_how_far_shipping_is(both: tuple[Settings, Settings]) -> None:
    site = Site(both[1], knowledge(), lambda: NOW)
    transport = httpx2.ASGITransport(app=Starlette(routes=review_routes(site)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://cds.example") as client:
        text = (await client.get("/review")).text
    site.close()
    assert "Log: 0 records to be shipped" in text
