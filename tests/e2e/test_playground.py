"""The playground in a real browser against a started service: samples, feedback, keyboard, no script, dark, small, accessible."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect

from cds_service.authoring.samples import load_samples
from cds_service.files.paths import fixtures_dir
from tests.bench.server import Server, free_port, service_command
from tests.exported_log import card_rows

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

SAMPLES = load_samples(fixtures_dir())
SIGNED = "quinine-for-cramps"
DROP = """text => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([text], "request.json", {type: "application/json"}));
  const drop = new DragEvent("drop", {dataTransfer, bubbles: true, cancelable: true});
  document.querySelector("[data-drop]").dispatchEvent(drop);
}"""
Json = dict[str, Any]


class Service:
    """A started service."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self.log = log

    def post(self, path: str, body: Json) -> Json:
        request = urllib.request.Request(  # noqa: S310 (this machine)
            self.url + path, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as answered:  # noqa: S310
            found: Json = json.load(answered)
            return found

    def feedback_on(self, card: str) -> list[Json]:
        """What the log has for a card."""
        (found,) = [row["feedback"] for row in card_rows(self.log) if row["cardUuid"] == card]
        return list(found)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder, port = tmp_path_factory.mktemp("service"), free_port()
    log = folder / "alerts.sqlite3"
    with Server(service_command(port), port, folder, None, {"CDS_LOG_PATH": str(log)}) as server:
        server.wait()
        yield Service(f"http://127.0.0.1:{port}", log)


class Watched:
    """A browser context that remembers what a page complained about, and whom it asked apart from the service."""

    def __init__(self, context: BrowserContext, service: Service) -> None:
        self.context = context
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self._service = service

    def page(self, path: str = "/") -> Page:
        page = self.context.new_page()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._asked)
        page.goto(self._service.url + path)
        return page

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((f"{self._service.url}/", "data:")):
            self.elsewhere.append(request.url)


