"""Monday in ten minutes: a nurse finds a card that went wrong, proves what is better, and a second person signs. By keyboard.

The log is made up and has the malfunction that `demo-log` plants: since a Thursday, quinine-avoid takes malaria on the problem
list for an old one after nine days. Nothing here tells the pages of it. With `CDS_MONDAY_SCREENSHOTS=FOLDER` each step leaves a
picture there.
"""

from __future__ import annotations

import asyncio
import csv
import io
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, expect

from cds_service.app import create_app
from cds_service.database import open_database
from cds_service.demo.changes import changes, write_cards
from cds_service.demo.clients import CLIENTS
from cds_service.demo.run import make_log
from cds_service.demo.schedule import Period
from cds_service.files.paths import cards_dir
from cds_service.review.app import create_review_app
from cds_service.rollups.days import SiteDays
from cds_service.rollups.rollup import roll_up
from cds_service.runtime import Runtime
from cds_service.settings import Settings
from cds_service.signals.update import update_signals
from tests.bench.server import free_port
from tests.e2e.test_judging import left, opened, tab_to

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

END = datetime(2025, 11, 30, 18, tzinfo=UTC)  # a Sunday
MONDAY = datetime(2025, 12, 1, 8, tzinfo=UTC)
PERIOD = Period.of_days(28, END)
CARD, CLIENT = "quinine-avoid", "harbour-clinic"
DAYS = "malaria recent: onset within days"
JUDGED = 6


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A site after four weeks of calls, with the cards of its last update; the log is counted and looked at as every night."""
    folder = tmp_path_factory.mktemp("site")
    site = Settings(log_path=folder / "alerts.sqlite3", on_unavailable="card")
    clients = [one for one in CLIENTS if one.name == CLIENT]

    def app(own: Settings, runtime: Runtime) -> FastAPI:
        return create_app(own, runtime=runtime)

    with ThreadPoolExecutor(1) as thread:  # in this one runs the loop of the browser
        thread.submit(lambda: asyncio.run(make_log(site, app, PERIOD, 80, 1, lambda at, n: None, clients))).result()  # noqa: ARG005
    write_cards(cards_dir(), folder / "cards", changes(PERIOD))
    days = SiteDays("UTC")
    with closing(open_database(site.log_path, folder / "review.sqlite3", limit_ms=None, writes_review=True)) as database:
        roll_up(database, days, lambda: MONDAY)
        update_signals(database, days, lambda: MONDAY, None)
    return site.model_copy(update={"cards_dir": folder / "cards"})


@pytest.fixture(scope="module")
def review(settings: Settings) -> Iterator[str]:
    """The address of the pages, for which it is Monday morning."""
    port = free_port()
    app = create_review_app(settings, clock=lambda: MONDAY)
    server = uvicorn.Server(uvicorn.Config(app, port=port, ws="none", access_log=False, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    until = time.monotonic() + 60
    while not server.started and time.monotonic() < until:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}/review"
    server.should_exit = True
    thread.join()


@contextmanager
def reader(browser: Browser, address: str, name: str) -> Iterator[Page]:
    """A page of somebody who has given a name."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = opened(context, f"{address}/queue")
    tab_to(page, page.get_by_label("Name", exact=True))
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    page.wait_for_load_state()
    yield page
    context.close()


class Steps:
    """Pictures of the steps, and that those which no other test looks at are accessible."""

    def __init__(self) -> None:
        self._folder = os.environ.get("CDS_MONDAY_SCREENSHOTS", "")
        self._number = 0

    def __call__(self, page: Page, name: str, *, axe: bool = False) -> None:
        self._number += 1
        if self._folder:
            Path(self._folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=f"{self._folder}/{self._number:02}-{name}.png", full_page=True)
        if not axe:
            return
        found = Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []


def go(page: Page, link: str) -> None:
    """Follow a link by Tab and Enter."""
    before = page.url
    tab_to(page, page.locator("main").get_by_role("link", name=link, exact=True).first)
    page.keyboard.press("Enter")
    left(page, before)


def press(page: Page, keys: str) -> None:
    """Press keys, the last of which opens another page."""
    before = page.url
    for key in keys:
        page.keyboard.press(key)
    left(page, before)


def by_navigation(page: Page, name: str) -> None:
    before = page.url
    tab_to(page, page.get_by_role("navigation", name="Pages").get_by_role("link", name=re.compile(f"^{name}")))
    page.keyboard.press("Enter")
    left(page, before)


def judge(page: Page, wanted: int) -> dict[str, int]:
    """Judge cases of the plan by a key and Enter; what was ordered for malaria should not have fired."""
    verdicts = {"a": 0, "i": 0}
    while sum(verdicts.values()) < wanted:
        before = page.url
        fired = "fired" in page.locator("h1").inner_text()
        key = "i" if fired and re.search("malaria|plasmodium", page.locator("main").inner_text(), re.IGNORECASE) else "a"
        page.keyboard.press(key)
        page.keyboard.press("Enter")
        left(page, before)
        verdicts[key] += 1
    return verdicts


