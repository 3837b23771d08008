"""A reader of some clients sees the records of these alone: figures, rows, cases, JSON, CSV, on both databases."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import pytest_asyncio

from cds_service.alert_log import micros
from cds_service.database import OutOfScopeError, ScopedDatabase, open_database
from cds_service.database.scope import narrowed
from cds_service.exports.formats import FORMATS
from cds_service.review.case import find_case
from cds_service.review.pages import PAGES
from cds_service.review.site import Site
from cds_service.rollups.days import SiteDays
from cds_service.rollups.filter import Filter
from cds_service.rollups.log_rows import newest
from cds_service.rollups.queries import card_counts, evaluation_counts, facets
from cds_service.rollups.rollup import roll_up
from cds_service.signals.finding import Finding, Place
from cds_service.signals.store import keep
from tests.access.people import Clock, a_site, add_person, form_token, review_database, sign_in
from tests.log_tables import postgres_database
from tests.review.sample_log import CLIENTS, NOW, TENANT, write_sample_log
from tests.shipping.test_link import ship_all

MINE, OTHER = CLIENTS
PATHS = ("", "/cards", "/cards/quinine-avoid", "/log", "/queue", "/results", "/reasons", "/data", "/clients")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A counted log of two clients, with readers of all, of one and of no client."""
    made = tmp_path_factory.mktemp("scope")
    write_sample_log(made / "alerts.sqlite3", days=9)
    database = review_database(made)
    roll_up(database, SiteDays("UTC"), lambda: NOW)
    database.close()
    return made


