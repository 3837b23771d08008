"""The pages on a made-up log: their figures are those that a plain look at its rows gives, in each form, and filters hold."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from html import unescape
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import pytest_asyncio
from starlette.applications import Starlette

from cds_service.database import open_database
from cds_service.review.definitions import DEFINITIONS
from cds_service.review.page import PageRoute
from cds_service.review.pages import PAGES
from cds_service.review.routes import review_routes
from cds_service.review.site import Site
from cds_service.rollups.days import SiteDays
from cds_service.rollups.rollup import roll_up
from cds_service.settings import Settings
from tests.core import knowledge
from tests.review.sample_log import CLIENTS, NOW, SampleLog, write_sample_log

QUININE = "quinine-avoid"
Json = dict[str, Any]
Client = httpx2.AsyncClient
# The pages of this module's subject; others are tested with what they show.
PATHS = ("", "/cards", f"/cards/{QUININE}", "/reasons", "/data", "/clients", "/definitions")


def counted(folder: Path) -> None:
    """Count the log of the folder, as the pages' process does."""
    database = open_database(folder / "alerts.sqlite3", folder / "review.sqlite3", limit_ms=None, writes_review=True)
    with closing(database):
        roll_up(database, SiteDays("UTC"), lambda: NOW)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A counted log of five weeks."""
    made = tmp_path_factory.mktemp("log")
    write_sample_log(made / "alerts.sqlite3", days=34)
    counted(made)
    return made


async def client_of(folder: Path, pages: tuple[PageRoute, ...] = PAGES) -> AsyncIterator[Client]:
    site = Site(Settings(log_path=folder / "alerts.sqlite3"), knowledge(), lambda: NOW)
    app = Starlette(routes=review_routes(site, pages))
    async with Client(transport=httpx2.ASGITransport(app=app), base_url="http://cds.example") as one:
        yield one
    site.close()


@pytest_asyncio.fixture
async def client(folder: Path) -> AsyncIterator[Client]:
    async for one in client_of(folder):
        yield one


async def got(client: Client, path: str) -> Json:
    answer = await client.get(f"/review{path}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


class Rows:
    """The rows of the log of the last 28 days, names as texts."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "alerts.sqlite3")
        self._connection.row_factory = sqlite3.Row
        self._names = dict(self._connection.execute("SELECT id, text FROM name").fetchall())
        self.cards = self._all("card", "card", "client", "hook", "state", "mode", "indicator", "version")
        self.calls = self._all("call", "client", "hook", "outcome")
        feedback = self._connection.execute("SELECT * FROM feedback ORDER BY outcome_at").fetchall()
        self._feedback = {one["card_uuid"]: one for one in feedback}
        self.shown = [card for card in self.cards if card["state"] == "shown"]

    def _all(self, table: str, *names: str) -> list[Json]:
        since = int((NOW.replace(hour=0)).timestamp() - 27 * 86_400) * 1_000_000
        found = self._connection.execute(f"SELECT * FROM {table} WHERE received_at >= ?", (since,)).fetchall()  # noqa: S608
        return [dict(row) | {name: self._names[row[name]] for name in names} for row in found]

    def response(self, card: Json) -> str:
        found = self._feedback.get(card["uuid"])
        return self._names[found["outcome"]] if found else "none"

    def reason(self, card: Json) -> str:
        return str(self._names[self._feedback[card["uuid"]]["reason_code"]])

    def outcomes(self, card: str) -> Counter[str]:
        sets: Counter[str] = Counter()
        for call in self.calls:
            for row in self._connection.execute("SELECT * FROM outcome_of_set WHERE set_id = ?", (call["outcome_set"],)):
                if self._names[row["card"]] == card:
                    sets[self._names[row["outcome"]]] += row["n"]
        return sets

    def missing(self) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for call in self.calls:
            for row in self._connection.execute("SELECT * FROM missing_of_set WHERE set_id = ?", (call["missing_set"],)):
                found[self._names[row["criterion"]], self._names[row["cause"]]] += row["n"]
        return found

    def orders(self) -> int:
        """Orders whose first call lies in the period."""
        since = min(call["received_at"] for call in self.calls)
        rows = self._connection.execute("SELECT min(received_at) AS first FROM ordered GROUP BY order_key").fetchall()
        return sum(row["first"] >= since for row in rows)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def rows(folder: Path) -> Iterator[Rows]:
    found = Rows(folder)
    yield found
    found.close()