def json_of(page: Page, address: str) -> Any:
    return msgspec.json.decode(page.context.request.get(address).body())


def test_monday_in_ten_minutes(browser: Browser, review: str, settings: Settings) -> None:
    step = Steps()
    with reader(browser, review, "Ann") as page:
        # 0:00 The inbox knows it without being told.
        by_navigation(page, "Signals")
        first = page.locator("tr[data-row]").first
        expect(first).to_contain_text(re.compile(rf"{CARD} fires \d\.\d × as often at {CLIENT} since version"))
        step(page, "signals")
        press(page, "jo")
        signal = page.url
        step(page, "signal")
        # 0:30 The card: its flag, and where it fires.
        go(page, "Card")
        expect(page.locator("main")).to_contain_text(re.compile(r"Version 1\.3\.0 begins on"))
        expect(page.locator("section.breakdown", has=page.locator("#by-client"))).to_contain_text(CLIENT)
        step(page, "card")
        # 1:30 Twelve drawn cases, judged by key.
        page.go_back()
        go(page, "Draw cases")
        tab_to(page, page.get_by_role("button", name="Draw cases of the signal"))
        page.keyboard.press("Enter")
        page.wait_for_url("**/queue?plan=*")
        tab_to(page, page.get_by_role("link", name="Read", exact=True))
        page.keyboard.press("Enter")
        page.wait_for_url("**/cases/**")
        step(page, "case")
        verdicts = judge(page, JUDGED)
        assert sum(verdicts.values()) == JUDGED
        # 6:00 What if the number were that of before?
        by_navigation(page, "Signals")
        press(page, "jo")
        go(page, "What if")
        number = page.get_by_label(DAYS, exact=True)
        assert number.input_value() == "9"
        tab_to(page, number)
        page.keyboard.press("Control+A")
        page.keyboard.type("90")
        step(page, "what-if", axe=True)
        page.keyboard.press("Enter")
        page.wait_for_url("**/backtests/*")
        # 7:30 It looks again by itself until it is done.
        expect(page.locator("#table")).to_have_text(CARD, timeout=120_000)
        step(page, "backtest", axe=True)
        backtest = page.url.partition("?")[0]
        result = json_of(page, f"{backtest}.json")["result"]
        own = next(one for one in result["cards"] if one["card"] == CARD)
        assert own["only_old"] > 10
        assert own["only_new"] == 0
        assert result["answered"] > 0.99 * result["records"]
        go(page, "Open them side by side")
        step(page, "discordant")
        press(page, "jo")
        expect(page.get_by_role("heading", level=1)).to_have_text(f"{CARD}: fired, and would not")
        expect(page.locator("main")).to_contain_text("With the candidate")
        step(page, "side-by-side", axe=True)
        press(page, "j")
        expect(page.locator(".place")).to_contain_text("case 2 of")
        rows = list(csv.DictReader(io.StringIO(page.context.request.get(f"{backtest}/cases.csv").text())))
        assert len(rows) == result["discordant"]
        assert {one["client"] for one in rows} == {CLIENT}
        # 8:30 The change, with its reason.
        page.goto(f"{backtest}?signal={signal.rpartition('/')[2].partition('?')[0]}")
        go(page, "Make a change request")
        tab_to(page, page.get_by_label("Why", exact=True))
        page.keyboard.type("Since 1.3.0 it fires for malaria that is treated. Back to ninety days.")
        tab_to(page, page.get_by_role("button", name="Propose as Ann"))
        page.keyboard.press("Enter")
        page.wait_for_url("**/changes/1")
        tab_to(page, page.get_by_role("button", name="Sign as Ann"))
        page.keyboard.press("Enter")
        expect(page.locator("#steps + ol")).to_contain_text("signed by Ann")
        step(page, "change")
    with reader(browser, review, "Ben") as page:  # the second signature is another person's
        by_navigation(page, "Changes")
        press(page, "jo")
        assert "cards approve --change" not in page.locator("main").inner_text()
        tab_to(page, page.get_by_role("button", name="Sign as Ben"))
        page.keyboard.press("Enter")
        expect(page.get_by_label("Command")).to_have_text("cds-service cards approve --change 1")
        step(page, "second-signature", axe=True)
        change = json_of(page, f"{review}/changes/1.json")
        assert change["ready"]
        assert [one["reader"] for one in change["steps"]] == ["Ann", "Ben"]
        # 9:30 The line of the digest, and the evidence to take along.
        page.goto(f"{review}/digest")
        expect(page.locator("main")).to_contain_text("change 1 of quinine-avoid for signal 1: open, signed by Ann, Ben")
        step(page, "digest")
        evidence = list(csv.DictReader(io.StringIO(page.context.request.get(f"{review}/changes/1.csv").text())))
        assert [one["action"] for one in evidence] == ["signed", "signed"]
        signal_page = json_of(page, f"{signal.partition('?')[0]}.json")
        assert [one["id"] for one in signal_page["changes_of_it"]] == [1]
    shutil.rmtree(settings.log_path.with_name("backtests"))