@pytest_asyncio.fixture
async def browsers(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, httpx2.AsyncClient]]:
    """Browsers of readers by name: all, mine, tenant, none."""
    monkeypatch.setattr(
        Site, "begin", lambda _: None
    )  # the log is counted; the thread that looks for signals would delete made ones
    for name in ("alerts.sqlite3", "review.sqlite3"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    scopes: dict[str, dict[str, Any]] = {
        "all": {},
        "mine": {"clients": [MINE]},
        "tenant": {"tenants": [TENANT]},
        "elsewhere": {"tenants": ["south"]},
        "none": {"clients": []},
    }
    with a_site(tmp_path, Clock()) as browser:
        made = {}
        with closing(review_database(tmp_path)) as database:
            for name, scope in scopes.items():
                made[name] = browser()
                secret = add_person(database, name, "reviewer", **scope)
                assert (await sign_in(made[name], name, secret)).status_code == 303
        yield made
        for one in made.values():
            await one.aclose()


async def got(client: httpx2.AsyncClient, path: str) -> str:
    answer = await client.get(f"/review{path}")
    assert answer.status_code == 200, answer.text
    return re.sub(r'name="form_token" value="\w+"|class="who">.*?</span>', "", answer.text)


async def figures(client: httpx2.AsyncClient, path: str) -> Any:
    """The data of a page without what tells the moment."""
    answer = await client.get(f"/review{path}")
    assert answer.status_code == 200, answer.text
    return {name: value for name, value in answer.json().items() if name not in ("log", "period")}


def address(path: str, ending: str = "", query: str = "") -> str:
    return f"{path}{ending}" + (f"?days=9{query}" if path not in ("/queue", "/results") else "")


@pytest.mark.parametrize("path", PATHS)
async def test_no_page_names_or_counts_another_client(browsers: dict[str, httpx2.AsyncClient], path: str) -> None:
    assert path in {page.path.replace("{card}", "quinine-avoid") for page in PAGES}
    only_mine = f"&client={quote(MINE)}"
    filtered = path not in ("/queue", "/results")
    for ending in ("", ".json", ".csv"):
        page = next(page for page in PAGES if page.path.replace("{card}", "quinine-avoid") == path)
        if ending == ".csv" and not page.csv:
            continue
        mine = await got(browsers["mine"], address(path, ending))
        assert OTHER not in mine
        assert quote(OTHER, safe="") not in mine
        if filtered and ending == ".json":
            whole = await figures(browsers["all"], address(path, ending))
            narrow = await figures(browsers["mine"], address(path, ending))
            wanted = await figures(browsers["all"], address(path, ending, only_mine))
            assert narrow != whole
            # Links and facets say which filter was asked for; the figures are those of one client.
            assert figures_of(narrow) == figures_of(wanted)
            if path != "/clients":  # which has refusals of callers whom nobody knows, so of no tenant
                assert figures_of(await figures(browsers["tenant"], address(path, ending))) == figures_of(whole)


def figures_of(data: Any) -> Any:
    """The data without facets and links."""
    if isinstance(data, dict):
        return {
            name: figures_of(value)
            for name, value in data.items()
            if name not in ("facets", "link", "links", "by", "views", "waiting", "ignored", "quarantined", "empty")
        }
    return [figures_of(one) for one in data] if isinstance(data, list) else data


@pytest.mark.parametrize("reader", ["elsewhere", "none"])
async def test_who_may_see_no_client_sees_nothing(browsers: dict[str, httpx2.AsyncClient], reader: str) -> None:
    for path in PATHS:
        page = await got(browsers[reader], address(path))
        assert not any(client in page for client in CLIENTS)
    assert (await figures(browsers[reader], "/log.json?days=9"))["rows"] == []
    tiles = (await figures(browsers[reader], ".json?days=9"))["tiles"]
    assert tiles["shown"]["value"] in (0, None) if isinstance(tiles["shown"], dict) else tiles["shown"] == 0


async def test_asking_for_another_client_gives_nothing(browsers: dict[str, httpx2.AsyncClient]) -> None:
    found = await figures(browsers["mine"], f"/log.json?days=9&client={quote(OTHER)}")
    assert found["rows"] == []
    both = await figures(browsers["mine"], f"/log.json?days=9&client={quote(OTHER)}&client={quote(MINE)}")
    assert both["rows"]
    assert {one["client"] for one in both["rows"]} == {MINE}


async def test_a_case_of_another_client_is_not_there(browsers: dict[str, httpx2.AsyncClient], folder: Path) -> None:
    rows = (await figures(browsers["all"], "/log.json?days=9"))["rows"]
    paths = {client: next(one["path"] for one in rows if one["client"] == client) for client in CLIENTS}
    for ending in ("", ".json", "/reveal"):
        assert (await browsers["mine"].get(paths[OTHER] + ending)).status_code == 404
    assert (await browsers["mine"].get(paths[MINE] + "/reveal")).status_code == 200
    with closing(review_database(folder)) as database:
        call, card, nth = paths[MINE].split("/")[-3:]
        mine = ScopedDatabase(database, [MINE], None)
        assert find_case(mine, call, card, int(nth)) == find_case(database, call, card, int(nth))


def counted_of(database: Any) -> tuple[Any, ...]:
    chosen = Filter.of()
    return (
        sorted((str(one.of), one.shown, one.accepted) for one in card_counts(database, chosen, ("card", "client"))),
        [(one.of, one.fired) for one in evaluation_counts(database, chosen, ("client",))],
        facets(database, chosen, ("client", "card")),
        [(one.client, one.call_id) for one in newest(database, SiteDays("UTC"), chosen, limit=20).rows],
        database.rows("SELECT count(*) AS n FROM log.call"),
        database.rows("SELECT client FROM log.call GROUP BY client"),
        database.rows("SELECT count(*) AS n FROM log.feedback f LEFT JOIN log.card c ON c.uuid = f.card_uuid"),
        database.rows("SELECT count(*) AS n FROM review.sample s JOIN review.verdict AS v ON v.call_id = s.call_id"),
        database.rows("SELECT count(*) AS n FROM review.signal_sighting"),
        database.rows("SELECT count(*) AS n FROM review.body_code"),
    )


def test_statements_are_narrowed_alike_on_sqlite(folder: Path) -> None:
    with closing(review_database(folder)) as database:
        mine = counted_of(ScopedDatabase(database, [MINE], None))
        assert mine != counted_of(database)
        assert {one[0] for one in mine[2]["client"]} == {MINE}
        assert counted_of(ScopedDatabase(database, None, [TENANT])) == counted_of(database)
        assert counted_of(ScopedDatabase(database, None, None)) == counted_of(database)


@pytest.mark.loopback
def test_statements_are_narrowed_alike_on_postgres(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "alerts.sqlite3").write_bytes((folder / "alerts.sqlite3").read_bytes())
    with postgres_database() as url:
        ship_all(tmp_path / "alerts.sqlite3", url)
        with closing(open_database(tmp_path / "alerts.sqlite3", tmp_path / "review", url, writes_review=True)) as database:
            roll_up(database, SiteDays("UTC"), lambda: NOW)
            found = counted_of(ScopedDatabase(database, [MINE], None))
            with closing(review_database(folder)) as files:
                wanted = counted_of(ScopedDatabase(files, [MINE], None))
            assert found[:5] == wanted[:5]
            assert counted_of(ScopedDatabase(database, [], None))[4] == [{"n": 0}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM review.audit",
        "SELECT * FROM review.account",
        "SELECT * FROM log.something_new",
        "SELECT * FROM log.call, log.card",
        "SELECT * FROM log.sqlite_master",
    ],
)
def test_what_is_not_known_to_be_of_a_client_is_refused(sql: str) -> None:
    with pytest.raises(OutOfScopeError):
        narrowed(sql, (1,), None)
    assert narrowed(sql, None, None) == sql