@pytest.mark.parametrize("path", PATHS)
async def test_each_page_is_html_and_json_and_has_csv_where_it_says_so(client: Client, path: str) -> None:
    html = await client.get(f"/review{path}")
    assert html.status_code == 200
    assert (await got(client, f"{path}.json"))["title"] in html.text
    offered = re.findall(r'href="(/review[^"]*\.(?:json|csv)[^"]*)"', html.text)
    assert f"/review{path}.json" in offered
    for address in offered:
        assert (await client.get(address)).status_code == 200


@pytest.mark.parametrize("path", PATHS)
async def test_no_page_has_a_script_or_style_of_its_own_or_a_chart_without_words(client: Client, path: str) -> None:
    text = (await client.get(f"/review{path}")).text
    assert re.findall(r"<style|<script(?! src)| style=| on[a-z]+=", text) == []
    for chart in re.findall(r"<svg[^>]*>", text):
        assert "aria-label=" in chart or 'aria-hidden="true"' in chart


@pytest.mark.parametrize("path", PATHS)
async def test_every_link_of_a_page_leads_somewhere(client: Client, path: str) -> None:
    links = set(re.findall(r'href="(/review[^"#]*)', (await client.get(f"/review{path}")).text))
    for link in sorted(links):
        assert (await client.get(unescape(link))).status_code == 200, link


async def test_a_number_leads_to_that_many_records(client: Client, rows: Rows) -> None:
    page = await got(client, f"/cards/{QUININE}.json?days=7")
    asked = [one for name in ("hook", "client", "version", "indicator", "held_back") for one in page["by"][name]]
    assert len(asked) > 5
    for one in asked:
        path, _, query = one["link"].partition("?")
        found = await got(client, f"{path.removeprefix('/review')}.json?{query}")
        assert len(found["rows"]) == min(one["n"], 50), one


async def test_every_figure_links_to_a_definition_that_is_there(client: Client) -> None:
    linked = set()
    for path in PATHS:
        linked |= set(re.findall(r'href="/review/definitions#([^"]+)"', (await client.get(f"/review{path}")).text))
    assert linked <= DEFINITIONS.keys()
    assert {"acceptance", "coverage", "override", "per_100_orders", "fire_rate", "could_not_check", "laney"} <= linked


async def test_the_overview_counts_what_the_log_holds(client: Client, rows: Rows) -> None:
    tiles = (await got(client, ".json"))["tiles"]
    answered = [card for card in rows.shown if rows.response(card) != "none"]
    about_orders = sum(card["order_key"] is not None for card in rows.shown)
    assert tiles["shown"] == len(rows.shown)
    assert numbers(tiles["per_100_orders"]) == (about_orders, rows.orders())
    assert numbers(tiles["coverage"]) == (len(answered), len(rows.shown))
    assert numbers(tiles["acceptance"]) == (sum(rows.response(card) == "accepted" for card in answered), len(answered))
    assert tiles["latency"]["calls"] == len(rows.calls)


def numbers(rate: Json) -> tuple[int, int]:
    if rate["value"] is not None:
        assert rate["low"] <= rate["value"] <= rate["high"]
        assert rate["value"] == pytest.approx(rate["per"] * rate["numerator"] / rate["denominator"])
    return rate["numerator"], rate["denominator"]


async def test_the_weeks_of_a_card_add_up_to_what_was_shown(client: Client, rows: Rows) -> None:
    page = await got(client, ".json?days=84")
    assert [week["since"] % 10_000 for week in page["weeks"]][-2:] == [1116, 1123]
    for card in page["cards"]:
        assert len(card["weeks"]) == 12
        assert sum(card["weeks"]) == card["shown"]


async def test_a_new_version_is_what_changed(client: Client) -> None:
    page = await got(client, ".json")
    assert [one["which"] for one in page["changes"]] == ["Avoid quinine for cramps: 1.1.0"]


async def test_the_table_of_cards_has_the_figures_of_each(client: Client, rows: Rows) -> None:
    page = await got(client, "/cards.json")
    assert {one["card"]: one["shown"] for one in page["cards"]} == Counter(card["card"] for card in rows.shown)
    for one in page["cards"]:
        outcomes = rows.outcomes(one["card"])
        met = outcomes["fired"] + outcomes["repeated"]
        assert numbers(one["fire_rate"]) == (met, met + outcomes["not_fired"])
        unchecked = outcomes["could_not_check"]
        assert numbers(one["could_not_check"]) == (unchecked, met + outcomes["not_fired"] + unchecked)
        own = [card for card in rows.shown if card["card"] == one["card"]]
        overridden = [card for card in own if rows.response(card) == "overridden"]
        assert numbers(one["override"]) == (len(overridden), len(own))
        assert one["override"]["low"] == len(overridden) / len(own)
        assert one["override"]["high"] == pytest.approx(1 - sum(rows.response(card) == "accepted" for card in own) / len(own))
        assert numbers(one["reasoned"]) == (sum(rows.reason(card) != "" for card in overridden), len(overridden))