@pytest.fixture(params=[{}], ids=["plain"])
def watched(browser: Browser, service: Service, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A new context with the options in the parameter; afterwards it is looked at what its pages did."""
    context = browser.new_context(**{"viewport": {"width": 1360, "height": 900}, **request.param})
    watched = Watched(context, service)
    yield watched
    context.close()
    assert watched.complaints == []
    assert watched.elsewhere == []


def fire(page: Page, sample: str) -> Json:
    """Fires a sample, by the mouse; the answer as the page has it in its file."""
    page.locator(f"input[value={sample}]").check()
    page.get_by_role("button", name="Fire", exact=True).click()
    page.wait_for_url("**/playground/calls/*")
    return body_of(page, "response")


def body_of(page: Page, name: str) -> Json:
    found: Json = page.request.get(f"{page.url.partition('#')[0]}/{name}.json").json()
    return found


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_shows_what_the_service_says(watched: Watched, service: Service, sample: str) -> None:
    page = watched.page()
    response = fire(page, sample)
    asked = body_of(page, "request")

    articles = page.locator("article.cds")
    expect(articles).to_have_count(len(response["cards"]))
    for article, card in zip(articles.all(), response["cards"], strict=True):
        expect(article.get_by_role("heading")).to_contain_text(card["summary"])
        expect(article.locator(".word")).to_have_text(card["indicator"])
        expect(article.locator("button.accept")).to_have_count(len(card.get("suggestions", [])))
        expect(article.locator("option")).to_have_count(len(card.get("overrideReasons", [])))
        expect(article.locator(".links a")).to_have_count(len(card.get("links", [])))
    expect(page.locator(".why .outcome.fired")).to_have_count(len([one for one in response["cards"] if is_card(one)]))
    patient = asked["context"]["patientId"]
    of_another = json.loads(json.dumps(asked).replace(patient, f"{patient}-b"))  # nothing was shown about this one yet
    again = service.post(f"/cds-services/cramp-care-{SAMPLES[sample].hook}", of_another)
    assert [one["summary"] for one in again["cards"]] == [one["summary"] for one in response["cards"]]
    assert {one["uuid"] for one in again["cards"]}.isdisjoint(one["uuid"] for one in response["cards"])  # of another patient


def is_card(card: Json) -> bool:
    return bool(card["source"]["topic"]["code"] != "not-checked")


def test_accepting_a_suggestion_is_stored(watched: Watched, service: Service) -> None:
    page = watched.page()
    card = fire(page, SIGNED)["cards"][0]
    page.locator("article button.accept").first.click()
    expect(page.locator(".sent")).to_contain_text("Feedback sent: quinine-avoid accepted:")
    expect(page.locator(".sent")).to_contain_text('{"received":1}')
    (stored,) = service.feedback_on(card["uuid"])
    assert stored["outcome"] == "accepted"
    assert card["suggestions"][0]["uuid"] in json.dumps(stored)


def test_dismissing_is_stored_with_and_without_a_reason(watched: Watched, service: Service) -> None:
    page = watched.page()
    card = fire(page, SIGNED)["cards"][0]
    page.get_by_role("button", name="Dismiss", exact=True).first.click()
    expect(page.locator(".sent")).to_have_count(1)
    reason = card["overrideReasons"][-1]
    page.get_by_label("because").first.select_option(reason["code"])
    page.get_by_role("button", name="Dismiss with this reason").first.click()
    expect(page.locator(".sent")).to_have_count(2)
    bare, reasoned = service.feedback_on(card["uuid"])
    assert (bare["outcome"], reasoned["outcome"]) == ("overridden", "overridden")
    assert reason["code"] not in json.dumps(bare)
    assert reason["code"] in json.dumps(reasoned)


def test_all_can_be_done_with_the_keyboard_alone(watched: Watched, service: Service) -> None:
    page = watched.page()
    tab_to(page, "a.skip")
    tab_to(page, "input[name=sample]")
    names = list(SAMPLES)
    for _ in range(names.index(SIGNED)):
        page.keyboard.press("ArrowDown")
    tab_to(page, "button.primary")
    page.keyboard.press("Enter")
    page.wait_for_url("**/playground/calls/*")
    card = body_of(page, "response")["cards"][0]
    tab_to(page, "button.accept")
    page.keyboard.press("Enter")
    expect(page.locator(".sent")).to_have_count(1)
    assert len(service.feedback_on(card["uuid"])) == 1
    page.reload()
    tab_to(page, ".why > summary")
    page.keyboard.press("Enter")
    expect(page.locator(".why[open]")).to_have_count(1)
    tab_to(page, "pre")


def tab_to(page: Page, selector: str) -> None:
    """Presses Tab until the focus is on the first such element, which then must be outlined."""
    for _ in range(150):
        page.keyboard.press("Tab")
        focused = page.evaluate("selector => document.activeElement.matches(selector)", selector)
        if focused:
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", selector
            return
    pytest.fail(f"Tab never came to {selector}")


@pytest.mark.parametrize("watched", [{"java_script_enabled": False}], indirect=True, ids=["no script"])
def test_it_works_without_script(watched: Watched, service: Service) -> None:
    page = watched.page()
    expect(page.locator(".finder")).to_be_hidden()
    page.locator("input[value=low-potassium]").check()
    page.get_by_label("Order to draft").fill("baclofen 10 mg TID")
    page.get_by_role("button", name="Fire", exact=True).click()
    expect(page.locator("article.cds").first).to_contain_text("Baclofen 30 mg/day is a high starting dose")
    card = body_of(page, "response")["cards"][0]
    page.get_by_role("button", name="Dismiss", exact=True).first.click()
    expect(page.locator(".sent")).to_have_count(1)
    assert len(service.feedback_on(card["uuid"])) == 1
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)


def test_a_request_can_be_edited_dropped_and_uploaded(watched: Watched, tmp_path: Path) -> None:
    page = watched.page()
    fire(page, "low-potassium")
    area = page.get_by_label("A request, or something with one in it")
    area.fill(area.input_value().replace("2.8", "2.4"))
    page.get_by_role("button", name="Fire this request").click()
    expect(page.locator("article.critical")).to_contain_text("Severe low potassium 2.4 mmol/L")

    text = json.dumps(body_of(page, "request"))
    page.evaluate(DROP, text)
    expect(page.get_by_label("A request, or something with one in it")).to_have_value(text)

    path = tmp_path / "broken.json"
    path.write_text('{"hook": "patient-view"}', encoding="utf-8")
    page.get_by_label("or a file").set_input_files(path)
    page.get_by_role("button", name="Fire this request").click()
    expect(page.get_by_role("alert")).to_contain_text("The service refused the call: status 400")
    expect(page.get_by_role("alert")).to_contain_text("`hookInstance` is required")


def test_the_lists_can_be_searched(watched: Watched) -> None:
    page = watched.page()
    page.get_by_label("Find", exact=True).fill("quinine")
    shown = page.locator(".tile:visible")
    assert 0 < shown.count() < len(SAMPLES)
    expect(page.locator(".tile:visible input:checked")).to_have_count(1)  # a hidden choice would be fired unseen
    page.get_by_label("Find", exact=True).fill("no sample is called this")
    expect(page.get_by_role("button", name="Fire", exact=True)).to_be_disabled()
    expect(page.get_by_text("No sample fits what you look for")).to_be_visible()
    page.get_by_label("Find", exact=True).fill("")
    expect(page.get_by_role("button", name="Fire", exact=True)).to_be_enabled()
    fire(page, SIGNED)
    page.get_by_label("Find a card").fill("did not magnesium-supp")
    expect(page.locator(".why:visible")).to_have_count(1)


def test_a_review_page_can_be_reached_from_a_card(watched: Watched) -> None:
    page = watched.page()
    fire(page, SIGNED)
    page.locator("article").get_by_role("link", name="review page").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Avoid quinine for cramps", timeout=60_000)
    expect(page.locator(".banner")).to_have_text("Development profile: answers anybody; no patient data")


DARK = {"color_scheme": "dark"}
SMALL = {"viewport": {"width": 320, "height": 640}}


@pytest.mark.parametrize("watched", [{}, DARK | SMALL], indirect=True, ids=["light", "small and dark"])
def test_the_pages_are_accessible(watched: Watched) -> None:
    page = watched.page()
    assert violations(page) == []
    fire(page, SIGNED)
    page.evaluate(
        "for (const one of [...document.querySelectorAll('.read, .why:nth-of-type(-n+4), .why details')]) one.open = true"
    )
    assert violations(page, "pre") == []  # the thousands of coloured words in a long body take axe half a minute
    page.goto(page.url.partition("/playground")[0])
    fire(page, "normal-chart")
    assert violations(page) == []
    page.get_by_label("A request, or something with one in it").fill("{")
    page.get_by_role("button", name="Fire this request").click()
    assert violations(page) == []
    page.goto(f"{page.url.partition('/playground')[0]}/playground/calls")
    assert violations(page) == []
    page.get_by_role("link", name=re.compile(r"\d\d:\d\d:\d\d")).nth(1).click()
    page.get_by_label("Change only the order").fill("baclofn 10 mg")
    page.get_by_role("button", name="Fire", exact=True).click()
    expect(page.get_by_text("did you mean baclofen?")).to_be_visible()
    assert violations(page, "pre") == []


def test_what_is_not_accessible_is_found(watched: Watched) -> None:
    page = watched.page()
    page.evaluate("document.querySelector('main').append(Object.assign(new Image(), {src: 'data:,'}))")
    assert [one.partition(":")[0] for one in violations(page)] == ["image-alt"]


def violations(page: Page, *without: str) -> list[str]:
    """What axe finds that is serious or critical, apart from elements that match a selector in `without`."""
    found = Axe().run(page, context={"exclude": [[one] for one in without]} if without else None).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("watched", [SMALL], indirect=True, ids=["320"])
def test_a_small_screen_never_scrolls_sideways(watched: Watched) -> None:
    page = watched.page()
    assert width(page) == 320
    for sample in SAMPLES:
        page.goto(page.url.partition("/playground")[0])
        fire(page, sample)
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert width(page) == 320, sample


def width(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


@pytest.mark.parametrize("watched", [{"forced_colors": "active"}], indirect=True, ids=["no colours"])
def test_how_loud_a_card_is_can_be_told_without_colours(watched: Watched) -> None:
    page = watched.page()
    for sample, indicator in (
        (SIGNED, "warning"),
        ("baclofen-with-kidney-disease", "critical"),
        ("cirrhosis-with-cramps", "info"),
    ):
        page.goto(page.url.partition("/playground")[0])
        fire(page, sample)
        expect(page.locator("article .word").first).to_have_text(indicator)
        expect(page.locator("article .icon").first).to_be_visible()
