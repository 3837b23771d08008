"""Log, case, queue, results in a real browser: ten cases judged by keyboard alone, with scripts and without; axe; paper."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from cds_service.database import open_database
from cds_service.rollups.days import SiteDays
from cds_service.rollups.rollup import roll_up
from tests.bench.server import Server, free_port
from tests.core import NOW
from tests.review.fired_log import CRITICAL, LOW_POTASSIUM, MALARIA, NO_LABS, QUININE, TWO_ORDERS, fire

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

DAYS = "from=2025-11-01&to=2025-11-30"  # those of the log, whatever the date of this machine
CALLS = [
    *[(QUININE, "accepted"), (QUININE, "overridden"), (QUININE, "specialist-advice"), (QUININE, "")] * 2,
    *[(MALARIA, ""), (CRITICAL, "overridden"), (TWO_ORDERS, ""), (LOW_POTASSIUM, "accepted"), (NO_LABS, "")],
]
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 900}},
    "small and dark": {"viewport": {"width": 320, "height": 700}, "color_scheme": "dark"},
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A log of calls that were fired in November 2025."""
    folder = tmp_path_factory.mktemp("log")
    with ThreadPoolExecutor(1) as thread:  # in this one runs the loop of the browser
        thread.submit(lambda: asyncio.run(fire(folder, CALLS, end=NOW - timedelta(hours=10)))).result()
    return (folder / "alerts.sqlite3").read_bytes()


@contextmanager
def served(folder: Path, log: bytes) -> Iterator[str]:
    (folder / "alerts.sqlite3").write_bytes(log)
    files = folder / "alerts.sqlite3", folder / "review.sqlite3"
    with closing(open_database(*files, limit_ms=None, writes_review=True)) as database:
        roll_up(database, SiteDays("UTC"), lambda: NOW)
    port = free_port()
    command = [sys.executable, "-m", "cds_service.cli.main", "review", "--port", str(port)]
    with Server(command, port, folder, None, {"CDS_LOG_PATH": str(files[0])}) as server:
        server.wait()
        yield f"http://127.0.0.1:{port}/review"


@pytest.fixture
def review(log: bytes, tmp_path: Path) -> Iterator[str]:
    """The address of `cds-service review` on that log, without a plan."""
    with served(tmp_path, log) as address:
        yield address