@pytest.mark.parametrize("column", ["title", "shown", "acceptance", "per_100_orders", "override"])
async def test_the_table_is_sorted_by_a_link(client: Client, column: str) -> None:
    down, up = [[one["card"] for one in (await got(client, f"/cards.json?sort={sign}{column}"))["cards"]] for sign in ("-", "")]
    assert down == up[::-1]
    text = (await client.get(f"/review/cards?sort=-{column}")).text
    assert len(re.findall('aria-sort="descending"', text)) == 1
    assert f"/review/cards?days=28&amp;sort={column}" in text


async def test_a_day_of_a_card_is_what_the_log_holds_and_its_bars_lead_to_the_records(client: Client, rows: Rows) -> None:
    page = await got(client, f"/cards/{QUININE}.json")
    outcomes = rows.outcomes(QUININE)
    met = outcomes["fired"] + outcomes["repeated"]
    assert sum(day["fired"] for day in page["days"]) == met == page["fired"]
    assert sum(day["evaluated"] for day in page["days"]) == met + outcomes["not_fired"]
    own = [card for card in rows.shown if card["card"] == QUININE]
    for name in ("hook", "client", "indicator", "version"):
        found = {one["name"]: one["n"] for one in page["by"][name]}
        assert found == Counter(card[name] for card in own)
        for one in page["by"][name]:
            asked = parse_qs(urlsplit(one["link"]).query)
            assert asked["card"] == [QUININE]
            assert asked[name] == [one["name"]]
            assert (asked["mode"], asked["state"], asked["days"]) == (["live"], ["shown"], ["28"])
    assert page["concentration"]["denominator"] == len(own)


async def test_limits_begin_anew_with_a_version(client: Client) -> None:
    page = await got(client, f"/cards/{QUININE}.json")
    assert [one["version"] for one in page["versions"]] == ["1.1.0"]
    [begins] = [one["day"] for one in page["versions"]]
    centres = {(day["day"] >= begins, day["centre"]) for day in page["days"] if day["rate"] is not None}
    assert len(centres) == 2
    assert "Version 1.1.0 begins on" in (await client.get(f"/review/cards/{QUININE}")).text


async def test_reasons_are_those_of_the_feedback(client: Client, rows: Rows) -> None:
    page = await got(client, "/reasons.json")
    overridden = [card for card in rows.shown if rows.response(card) == "overridden"]
    counts = Counter((card["card"], rows.reason(card)) for card in overridden)
    assert {(one["card"], one["reason"]): one["overridden"] for one in page["reasons"]} == counts
    assert page["overridden"] == len(overridden)


async def test_what_was_missing_is_listed_by_client(client: Client, rows: Rows) -> None:
    page = await got(client, "/data.json")
    assert {(one["criterion"], one["cause"]): one["n"] for one in page["missing"]} == rows.missing()
    for one in page["missing"]:
        assert sum(one["clients"]) + one["other_clients"] == one["n"] == sum(card["n"] for card in one["cards"])


async def test_clients_have_their_calls_and_what_never_became_one(client: Client, rows: Rows) -> None:
    page = await got(client, "/clients.json")
    calls = Counter(call["client"] for call in rows.calls)
    assert {one["client"]: one["calls"] for one in page["clients"] if one["calls"]} == calls
    failed = Counter(call["client"] for call in rows.calls if call["status"] >= 500)
    assert {one["client"]: one["failed"]["numerator"] for one in page["clients"] if one["calls"]} == {
        name: failed[name] for name in calls
    }
    assert sum(one["refused"] for one in page["clients"]) == sum(one["n"] for one in page["refusals"]) > 0
    assert {one["status"] for one in page["refusals"]} == {400, 401, 413}


