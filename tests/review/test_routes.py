"""The frame of the review pages: addresses, headers, forms, what production says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette

from cds_service.app import create_app
from cds_service.cli.listening import warn_where_others_reach
from cds_service.database import StatementTooLongError
from cds_service.review.app import create_review_app
from cds_service.review.definitions import DEFINITIONS
from cds_service.review.page import BadFormError, Page, PageNotFoundError, PageRequest, PageRoute, see_other
from cds_service.review.routes import review_routes
from cds_service.review.site import Site
from cds_service.settings import Settings
from tests.core import NOW, a_runtime, knowledge
from tests.http_side import running


def _posted(asked: PageRequest) -> Page:
    return Page("Said", "message.html", {"message": asked.form["word"]})


def _refused(_: PageRequest) -> Page:
    raise BadFormError("No card of this name")


def _missing(_: PageRequest) -> Page:
    raise PageNotFoundError("No such case")


def _formulas(_: PageRequest) -> Page:
    row = {"text": "=1+1", "number": -1, "line": 'a "quoted"\nline'}
    return Page("Cells", "message.html", {"message": "<b>"}, rows=[row], columns=list(row))


PAGES = (
    PageRoute("/cells", _formulas, "viewer", csv=True, reads=False, post=_posted, post_role="viewer"),
    PageRoute("/refused", _refused, "viewer", csv=True, reads=False),
    PageRoute("/missing", _missing, "viewer", reads=False, post=lambda _: see_other("/cells"), post_role="viewer"),
)


def a_site(folder: Path = Path("nowhere")) -> Site:
    return Site(Settings(log_path=folder / "alerts.sqlite3"), knowledge(), lambda: NOW, banner="Test")


def client(*pages: PageRoute) -> httpx2.AsyncClient:
    app = Starlette(routes=review_routes(a_site(), pages or PAGES))
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app, raise_app_exceptions=False), base_url="http://cds.example")


async def test_a_page_is_html_json_and_csv() -> None:
    async with client() as one:
        html, json, csv = [await one.get(f"/review/cells{ending}?days=7") for ending in ("", ".json", ".csv")]
    assert html.headers["content-type"] == "text/html; charset=utf-8"
    assert "&lt;b&gt;" in html.text
    assert json.json() == {"title": "Cells", "log": None, "message": "<b>"}
    assert csv.content == b'text,number,line\r\n\'=1+1,-1,"a ""quoted""\nline"\r\n'
    assert csv.headers["content-disposition"] == 'attachment; filename="cells.csv"'


async def test_no_page_is_stored_or_runs_anything_that_is_not_a_file_of_ours() -> None:
    async with client() as one:
        for path in ("/review/cells", "/review/cells.json", "/review/cells.csv", "/review/missing", "/review/static/review.css"):
            headers = (await one.get(path)).headers
            assert headers["cache-control"] == "no-store"
            assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'; script-src 'self';")
            assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("ending", ["", ".json", ".csv"])
@pytest.mark.parametrize(("path", "status", "says"), [("refused", 400, "No card of this name"), ("missing", 404, "No such case")])
async def test_what_a_page_cannot_show_is_said_in_its_own_form(path: str, status: int, says: str, ending: str) -> None:
    async with client() as one:
        answer = await one.get(f"/review/{path}{ending}")
    if (path, ending) == ("missing", ".csv"):
        assert answer.status_code == 404  # the page has no table
    else:
        assert (answer.status_code, says in answer.text) == (status, True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://cds.example"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"origin": "https://evil.example"}, 403),
    ],
)
async def test_forms_are_taken_from_our_own_pages_only(headers: dict[str, str], status: int, tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path)
    app = create_app(runtime.settings, runtime=runtime)
    app.router.routes[:0] = review_routes(a_site(), PAGES)  # before those of the application
    async with running(app) as one:
        answer = await one.post("/review/cells", data={"word": "spoken"}, headers=headers)
        assert answer.status_code == status
        assert ("spoken" in answer.text) == (status == 200)


async def test_a_form_can_lead_to_another_page() -> None:
    async with client() as one:
        answer = await one.post("/review/missing")
    assert (answer.status_code, answer.headers["location"]) == (303, "/review/cells")


async def test_the_dev_profile_has_the_pages_beside_those_of_the_cards(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path)
    async with running(create_app(runtime.settings, runtime=runtime)) as one:
        assert (await one.get("/review/definitions")).status_code == 200
        assert (await one.get("/cards/quinine-avoid", follow_redirects=True)).status_code == 200


async def test_the_own_process_serves_the_same_pages(tmp_path: Path) -> None:
    app = create_review_app(Settings(log_path=tmp_path / "alerts.sqlite3"))
    async with running(app) as one:
        assert (await one.get("/")).headers["location"] == "/review"
        page = await one.get("/review/definitions")
        assert page.status_code == 200
        for definition in DEFINITIONS:
            assert f'id="{definition}"' in page.text


def _too_long(_: PageRequest) -> Page:
    raise StatementTooLongError(2000)


def _away(asked: PageRequest) -> Page:
    asked.database.rows("SELECT 1 AS one")
    raise AssertionError("there is no database")


@pytest.mark.parametrize("ending", ["", ".json", ".csv"])
@pytest.mark.parametrize(
    ("draw", "reads", "says"),
    [(_too_long, False, "more than 2 seconds"), (_away, True, "there is no alert log at nowhere/alerts.sqlite3")],
)
async def test_a_database_that_cannot_tell_is_said(
    draw: Callable[[PageRequest], Page], reads: bool, says: str, ending: str
) -> None:
    async with client(PageRoute("/page", draw, "viewer", csv=True, reads=reads)) as one:
        answer = await one.get(f"/review/page{ending}")
    assert (answer.status_code, says in answer.text) == (503, True)
    assert ("Not reached since" in answer.text) == reads


@pytest.mark.parametrize(("host", "warns"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])  # noqa: S104
def test_listening_where_others_reach_warns(host: str, warns: bool, capsys: pytest.CaptureFixture[str]) -> None:
    warn_where_others_reach(host)
    assert ("WARNING" in capsys.readouterr().err) == warns