@pytest.fixture(scope="module")
def planned(log: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same with a plan, shared by tests that give no verdict."""
    with served(tmp_path_factory.mktemp("planned"), log) as address:
        form = {"card": "quinine-avoid", "month": "2025-11"}
        assert httpx2.post(f"{address}/queue", data=form).status_code == 303
        yield address


def opened(context: BrowserContext, address: str) -> Page:
    """A page that has no complaint about itself, such as something its content security policy forbids."""
    page = context.new_page()
    page.on("console", lambda message: pytest.fail(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(address)
    return page


def tab_to(page: Page, wanted: Locator) -> None:
    """Go there by Tab, as somebody without a mouse does."""
    for _ in range(150):
        if wanted.evaluate("one => one === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {wanted}")


def left(page: Page, address: str) -> None:
    """Wait until the page has another address."""
    expect(page).not_to_have_url(address)
    page.wait_for_load_state()  # keys work from then on


def draw_a_plan(page: Page) -> None:
    tab_to(page, page.get_by_label("Card", exact=True))
    page.keyboard.type("quinine-avoid")
    tab_to(page, page.get_by_label("Month"))
    page.keyboard.type("November")
    page.keyboard.press("Tab")
    page.keyboard.type("2025")
    tab_to(page, page.get_by_role("button", name="Draw"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/queue?plan=1")


def begin(page: Page) -> None:
    tab_to(page, page.get_by_role("link", name="Read", exact=True))
    page.keyboard.press("Enter")
    page.wait_for_url("**/cases/**")


def progress(page: Page, address: str) -> list[str]:
    """The verdicts of the plan, as the reader sees them."""
    page.goto(f"{address}/queue?plan=1")
    return [one for one in page.locator("td[data-label='Your verdict']").all_text_contents() if one != "–"]


def test_ten_cases_are_judged_by_keyboard_alone(browser: Browser, review: str) -> None:
    context = browser.new_context(**LOOKS["light"])
    page = opened(context, f"{review}/queue")
    draw_a_plan(page)
    begin(page)
    tab_to(page, page.get_by_label("Your name"))
    page.keyboard.type("Ann Imu")  # keys in a field are letters
    page.keyboard.press("Tab")
    for number, key in enumerate("aimuaaaiam"):
        before = page.url
        if number == 3:
            page.keyboard.press("j")  # skip one
            left(page, before)
            before = page.url
        page.keyboard.press(key)
        if number == 1:  # the whole form
            tab_to(page, page.get_by_label("Cause"))
            page.keyboard.type("Timing")
            tab_to(page, page.get_by_label("Time", exact=True))
            page.keyboard.press("Space")
            tab_to(page, page.get_by_label("Comment"))
            page.keyboard.type("said too late")
            tab_to(page, page.get_by_role("button", name="Save and open the next"))
        page.keyboard.press("Enter")
        left(page, before)
        expect(page.get_by_role("status")).to_contain_text("Saved")
    found = progress(page, review)
    assert sorted(found) == sorted([*["Appropriate"] * 5, *["Inappropriate"] * 2, *["Malfunction"] * 2, "Cannot tell"])
    context.close()


def test_ten_cases_are_judged_by_keyboard_without_scripts(browser: Browser, review: str) -> None:
    context = browser.new_context(**LOOKS["light"], java_script_enabled=False)
    page = opened(context, f"{review}/queue")
    expect(page.get_by_role("button", name="Keys")).to_be_hidden()
    draw_a_plan(page)
    begin(page)
    for number in range(10):
        before = page.url
        if not number:
            tab_to(page, page.get_by_label("Your name"))
            page.keyboard.type("Ben")
        tab_to(page, page.locator("#verdict").get_by_label("Appropriate", exact=False).first)
        page.keyboard.press("Space")
        if number % 2:
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        left(page, before)
    assert sorted(progress(page, review)) == ["Appropriate"] * 5 + ["Inappropriate"] * 5
    context.close()


def test_the_log_is_walked_by_keys_and_they_can_be_switched_off(browser: Browser, planned: str) -> None:
    context = browser.new_context(**LOOKS["light"])
    page = opened(context, f"{planned}/log?{DAYS}")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_label("Use these keys").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.locator("tr[aria-current]")).to_have_count(0)
    page.reload()
    page.keyboard.press("j")
    expect(page.locator("tr[aria-current]")).to_have_count(0)
    page.get_by_role("button", name="Keys").click()
    page.get_by_label("Use these keys").check()
    page.keyboard.press("Escape")
    for key in "jjk":
        page.keyboard.press(key)
    chosen = page.locator("tr[aria-current]").get_by_role("link")
    expect(chosen).to_be_focused()
    address = chosen.get_attribute("href")
    page.keyboard.press("o")
    page.wait_for_url(f"**{address}")
    expect(page.get_by_role("heading", name="Evidence", exact=True)).to_be_visible()
    context.close()


@pytest.mark.parametrize("look", LOOKS)
def test_the_pages_are_accessible_and_fit(browser: Browser, planned: str, look: str) -> None:
    context = browser.new_context(**LOOKS[look])
    page = opened(context, f"{planned}/queue")
    addresses = [f"{planned}/queue?plan=1", f"{planned}/log?{DAYS}", f"{planned}/results"]
    for card in ("quinine-avoid", "not-checked", "electrolyte-hypokalaemia"):
        page.goto(f"{planned}/log?{DAYS}&card={card}")
        addresses.append(page.locator("tr[data-row] a").first.evaluate("one => one.href"))
    page.goto(f"{planned}/queue?plan=1")
    addresses.append(page.get_by_role("link", name="Read", exact=True).evaluate("one => one.href"))
    for address in addresses:
        page.goto(address)
        # The thousands of coloured words of the JSON take axe half a minute, and look like those of the playground.
        page.evaluate("document.querySelectorAll('details:not(.json)').forEach(one => { one.open = true; })")
        found = Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == [], address
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), address
    context.close()


def test_a_case_on_paper_has_everything_but_the_form(browser: Browser, planned: str) -> None:
    context = browser.new_context(viewport={"width": 760, "height": 1000}, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{planned}/log?{DAYS}&card=quinine-avoid")
    page.locator("tr[data-row] a").first.click()
    page.emulate_media(media="print")
    for hidden in ("nav.top", "#verdict-form", "dialog", ".jump"):
        expect(page.locator(hidden).first).to_be_hidden()
    for name in ("Evidence", "Criteria", "Feedback", "The card"):
        expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    expect(page.get_by_role("table").first).to_be_visible()
    context.close()