async def test_clocks_queries_and_unread_codes_are_those_of_the_newest_calls(client: Client, rows: Rows) -> None:
    newest = {
        name: sorted((call for call in rows.calls if call["client"] == name), key=lambda call: -call["received_at"])[:60]
        for name in CLIENTS
    }
    for one in (await got(client, "/clients.json"))["newest"]:
        assert one["calls"] == len(newest[one["client"]]) == 60
        assert one["clock_ms"] == median(call["clock_offset_ms"] for call in newest[one["client"]])
        asked = one["client"] == CLIENTS[1]
        assert (one["queries"], one["queries_failed"], one["damaged"]) == (120 * asked, 60 * asked, 0)
        assert (one["query_ms"], one["query_slowest_ms"]) == ((300.0, 480.0) if asked else (None, None))
    unread = sum(call["received_at"] % 3 == 0 for call in newest[CLIENTS[1]])
    code = {"client": CLIENTS[1], "kind": "lab", "system": "urn:lab-of-b", "code": "K-7", "meaning": "potassium"}
    assert (await got(client, "/data.json"))["unread"] == [code | {"calls": unread}]


async def test_a_damaged_record_is_counted(tmp_path: Path) -> None:
    write_sample_log(tmp_path / "alerts.sqlite3", days=2)
    with closing(sqlite3.connect(tmp_path / "alerts.sqlite3")) as connection:
        connection.execute("UPDATE body SET content = ? WHERE seq = (SELECT max(seq) FROM body)", (b"broken",))
        connection.commit()
    counted(tmp_path)
    async for one in client_of(tmp_path):
        assert sum(row["damaged"] for row in (await got(one, "/clients.json"))["newest"]) == 1


async def test_a_filter_holds_on_every_page_and_in_its_links(client: Client, rows: Rows) -> None:
    chosen = f"client={CLIENTS[1]}&hook=order-sign"
    own = [card for card in rows.shown if (card["client"], card["hook"]) == (CLIENTS[1], "order-sign")]
    assert (await got(client, f".json?{chosen}"))["tiles"]["shown"] == len(own)
    assert sum(one["shown"] for one in (await got(client, f"/cards.json?{chosen}"))["cards"]) == len(own)
    assert {one["client"] for one in (await got(client, f"/clients.json?{chosen}"))["clients"]} == {CLIENTS[1]}
    text = (await client.get(f"/review?{chosen}")).text
    for link in re.findall(r'href="(/review/(?:log\?|cards/)[^"]*)"', text):
        asked = parse_qs(urlsplit(link.replace("&amp;", "&")).query)
        assert (asked["client"], asked["hook"]) == ([CLIENTS[1]], ["order-sign"])


async def test_a_figure_that_does_not_follow_a_filter_says_so(client: Client) -> None:
    said = re.findall(r"([^<>]*) are counted whatever the ([^<>]*)\.", (await client.get("/review?indicator=warning")).text)
    assert [fields for _, fields in said] == ["indicator"]
    assert said[0][0].lower().split("; ")[0] == "fire rate and could not check"
    assert {"orders", "reasons for overriding", "users"} <= {*said[0][0].split("; ")}
    assert "cards shown" not in said[0][0].lower()
    said = re.findall(r"([^<>]*) are counted whatever the hook\.", (await client.get("/review?hook=order-sign")).text)
    assert said == ["Orders; users"]
    assert "are counted whatever" not in (await client.get(f"/review?client={CLIENTS[0]}")).text


@pytest.mark.parametrize(
    "chosen", ["repeated=yes", "repeated=no", "state=capped", "mode=shadow", "response=accepted", "indicator=warning", "reason="]
)
@pytest.mark.parametrize("path", PATHS)
async def test_every_page_can_be_drawn_under_every_filter_of_cards(client: Client, path: str, chosen: str) -> None:
    """Reasons are counted whatever most of these filters, so they are a share of what was counted with them."""
    answer = await client.get(f"/review{path}.json?{chosen}&days=34")
    assert answer.status_code == 200, answer.text
    for card in answer.json().get("cards", ()):
        if isinstance(card, dict):
            assert card["reasoned"]["numerator"] <= card["reasoned"]["denominator"]


