"""The queue and the results: drawing a plan, working through it in each role, what the verdicts say."""

from __future__ import annotations

import asyncio
import re
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pytest

from cds_service.review.plans import month_span, plans, samples, waiting
from cds_service.review.sampling import STRATA
from cds_service.rollups.days import SiteDays, as_date
from cds_service.signals.finding import Finding, Place
from cds_service.signals.store import keep as keep_findings
from tests.core import NOW
from tests.review.fired_log import CRITICAL, LOW_POTASSIUM, MALARIA, PAIN, QUININE, TWO_ORDERS, database, fire, pages

CALLS = [
    *[(QUININE, "accepted"), (QUININE, "overridden"), (QUININE, "specialist-advice"), (QUININE, "")] * 3,
    *[(MALARIA, ""), (CRITICAL, "overridden"), (TWO_ORDERS, ""), (LOW_POTASSIUM, ""), (PAIN, "")],
]
MONTH = {"card": "quinine-avoid", "month": "2025-11"}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of CALLS, all in November 2025."""
    made = tmp_path_factory.mktemp("log")
    asyncio.run(fire(made, CALLS, end=NOW - timedelta(hours=10)))
    return made / "alerts.sqlite3"


@pytest.fixture
def folder(log: Path, tmp_path: Path) -> Path:
    """A folder with the log and no verdict."""
    (tmp_path / "alerts.sqlite3").write_bytes(log.read_bytes())
    return tmp_path


async def draw(client: httpx2.AsyncClient, **form: str) -> httpx2.Response:
    return await client.post("/review/queue", data=MONTH | form)


async def work_through(client: httpx2.AsyncClient, path: str, verdicts: dict[str, str]) -> list[str]:
    """Judge from `path` until the queue comes, as `verdicts` says by indicator ("" for silence); return the addresses."""
    seen = []
    while "/cases/" in path:
        seen.append(path.partition("?")[0])
        indicator = (await client.get(path.replace("?", ".json?", 1))).json()["case"]["indicator"]
        verdict = verdicts[indicator]
        answer = await client.post(path, data={"verdict": verdict, "response": "appropriate" if indicator else ""})
        assert answer.status_code == 303
        path = answer.headers["location"]
        assert f"saved={verdict}" in path
    assert path.startswith("/review/queue?plan=1&work=")
    return seen


def first_of(page: dict[str, Any], work: str) -> str:
    return f"/review{page['plan']['next'][work]}?plan=1&work={work}"


async def test_an_empty_queue_says_why_and_a_plan_is_drawn(folder: Path) -> None:
    async with pages(folder) as client:
        assert "There is no plan yet" in (await client.get("/review/queue")).text
        answer = await draw(client)
        assert (answer.status_code, answer.headers["location"]) == (303, "/review/queue?plan=1")
        page = (await client.get("/review/queue.json?plan=1")).json()
        html = (await client.get("/review/queue?plan=1")).text
    assert {one["name"]: (one["size"], one["drawn"]) for one in page["plan"]["strata"]} == {
        "accepted": (3, 3),
        "overridden_critical": (1, 1),
        "overridden_reason": (3, 3),
        "overridden_bare": (3, 3),
        "no_feedback": (5, 5),
        "not_fired": (1, 1),
    }
    assert "0 of 16" in html
    with closing(database(folder)) as opened:
        assert waiting(opened) == 16
        drawn = samples(opened, 1)
    assert len({one.case for one in drawn}) == 16
    assert [one.position for one in drawn] == list(range(1, 17))
    assert all(re.fullmatch(r"/cases/[0-9a-f]{32}/quinine-avoid/[12]", one.path) for one in drawn)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"month": "2026-01"}, "has not begun"),
        ({"month": "2025-13"}, "Choose a month"),
        ({"month": "soon"}, "Choose a month"),
        ({"month": "2025-10"}, "no case of this card in this month"),
        ({"card": "unknown"}, "Choose a card"),
        ({"reviewer": ""}, "Give a name"),
    ],
)
async def test_a_plan_that_cannot_be_drawn_says_why(folder: Path, form: dict[str, str], says: str) -> None:
    async with pages(folder) as client:
        answer = await draw(client, **form)
    assert (answer.status_code, says in answer.text) == (400, True)


async def test_a_month_has_one_plan_and_an_unknown_one_is_not_found(folder: Path) -> None:
    async with pages(folder) as client:
        await draw(client)
        again = await draw(client)
        assert (again.status_code, "There is a plan" in again.text) == (400, True)
        assert (await client.get("/review/queue?plan=2")).status_code == 404


async def test_a_plan_is_worked_through_in_every_role_and_says_what_was_found(folder: Path) -> None:
    async with pages(folder, "Ann") as client:
        await draw(client)
        page = (await client.get("/review/queue.json?plan=1")).json()
        read = await work_through(
            client, first_of(page, "first"), {"warning": "appropriate", "critical": "appropriate", "": "inappropriate"}
        )
        assert len(set(read)) == 16
        assert "Nothing is left for you here." in (await client.get("/review/queue?plan=1")).text
    async with pages(folder, "Ben") as client:
        page = (await client.get("/review/queue.json?plan=1")).json()
        assert (page["plans"][0]["first"], page["plans"][0]["second"]) == (0, 16)
        second = {"warning": "appropriate", "critical": "malfunction", "": "inappropriate"}
        await work_through(client, first_of(page, "second"), second)
        data = (await client.get("/review/results.json")).json()
        (result,) = data["results"]
        assert (result["drawn"], result["read"], result["disputed"]) == (16, 16, 1)
        assert result["agreement"]["agreed"] == 15
        assert result["value"]["value"] == 1.0  # the critical one counts for nothing until it is settled
        assert result["silence"]["value"] == 0.0
        assert result["response"]["value"] == 1.0
        assert result["value"]["covered"] == pytest.approx(14 / 15)
    async with pages(folder, "Cleo") as client:
        page = (await client.get("/review/queue.json?plan=1")).json()
        assert (page["plans"][0]["first"], page["plans"][0]["second"], page["plans"][0]["adjudicator"]) == (0, 0, 1)
        await work_through(client, first_of(page, "adjudicator"), {"critical": "malfunction"})
        data = (await client.get("/review/results.json")).json()
        html = (await client.get("/review/results")).text
        csv = (await client.get("/review/results.csv")).text
    (result,) = data["results"]
    assert result["verdicts"] == {"appropriate": 14, "inappropriate": 1, "malfunction": 1, "unsure": 0}
    assert (result["value"]["value"], result["value"]["judged"], result["value"]["covered"]) == (pytest.approx(14 / 15), 15, 1.0)
    assert result["value"]["effective"] is None  # every case of every stratum was judged
    assert [one["title"] for one in data["strata"]] == [STRATA[one["stratum"]] for one in data["strata"]]
    assert "15 of 16 agree" in html
    assert csv.splitlines()[1].startswith("quinine-avoid,16,16,0,14,1,1,0,0.9333")
    with closing(database(folder)) as opened:
        assert waiting(opened) == 0
        assert opened.one("SELECT count(*) AS n FROM review.verdict") == {"n": 33}


async def test_going_back_to_change_a_verdict(folder: Path) -> None:
    async with pages(folder, "Ann") as client:
        await draw(client)
        page = (await client.get("/review/queue.json?plan=1")).json()
        path = first_of(page, "first")
        following = (await client.post(path, data={"verdict": "unsure"})).headers["location"]
        text = (await client.get(following)).text
        back = re.search(r'<a href="(/review/cases/[^"]*)">Back to it', text)
        assert back is not None
        assert back[1].partition("?")[0] == path.partition("?")[0]
        assert "15 left for you" in text
        await client.post(back[1].replace("&amp;", "&"), data={"verdict": "appropriate"})
        cases = (await client.get("/review/queue.json?plan=1")).json()["plan"]["cases"]
    assert [one["mine"] for one in cases if one["mine"]] == ["appropriate"]


async def test_results_without_a_plan_say_so(folder: Path) -> None:
    async with pages(folder) as client:
        assert "There are no results, because no plan was drawn" in (await client.get("/review/results")).text
        await draw(client)
        page = await client.get("/review/results?card=quinine-avoid&since=2025-11&until=2025-11")
        assert "nobody has read a case twice" in page.text
        assert (await client.get("/review/results.json?since=2025-12")).json()["results"] == []


async def test_a_plan_knows_how_it_was_made(folder: Path) -> None:
    async with pages(folder, time_zone="Europe/London") as client:
        await draw(client)
    with closing(database(folder)) as opened:
        (plan,) = plans(opened)
    assert (plan.card, plan.month, plan.drawn) == ("quinine-avoid", 202511, 16)


async def test_cases_of_a_signal_are_of_its_client_since_its_change(folder: Path) -> None:
    days = SiteDays("UTC")
    with closing(database(folder)) as opened:
        last = next(iter(opened.rows("SELECT max(received_at) AS at FROM log.call")))["at"]
        day = days.day_of(last)
        step = {"fired": 20, "of": 60, "usual": 0.15, "usual_of": 400, "z": 4.4, "since": day}
        keep_findings(
            opened,
            [
                Finding("release_step", Place("", client, "quinine-avoid"), day, 4.4, step, "version 1.1.0")
                for client in ("anonymous", "another")
            ],
            [],
            last,
        )
    async with pages(folder) as client:
        assert f"{as_date(day)} to {as_date(day)}" in (await client.get("/review/queue?signal=1")).text
        answer = await client.post("/review/queue", data={"signal": "1"})
        plan = (await client.get("/review/queue.json?plan=1")).json()["plan"]
        assert (plan["signal"], plan["card"]) == (1, "quinine-avoid")
        # The same again is the same plan, and that of the month stands beside it. Shares are worked out of whole months alone.
        assert (await client.post("/review/queue", data={"signal": "1"})).headers["location"] == answer.headers["location"]
        assert (await client.get("/review/results.json")).json()["results"] == []
        assert (await draw(client)).headers["location"] == "/review/queue?plan=2"
        assert (await client.get("/review/results.json")).json()["results"][0]["drawn"] == 16
        other = await client.post("/review/queue", data={"signal": "2"})
        assert (other.status_code, "no case of this card in the days of this signal" in other.text) == (400, True)
        assert (await client.get("/review/queue?signal=99")).status_code == 404
        assert "signal=1" in (await client.get("/review/signals/1")).text
    with closing(database(folder)) as opened:
        drawn = samples(opened, 1)
        assert drawn
        assert {days.day_of(one.case.received_at) for one in drawn} == {day}


def test_a_month_ends_where_the_next_begins_in_the_time_zone_of_the_site() -> None:
    hour = 3600 * 1_000_000
    march = month_span(202603, ZoneInfo("Europe/London"))
    assert march.end - march.start == (31 * 24 - 1) * hour  # clocks go forward
    assert march.end == month_span(202604, ZoneInfo("Europe/London")).start
    assert month_span(202512, ZoneInfo("UTC")).end == month_span(202601, ZoneInfo("UTC")).start
    with pytest.raises(ValueError, match="month"):
        month_span(202513, ZoneInfo("UTC"))
