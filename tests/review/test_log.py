"""The page of the alert log: rows, filters in the address, facets with counts, pages by key, saved views, files."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from cds_service.rollups.days import SiteDays
from cds_service.rollups.rollup import roll_up
from tests.core import NOW
from tests.review.fired_log import CRITICAL, LOW_POTASSIUM, MALARIA, NO_LABS, QUININE, TWO_ORDERS, database, fire, pages

CALLS = [(QUININE, "accepted"), (TWO_ORDERS, ""), (CRITICAL, "overridden"), (MALARIA, ""), (LOW_POTASSIUM, "accepted"),
         (NO_LABS, ""), *[(QUININE, "specialist-advice")] * 55]  # fmt: skip
DAYS = "from=2025-11-01&to=2025-12-01"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of CALLS, counted."""
    made = tmp_path_factory.mktemp("log")
    asyncio.run(fire(made, CALLS, end=NOW - timedelta(hours=10)))
    with closing(database(made)) as opened:
        roll_up(opened, SiteDays("UTC"), lambda: NOW)
    return made


async def got(client: httpx2.AsyncClient, query: str) -> dict[str, Any]:
    answer = await client.get(f"/review/log.json?{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_pages_go_by_key_and_no_card_is_missed_or_shown_twice(folder: Path) -> None:
    async with pages(folder) as client:
        first = await got(client, DAYS)
        second = await got(client, f"{DAYS}&before={first['before']}")
        html = (await client.get(f"/review/log?{DAYS}")).text
    assert (len(first["rows"]), second["before"]) == (50, None)
    rows = first["rows"] + second["rows"]
    assert Counter(one["card"] for one in rows) == {"quinine-avoid": 59, "electrolyte-hypokalaemia": 1, "not-checked": 1}
    assert len({one["path"] for one in rows}) == len(rows)
    assert [one["time"] for one in rows] == sorted((one["time"] for one in rows), reverse=True)
    assert f"before={first['before']}" in html


async def test_a_row_opens_its_own_case_also_that_of_a_second_order(folder: Path) -> None:
    async with pages(folder) as client:
        rows = (await got(client, f"{DAYS}&response=none&card=quinine-avoid"))["rows"]
        cases = [(await client.get(f"{one['path']}.json")).json() for one in rows]
    assert sorted(one["case"]["nth"] for one in cases) == [1, 2]
    assert len({one["card_json"]["uuid"] for one in cases}) == 2


async def test_facets_count_what_choosing_them_shows(folder: Path) -> None:
    async with pages(folder) as client:
        page = await got(client, DAYS)
        for name, choices in page["facets"].items():
            for one in choices:
                query = urlsplit(one["link"]).query
                assert parse_qs(query, keep_blank_values=True)[name] == [one["value"]]
                narrowed = await got(client, query)
                n = len(narrowed["rows"])
                assert n == min(one["n"], 50), (name, one)
        chosen = await got(client, f"{DAYS}&indicator=critical")
    (critical,) = [one for one in chosen["facets"]["indicator"] if one["value"] == "critical"]
    assert critical["chosen"]
    assert "indicator" not in critical["link"]


async def test_the_table_is_a_file_and_a_filter_that_is_none_is_refused(folder: Path) -> None:
    async with pages(folder) as client:
        lines = (await client.get(f"/review/log.csv?{DAYS}&indicator=critical")).text.splitlines()
        assert lines[0].startswith("time,card,version,indicator,state,mode,response,reason,ms,client")
        assert len(lines) == 3
        for wrong in ("colour=red", "from=soon", f"{DAYS}&before=1"):
            answer = await client.get(f"/review/log?{wrong}")
            assert (answer.status_code, 'role="alert"' in answer.text) == (400, True)


async def test_an_empty_view_says_why(folder: Path) -> None:
    async with pages(folder) as client:
        assert "There was no call in this period" in (await client.get("/review/log?from=2024-01-01&to=2024-02-01")).text
        text = (await client.get(f"/review/log?{DAYS}&card=baclofen-safety")).text
    assert "none in which a card fired as asked for" in text


async def test_views_are_saved_listed_and_forgotten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "alerts.sqlite3").write_bytes((folder / "alerts.sqlite3").read_bytes())
    async with pages(tmp_path) as client:
        view = "days=7&card=quinine-avoid&response=overridden"
        kept = await client.post("/review/log", data={"name": " Quinine,  overridden ", "view": view})
        assert (kept.status_code, kept.headers["location"]) == (303, f"/review/log?{view}")
        page = await client.get("/review/log")
        assert re.search(
            r'<a href="/review/log\?days=7&amp;card=quinine-avoid&amp;response=overridden">Quinine, overridden</a>', page.text
        )
        await client.post("/review/log", data={"name": "Quinine, overridden", "view": "days=14"})
        assert [one["query"] for one in (await got(client, ""))["views"]] == ["days=14"]
        await client.post("/review/log", data={"name": "Quinine, overridden"})
        assert (await got(client, ""))["views"] == []
        for form in ({"name": "", "view": view}, {"name": "x", "view": "colour=red"}, {"name": "x" * 61, "view": view}):
            assert (await client.post("/review/log", data=form)).status_code == 400
    with closing(database(tmp_path)) as opened:
        assert opened.one("SELECT count(*) AS n FROM review.saved_view") == {"n": 3}  # rows are only added