async def test_the_rates_per_100_orders_of_all_hooks_add_up(client: Client, rows: Rows) -> None:
    parts = [(await got(client, f".json?hook={hook}"))["tiles"]["per_100_orders"] for hook in ("order-select", "order-sign")]
    whole = (await got(client, ".json"))["tiles"]["per_100_orders"]
    assert [one["denominator"] for one in parts] == [rows.orders()] * 2
    assert all(one["numerator"] for one in parts)
    assert sum(one["value"] for one in parts) == pytest.approx(whole["value"])


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/cards?sort=nothing", 400, "no such column"),
        ("?colour=red", 400, "no such filter"),
        ("?days=none", 400, "days must be"),
        ("/cards/no-such-card", 404, "a card of this name"),
        ("?client=https://nobody.example", 200, "has what the filters ask for"),
        ("?from=2020-01-01&to=2020-01-31", 200, "There was no call in this period"),
    ],
)
async def test_what_cannot_be_shown_is_said(client: Client, path: str, status: int, says: str) -> None:
    answer = await client.get(f"/review{path}")
    assert (answer.status_code, says in answer.text) == (status, True)


async def test_the_line_above_says_how_old_the_counts_are(client: Client) -> None:
    state = (await got(client, ".json"))["log"]
    assert (state["counted_seconds_ago"], state["days_waiting"], state["quarantined"], state["shipped"]) == (0, 0, 1, False)
    assert '<a href="/review/clients#quarantine">Quarantined: 1</a>' in (await client.get("/review")).text


@pytest.mark.parametrize(
    "path", ["/review", "/review/cards", "/review/cards/quinine-avoid", "/review/reasons", "/review/data", "/review/clients"]
)
async def test_a_number_leads_to_records_that_follow_every_filter_of_its_link(client: Client, path: str) -> None:
    links = set(re.findall(r'href="(/review/log\?[^"]*)"', (await client.get(path)).text))
    for link in sorted(links)[:40]:
        answer = await client.get(link.replace("&amp;", "&").replace("/log?", "/log.json?"))
        assert answer.json()["ignored"] == [], link


async def test_what_was_quarantined_is_listed_by_client_and_reason(client: Client) -> None:
    (row,) = (await client.get("/review/clients.json")).json()["quarantined"]
    assert {name: row[name] for name in ("kind", "error", "n")} == {"kind": "feedback", "error": "too long", "n": 1}
    html = (await client.get("/review/clients")).text
    assert 'id="quarantine"' in html
    assert "too long" in html


async def test_a_step_between_versions_is_said_though_no_day_lies_outside_its_limits(client: Client) -> None:
    data = (await client.get("/review/cards/quinine-avoid.json")).json()
    (step,) = data["steps"]
    assert step["before"] != step["version"]
    for name in ("rate", "rate_before"):
        assert step[name]["numerator"] <= step[name]["denominator"]
    assert step["difference"] == step["rate"]["value"] - step["rate_before"]["value"]
    html = (await client.get("/review/cards/quinine-avoid")).text
    assert f"{step['version']} fires in {step['rate']['numerator']:,} of {step['rate']['denominator']:,}" in html
    assert sum(one["evaluated"] for one in data["days"]) == step["rate"]["denominator"] + step["rate_before"]["denominator"]


async def test_an_empty_log_says_so(tmp_path: Path) -> None:
    SampleLog(tmp_path / "alerts.sqlite3").close()
    counted(tmp_path)
    async for one in client_of(tmp_path):
        for path in PATHS[:-1]:
            answer = await one.get(f"/review{path}")
            assert answer.status_code == 200
            assert "The log holds no call yet" in answer.text


async def test_names_from_the_log_are_text(tmp_path: Path) -> None:
    write_sample_log(tmp_path / "alerts.sqlite3", days=2)
    with closing(sqlite3.connect(tmp_path / "alerts.sqlite3")) as connection:
        connection.execute("UPDATE name SET text = ? WHERE text = ?", ('"><script>alert(1)</script>', CLIENTS[0]))
        connection.execute("UPDATE name SET text = ? WHERE text = 'informed'", ("=HYPERLINK(1)",))
        connection.commit()
    counted(tmp_path)
    async for one in client_of(tmp_path):
        for path in PATHS:
            assert "<script>alert" not in (await one.get(f"/review{path}")).text
        reasons = (await one.get("/review/reasons.csv")).text
        assert ",'=HYPERLINK(1)," in reasons
        assert ",=HYPERLINK" not in reasons


async def test_the_first_page_begins_to_count_the_log(tmp_path: Path) -> None:
    write_sample_log(tmp_path / "alerts.sqlite3", days=2)
    async for one in client_of(tmp_path):
        assert (await one.get("/review")).status_code == 200
        async with asyncio.timeout(60):
            while (await got(one, ".json"))["log"]["counted_seconds_ago"] is None:
                pass
        assert (await got(one, ".json"))["tiles"]["shown"] > 0