@pytest.mark.parametrize("closed", ["review.stratum", "review.saved_view"])
def test_what_counts_all_clients_is_closed(folder: Path, closed: str) -> None:
    with closing(review_database(folder)) as database:
        database.execute("INSERT INTO review.saved_view (name, url, made_at) VALUES ('a', 'client=b', 1)")
        database.execute("INSERT INTO review.stratum VALUES (7, 'accepted', 9, 3) ON CONFLICT DO NOTHING")
        assert database.rows(f"SELECT * FROM {closed}")  # noqa: S608
        assert ScopedDatabase(database, [MINE], None).rows(f"SELECT * FROM {closed}") == []  # noqa: S608
        database.execute("DELETE FROM review.saved_view")
        database.execute("DELETE FROM review.stratum")


async def test_signals_of_another_client_are_not_there(tmp_path: Path, browsers: dict[str, httpx2.AsyncClient]) -> None:
    step = {"fired": 20, "of": 60, "usual": 0.15, "usual_of": 400, "z": 4.4, "since": 20261119}
    stopped = {"hours": [9, 10], "calls": 0, "usual": 41}
    with closing(review_database(tmp_path)) as database:
        found = [
            Finding("release_step", Place(TENANT, MINE, "quinine-avoid"), 20261124, 4.4, step, "version 1.1.0"),
            Finding("release_step", Place(TENANT, OTHER, "quinine-avoid"), 20261124, 5.4, step, "version 1.1.0"),
            Finding("client_stopped", Place(TENANT, OTHER), 20261126, 2.0, stopped),
        ]
        keep(database, found, [], micros(NOW))
    inbox = (await figures(browsers["all"], "/signals.json"))["signals"]
    ids = {(one["client"], one["kind"]): one["id"] for one in inbox}
    assert len(ids) == 3
    mine = ids[MINE, "release_step"]
    for ending in ("", ".json", ".csv"):
        assert OTHER not in await got(browsers["mine"], f"/signals{ending}")
        assert OTHER not in await got(browsers["mine"], f"/signals/{mine}{ending}")
    assert [one["id"] for one in (await figures(browsers["mine"], "/signals.json"))["signals"]] == [mine]
    assert (await figures(browsers["mine"], "/signals.json"))["counts"]["all"] == 1
    assert (await figures(browsers["elsewhere"], "/signals.json"))["signals"] == []
    page = await got(browsers["mine"], f"/signals/{mine}")
    assert not any(f'"/review/{closed}' in page for closed in ("cards/quinine-avoid/what-if", "backtests", "changes", "digest"))
    other = ids[OTHER, "client_stopped"]
    token = await form_token(browsers["mine"], f"/signals/{mine}")
    for ending in ("", ".json", ".csv"):
        assert (await browsers["mine"].get(f"/review/signals/{other}{ending}")).status_code == 404
    form = {"what": "archived", "form_token": token}
    assert (await browsers["mine"].post(f"/review/signals/{other}", data=form)).status_code == 404
    several = {**form, "confirm": "yes", f"id_{other}": "on", f"id_{mine}": "on"}
    assert (await browsers["mine"].post("/review/signals", data=several)).status_code == 303
    states = {one["id"]: one["state"] for one in (await figures(browsers["all"], "/signals.json?state=all"))["signals"]}
    assert (states[mine], states[other]) == ("archived", "new")


async def test_an_export_has_the_records_of_its_reader_alone(browsers: dict[str, httpx2.AsyncClient]) -> None:
    for name in (one.name for one in FORMATS.values() if one.role in ("viewer", "reviewer") and one.ending != "parquet"):
        answers = {}
        for reader in ("all", "mine", "elsewhere"):
            form = {"format": name, "reason": "a test", "form_token": await form_token(browsers[reader], "/exports")}
            answer = await browsers[reader].post("/review/exports?days=9", data=form)
            assert answer.status_code == 200, name
            answers[reader] = answer.text
        assert OTHER not in answers["mine"], name
        assert not any(client in answers["elsewhere"] for client in CLIENTS), name
        assert len(answers["elsewhere"]) <= len(answers["mine"]) <= len(answers["all"]), name
        if OTHER in answers["all"]:
            assert MINE in answers["mine"], name


async def test_a_plan_is_drawn_by_somebody_who_may_see_all_clients(browsers: dict[str, httpx2.AsyncClient]) -> None:
    """There is one of a card and month, so one that is drawn from some clients would take the place of the whole."""
    for reader, status in (("mine", 403), ("tenant", 403), ("all", 303)):
        page = await got(browsers[reader], "/queue")
        assert (">Draw</button>" in page) == (reader == "all")
        form = {"card": "quinine-avoid", "month": "2026-11", "form_token": await form_token(browsers[reader], "/sign-out")}
        answer = await browsers[reader].post("/review/queue", data=form)
        assert answer.status_code == status, answer.text
        if status == 403:
            assert "drawn from the cases of all clients" in answer.text
    plans = [(await figures(browsers[reader], "/queue.json"))["plans"][0] for reader in ("all", "mine")]
    assert 0 < plans[1]["drawn"] < plans[0]["drawn"]
    assert plans[1]["first"] == plans[1]["drawn"]
    assert (await figures(browsers["elsewhere"], "/queue.json"))["plans"] == []
