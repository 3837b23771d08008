"""The inbox of signals, one signal, and the digest, over the pages' own routes."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from starlette.applications import Starlette

from cds_service.alert_log import micros
from cds_service.cli.main import main
from cds_service.cli.signals import NEEDS_A_LOOK
from cds_service.database import Database, open_database
from cds_service.review.app import create_review_app
from cds_service.review.digest import WeekError, digest, markdown, week_days
from cds_service.review.routes import review_routes
from cds_service.review.site import Site
from cds_service.rollups.days import SiteDays
from cds_service.rollups.filter import Filter
from cds_service.rollups.rollup import roll_up
from cds_service.settings import Settings
from cds_service.signals.finding import Finding, Place
from cds_service.signals.inbox import signals
from cds_service.signals.store import keep
from tests.core import knowledge
from tests.review.fired_log import QUININE as QUININE_CALL
from tests.review.fired_log import fire, pages
from tests.review.sample_log import CLIENTS, NOW, TENANT, write_sample_log

Json = dict[str, Any]
Client = httpx2.AsyncClient
SAME = {"sec-fetch-site": "same-origin", "origin": "http://cds.example"}
DAYS = SiteDays("UTC")
QUININE = Place(TENANT, CLIENTS[1], "quinine-avoid")


def opened(folder: Path) -> Database:
    return open_database(folder / "alerts.sqlite3", folder / "review.sqlite3", limit_ms=None, writes_review=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A counted log with three signals."""
    folder = tmp_path_factory.mktemp("signals")
    write_sample_log(folder / "alerts.sqlite3", days=12, calls_a_day=30)
    step = {"fired": 20, "of": 60, "usual": 0.15, "usual_of": 400, "z": 4.4, "since": 20261119}
    stopped = {"hours": [9, 10], "calls": 0, "usual": 41}
    with closing(opened(folder)) as database:
        roll_up(database, DAYS, lambda: NOW)
        found = [
            Finding("release_step", QUININE, 20261124, 4.4, step, "version 1.1.0"),
            Finding("client_stopped", Place(TENANT, CLIENTS[0]), 20261112, 2.0, stopped),
            Finding("client_stopped", Place(TENANT, CLIENTS[1]), 20261126, 2.0, stopped),
        ]
        keep(database, found, [], micros(NOW))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it to write to."""
    return Path(shutil.copytree(made, tmp_path / "log"))


@pytest_asyncio.fixture
async def client(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    site = Site(Settings(log_path=folder / "alerts.sqlite3"), knowledge(), lambda: NOW)
    monkeypatch.setattr(site, "begin", lambda: None)  # the threads have tests of their own
    app = Starlette(routes=review_routes(site))
    async with Client(transport=httpx2.ASGITransport(app=app), base_url="http://cds.example", headers=SAME) as one:
        await one.post("/review/queue", data={"reviewer": "reviewer 1"})
        yield one
    site.close()


async def inbox(client: Client, query: str = "") -> Json:
    answer = await client.get(f"/review/signals.json{query}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def act(client: Client, number: int, expected: int = 303, **form: str) -> str:
    answer = await client.post(f"/review/signals/{number}", data=form)
    assert answer.status_code == expected, answer.text
    return str(answer.headers.get("location", answer.text))


async def test_the_inbox_says_each_signal_in_a_sentence(client: Client) -> None:
    found = await inbox(client)
    assert [one["says"] for one in found["signals"]] == [
        f"quinine-avoid fires 2.2 × as often at {CLIENTS[1]} (north) since version 1.1.0 (19 Nov 2026): 20 of 60 evaluations, "
        "before 15.0 %",
        f"No calls from {CLIENTS[1]} (north): 2 h, from 09:00, usual 41 an hour",
        f"No calls from {CLIENTS[0]} (north): 2 h, from 09:00, usual 41 an hour",
    ]
    assert found["counts"] == {"new": 3, "regressed": 0, "ongoing": 0, "archived": 0, "resolved": 0, "open": 3, "all": 3}
    assert found["log"]["open_signals"] == 3
    page = (await client.get("/review/signals")).text
    assert len(re.findall("data-archive", page)) == 3
    csv = (await client.get("/review/signals.csv")).text.splitlines()
    assert csv[0].startswith("id,state,kind,says")
    assert len(csv) == 4
    overview = (await client.get("/review.json")).json()
    assert overview["signals"]["open"] == 3
    assert (await client.get("/review/signals?state=asleep")).status_code == 400


async def test_archive_and_undo(client: Client) -> None:
    number = (await inbox(client))["signals"][0]["id"]
    back = await act(client, number, what="archived", at="0")
    assert back == f"/review/signals?archived={number}&at=0"
    assert "Undo" in (await client.get(back)).text
    assert (await inbox(client, "?state=archived"))["signals"][0]["id"] == number
    assert (await inbox(client))["counts"]["open"] == 2
    await act(client, number, what="reopened")
    assert (await inbox(client))["counts"]["ongoing"] == 1


async def test_every_change_is_a_row_with_who_when_and_what(client: Client) -> None:
    number = (await inbox(client))["signals"][0]["id"]
    await act(client, number, what="assigned", value="nurse 2")
    await act(client, number, what="due", value="2026-11-20")
    await act(client, number, what="axes", cause="build", discovery="firing_data", initiation="version", effect="over")
    await act(client, number, what="comment", value="nine days are too few")
    page = (await client.get(f"/review/signals/{number}.json")).json()
    assert [(one["who"], one["what"]) for one in page["entries"]] == [
        *(("reviewer 1", what) for what in ("comment", "axes", "due", "assigned")),
        ("", "axes"),
    ]
    assert {one["at"] for one in page["entries"]} == {"2026-11-27 15:00+00:00"}
    assert page["entries"][1]["value"].startswith("Cause: The rule was built wrong; Mode of discovery: Review of firing data")
    signal = page["signal"]
    assert (signal["state"], signal["assignee"], signal["due"], signal["overdue"]) == ("ongoing", "nurse 2", "2026-11-20", True)
    assert signal["cause"] == "build"


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"what": "axes", "cause": "moon"}, "Cause must be one of those listed"),
        ({"what": "due", "value": "soon"}, "Give the due date as 2026-12-24"),
        ({"what": "comment", "value": " "}, "The comment is empty"),
        ({"what": "deleted"}, "There is no such action"),
        ({"what": "resolved"}, "0 of 5 later cases were judged appropriate so far"),
        ({"what": "resolved", "backtest": "../../etc"}, "There is no finished backtest with this id"),
        ({"what": "resolved", "backtest": "abc123"}, "There is no finished backtest with this id"),
    ],
)
async def test_what_can_not_be_done_is_said(client: Client, form: dict[str, str], says: str) -> None:
    number = (await inbox(client))["signals"][0]["id"]
    assert says in await act(client, number, 400, **form)
    assert (await inbox(client))["counts"]["new"] == 3


async def test_closing_takes_later_cases_that_were_seen_right(client: Client, folder: Path) -> None:
    number = (await inbox(client))["signals"][0]["id"]
    with closing(opened(folder)) as database:
        calls = database.rows(
            "SELECT id, received_at FROM log.call WHERE client = :client AND received_at >= :after ORDER BY received_at",
            client=database.names.id(CLIENTS[1]),
            after=DAYS.bounds(20261125).start,
        )
        for one in calls[:5]:
            judge(database, one, "appropriate")
        judge(database, calls[5], "inappropriate")
        assert "1 later cases were judged, and not as appropriate" in await act(client, number, 400, what="resolved")
        judge(database, calls[5], "appropriate")  # the newest verdict of a reviewer counts
    await act(client, number, what="resolved")
    page = (await client.get(f"/review/signals/{number}.json")).json()
    assert page["entries"][0]["value"] == "6 later cases seen right"
    assert page["signal"]["state"] == "resolved"


def judge(database: Database, call: Json, verdict: str) -> None:
    database.execute(
        "INSERT INTO review.verdict (at, call_id, received_at, card, nth, plan, reviewer, verdict, response, cause, harm, "
        "five_rights, comment, role) VALUES (0, :id, :received_at, 'quinine-avoid', 1, NULL, 'reviewer 1', :verdict, '', '', '', "
        "'', '', 'first')",
        verdict=verdict,
        **call,
    )


async def test_what_is_about_no_card_is_closed_after_a_quiet_week(client: Client) -> None:
    lately, before = (await inbox(client))["signals"][1:]
    assert "it was seen within the last 7 days" in await act(client, lately["id"], 400, what="resolved")
    await act(client, before["id"], what="resolved")
    assert (await inbox(client))["counts"]["resolved"] == 1


async def test_several_at_once_are_asked_for_first(client: Client) -> None:
    ids = [one["id"] for one in (await inbox(client))["signals"][:2]]
    form = {"what": "archived", **{f"id_{number}": "on" for number in ids}}
    asked = await client.post("/review/signals", data=form)
    assert asked.status_code == 200
    assert "2 signals" in asked.text
    assert (await inbox(client))["counts"]["archived"] == 0
    assert (await client.post("/review/signals", data={**form, "confirm": "yes"})).status_code == 303
    assert (await inbox(client))["counts"]["archived"] == 2
    assert (await client.post("/review/signals", data={"what": "archived"})).status_code == 400
    assert (await client.post("/review/signals", data={"what": "deleted", "id_1": "on"})).status_code == 400


async def test_a_malfunction_opens_a_signal_with_its_axes(tmp_path: Path) -> None:
    await fire(tmp_path, [(QUININE_CALL, ""), (QUININE_CALL, "")])
    with closing(opened(tmp_path)) as log:
        calls = [bytes(row["id"]).hex() for row in log.rows("SELECT id FROM log.call ORDER BY received_at")]
    async with pages(tmp_path, "reviewer 1") as client:
        for call, cause in zip(calls, ("wrong_threshold", "wrong_threshold"), strict=True):
            path = f"/review/cases/{call}/quinine-avoid/1"
            answer = await client.post(path, data={"verdict": "malfunction", "cause": cause})
            assert answer.status_code == 303, answer.text
        (found,) = (await inbox(client))["signals"]
        assert found["says"] == "2 cases were judged a malfunction: quinine-avoid at anonymous"
        assert (found["cause"], found["discovery"], found["state"]) == ("build", "cases", "new")
        await client.post(path, data={"verdict": "appropriate"})
        (found,) = (await inbox(client))["signals"]
        assert found["says"].startswith("A case was judged a malfunction")


async def test_the_digest_tells_the_week(client: Client) -> None:
    page = (await client.get("/review/digest.json?week=2026-W47")).json()
    assert page["digest"]["first"] == 20261116
    assert page["digest"]["suppressed"] is False
    assert sum(one["shown"] for one in page["digest"]["cards"][:-1]) == page["digest"]["cards"][-1]["shown"] > 0
    assert "## Signals\n\nNow: new 3.\n\nNew in this week:\n\n- none" in page["markdown"]
    newest = (await client.get("/review/digest.json?week=2026-W48")).json()["markdown"]
    assert "- quinine-avoid fires 2.2 × as often" in newest
    assert (await client.get("/review/digest?week=2026-48")).status_code == 400


async def test_changes_that_name_a_signal_stand_with_it_and_in_the_digest(client: Client, folder: Path) -> None:
    number = (await inbox(client))["signals"][0]["id"]
    with closing(opened(folder)) as database:
        database.execute(
            "INSERT INTO review.change (at, author, card, card_hash, candidate, base, backtest, signal, why) "
            "VALUES (:at, 'nurse 2', 'quinine-avoid', '', 'aa', 'bb', '', :signal, 'too few days')",
            at=micros(NOW),
            signal=number,
        )
    page = (await client.get(f"/review/signals/{number}.json")).json()
    assert [(one["card"], one["state"]) for one in page["changes_of_it"]] == [("quinine-avoid", "open")]
    digest = (await client.get("/review/digest.json?week=2026-W48")).json()
    assert digest["digest"]["proposed"] == [f"change 1 of quinine-avoid for signal {number}: open, signed by nobody"]


def test_a_digest_of_several_tenants_hides_small_counts(folder: Path) -> None:
    with closing(opened(folder)) as database:
        database.execute("UPDATE review.daily_call SET tenant = 0 WHERE day = 20261117")
        found = digest(database, Filter(20261116, 20261122), knowledge(), DAYS, signals(database, DAYS, 20261127), 20261127)
    text = markdown(found, "UTC")
    assert found.suppressed
    assert "under 11" in text
    cells = [cell for line in found.cards for cell in (line.accepted, line.overridden, line.unanswered, line.shown)]
    assert not [cell for cell in cells if cell is not None and 0 < cell < 11]
    assert "20 of 60" not in text


def test_weeks() -> None:
    assert week_days("", 20261127) == (20261116, 20261122)
    assert week_days("2026-W01", 20261127) == (20251229, 20260104)
    for wrong in ("2026", "2026-W60", "2026-11-16", "2026-W47-3", "week"):
        with pytest.raises(WeekError):
            week_days(wrong, 20261127)


async def test_the_metric_of_the_pages(folder: Path) -> None:
    app = create_review_app(Settings(log_path=folder / "alerts.sqlite3"), clock=lambda: NOW)
    async with Client(transport=httpx2.ASGITransport(app=app), base_url="http://cds.example") as one:
        answer = await one.get("/metrics")
    assert answer.status_code == 200
    assert "cds_signals_open" in answer.text


def test_the_commands(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CDS_LOG_PATH", str(folder / "alerts.sqlite3"))
    monkeypatch.setattr("cds_service.cli.signals.utc_now", lambda: NOW + timedelta(days=60))  # no detector looks at those days
    assert main(["signals"]) == NEEDS_A_LOOK
    told = capsys.readouterr().out
    assert "new        quinine-avoid fires 2.2 × as often" in told
    assert told.splitlines()[-1].startswith("3 open; ")
    assert main(["signals", "--prometheus"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "cds_signals_open 3"
    assert main(["digest", "--week", "2026-W48"]) == 0
    assert "# Week 2026-W48" in capsys.readouterr().out
    assert main(["digest", "--week", "48"]) == 2
