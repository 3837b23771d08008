"""The review pages in a real browser against `cds-service review`: light, dark, small, on paper, by keyboard, without scripts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, Page, expect

from cds_service.database import open_database
from cds_service.rollups.days import SiteDays
from cds_service.rollups.rollup import roll_up
from cds_service.signals.finding import Finding, Place
from cds_service.signals.store import keep
from tests.bench.server import Server, free_port
from tests.review.sample_log import NOW, write_sample_log

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

DAYS = "from=2026-10-30&to=2026-11-27"  # those of the made-up log, whatever the date of this machine
CARD = "/cards/quinine-avoid"
PATHS = (
    *("", "/cards", CARD, "/reasons", "/data", "/clients", "/exports", "/report/2026-11", "/definitions", "/demo-log"),
    *("/signals", "/signals/1", "/digest", "/sign-in", "/audit", "/people"),
)
NO_FILTERS = (
    "/definitions",
    "/demo-log",
    "/report/2026-11",
    "/signals",
    "/signals/1",
    "/digest",
    "/sign-in",
    "/audit",
    "/people",
)
# Of a day that detectors do not look at any more, whatever the date of this machine: so they leave it.
SIGNAL = Finding(
    "release_step",
    Place("north", "https://ehr-a.example", "quinine-avoid"),
    20260601,
    4.4,
    {"fired": 20, "of": 60, "usual": 0.15, "usual_of": 400, "z": 4.4, "since": 20260525},
    "version 1.1.0",
)
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 900}},
    "small and dark": {"viewport": {"width": 320, "height": 700}, "color_scheme": "dark"},
}


@pytest.fixture(scope="module")
def review(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the first page of `cds-service review` on a made-up log."""
    folder, port = tmp_path_factory.mktemp("review"), free_port()
    log = folder / "alerts.sqlite3"
    write_sample_log(log)
    with closing(open_database(log, folder / "review.sqlite3", limit_ms=None, writes_review=True)) as database:
        roll_up(database, SiteDays("UTC"), lambda: NOW)
        keep(database, [SIGNAL, msgspec.structs.replace(SIGNAL, subject="version 1.2.0")], [], 0)
    command = [sys.executable, "-m", "cds_service.cli.main", "review", "--port", str(port)]
    with Server(command, port, folder, None, {"CDS_LOG_PATH": str(log)}) as server:
        server.wait()
        yield f"http://127.0.0.1:{port}/review"


@pytest.fixture(params=LOOKS)
def context(browser: Browser, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    made = browser.new_context(**LOOKS[request.param])
    yield made
    made.close()


@pytest.fixture
def plain(browser: Browser) -> Iterator[BrowserContext]:
    """Without scripts."""
    made = browser.new_context(**LOOKS["light"], java_script_enabled=False)
    yield made
    made.close()


def opened(context: BrowserContext, address: str) -> Page:
    """A page that has no complaint about itself, such as something its content security policy forbids."""
    page = context.new_page()
    page.on("console", lambda message: pytest.fail(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(address)
    return page


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_accessible_and_fits(context: BrowserContext, review: str, path: str) -> None:
    page = opened(context, f"{review}{path}?{DAYS}")
    for one in page.locator("details").all():
        one.locator("summary").click()
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("path", PATHS)
def test_on_paper_there_are_no_controls_and_tables_are_whole(browser: Browser, review: str, path: str) -> None:
    context = browser.new_context(viewport={"width": 760, "height": 1000}, java_script_enabled=False)
    page = context.new_page()
    page.emulate_media(media="print")
    page.goto(f"{review}{path}?{DAYS}")
    for hidden in ("nav.top", "form.filters", ".skip"):
        expect(page.locator(hidden).first).to_be_hidden()
    for table in page.locator("details table").all():
        expect(table).to_be_visible()
    if path not in NO_FILTERS:
        expect(page.locator(".filter-words")).to_contain_text("30 Oct 2026 to 27 Nov 2026, days of UTC")
    context.close()


def test_a_filter_is_chosen_by_keyboard_and_stands_in_the_address(plain: BrowserContext, review: str) -> None:
    page = opened(plain, f"{review}?{DAYS}")
    page.keyboard.press("Tab")
    expect(page.get_by_text("To the content")).to_be_focused()
    page.keyboard.press("Enter")
    client = page.get_by_label("Client")
    while not client.evaluate("one => one === document.activeElement"):
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    apply = page.get_by_role("button", name="Apply")
    while not apply.evaluate("one => one === document.activeElement"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**client=https*")
    expect(page.locator(".filter-words")).to_contain_text("client: https://ehr-a.example")


def test_one_goes_from_the_overview_to_a_card_and_to_the_numbers_of_its_days(plain: BrowserContext, review: str) -> None:
    page = opened(plain, f"{review}?{DAYS}")
    page.get_by_role("link", name="Avoid quinine for cramps").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Avoid quinine for cramps")
    expect(page.locator(".chart")).to_be_visible()
    table = page.get_by_role("table", name="Fire rate by day, newest first")
    expect(table).to_be_hidden()
    page.get_by_text("The numbers of the days").click()
    expect(table).to_be_visible()
    expect(table.locator("tbody tr")).to_have_count(29)


def test_a_table_is_sorted_by_its_headings(plain: BrowserContext, review: str) -> None:
    page = opened(plain, f"{review}/cards?{DAYS}")
    page.get_by_role("link", name="Coverage", exact=True).click()
    expect(page.locator("th[aria-sort]")).to_have_text("Coverage ▼")


def test_the_same_data_is_a_file(plain: BrowserContext, review: str) -> None:
    page = opened(plain, f"{review}/cards?{DAYS}")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("card,title,version,status,shown,")
    assert len(lines) == 6


def test_signals_are_archived_and_opened_again_by_key(browser: Browser, review: str) -> None:
    made = browser.new_context(**LOOKS["light"])
    page = opened(made, f"{review}/queue")
    page.get_by_label("Name", exact=True).fill("reviewer 1")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.goto(f"{review}/signals")
    rows = page.locator("tr[data-row]")
    before = rows.count()
    page.keyboard.press("j")
    chosen = page.locator("tr[aria-current]").get_attribute("id")
    page.keyboard.press("a")
    expect(page.get_by_role("status")).to_contain_text("Archived until it escalates")
    expect(rows).to_have_count(before - 1)
    assert page.locator("tr[aria-current]").count() == (1 if before > 1 else 0)  # the keys go on from the next one
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Fire rate since a change")
    page.goto(f"{review}/signals")
    expect(page.locator(f"#{chosen}")).to_be_visible()
    made.close()
