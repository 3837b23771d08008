"""Every route of the pages × every role: who may, gets the page; nobody else gets any form of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from msgspec.structs import replace
from starlette.responses import Response
from starlette.routing import Route

from cds_service.access.reader import ROLES, Access, Role
from cds_service.review.page import BASE, Page, PageRequest, PageRoute
from cds_service.review.pages import PAGES
from cds_service.review.routes import review_routes
from cds_service.review.site import Site
from cds_service.settings import Settings
from tests.access.people import Clock, a_site, add_person, audit_entries, form_token, review_database, sign_in
from tests.core import knowledge
from tests.docs import GENERATED
from tests.log_tables import make_sqlite_log
from tests.review.sample_log import NOW

# Whom a page is open to, written here once more, in words of its own.
MAY: dict[Access, set[Role]] = {
    "viewer": {"viewer", "reviewer", "rule owner"},
    "reviewer": {"reviewer", "rule owner"},
    "rule owner": {"rule owner"},
    "auditor": {"auditor"},
    "admin": {"admin"},
    "signed in": set(ROLES),
    "anyone": set(ROLES),
}
OPEN = {"/sign-in", "/sign-in/provider", "/sign-in/callback"}  # to people who have not signed in
Browsers = dict[str, tuple[httpx2.AsyncClient, str]]
FORMS = ("", ".json", ".csv", "POST")


def _shown(asked: PageRequest) -> Page | Response:
    return Page(
        "Shown", "message.html", {"message": "shown to those who may"}, rows=[{"a": "shown to those who may"}], columns=["a"]
    )


STUBS = tuple(replace(page, draw=_shown, post=_shown if page.post else None, reads=False) for page in PAGES)


def address(page: PageRoute) -> str:
    return BASE + re.sub(r"\{([^}]+)\}", lambda match: "1" if match[1].endswith(":number") else "x", page.path)


def forms(page: PageRoute) -> list[str]:
    return [one for one in FORMS if {"": True, ".json": page.twins, ".csv": page.csv, "POST": page.post is not None}[one]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty log."""
    made = tmp_path_factory.mktemp("roles")
    make_sqlite_log(made / "alerts.sqlite3")
    return made


@pytest.fixture(scope="module")
def browsers(folder: Path) -> Iterator[Browsers]:
    """A browser of each role, of somebody scoped, and of nobody; with the token for forms."""
    people: dict[str, tuple[Role, list[str] | None]] = {role: (role, None) for role in ROLES}
    people["scoped"] = ("rule owner", ["north"])
    with a_site(folder, Clock(), STUBS) as browser, a_site(folder, Clock()) as real:
        made = {"nobody": (browser(), "")}
        with closing(review_database(folder)) as database:
            for name, (role, clients) in people.items():
                made[name] = asyncio.run(_signed_in(browser(), real(), name, add_person(database, name, role, clients=clients)))
        yield made


async def _signed_in(
    client: httpx2.AsyncClient, real: httpx2.AsyncClient, name: str, secret: str
) -> tuple[httpx2.AsyncClient, str]:
    """Sign in on the real page, because that of the stubs is a stub, too."""
    assert (await sign_in(real, name, secret)).status_code == 303
    token = await form_token(real, "/sign-out")
    client.cookies.update(real.cookies)
    await real.aclose()
    return client, token


async def ask(client: httpx2.AsyncClient, page: PageRoute, form: str, token: str) -> httpx2.Response:
    if form == "POST":
        return await client.post(address(page), data={"form_token": token})
    return await client.get(address(page) + form)


@pytest.mark.parametrize("page", STUBS, ids=lambda page: page.path or "/")
async def test_each_form_of_each_page_is_for_its_roles(browsers: Browsers, page: PageRoute, folder: Path) -> None:
    allowed: list[bool] = []
    for form in forms(page):
        access: Access | None = page.post_role if form == "POST" else page.role
        assert access is not None
        for role in ROLES:
            answer = await ask(browsers[role][0], page, form, browsers[role][1])
            assert (answer.status_code == 200) == (role in MAY[access]), (role, form, answer.status_code)
            assert ("shown to those who may" in answer.text) == (role in MAY[access])
            assert answer.status_code in (200, 403)
        allowed += [role in MAY[access] for role in ROLES] + [page.scoped and "rule owner" in MAY[access]]
        scoped = await ask(browsers["scoped"][0], page, form, browsers["scoped"][1])
        assert (scoped.status_code == 200) == allowed[-1], form
        nobody = await ask(browsers["nobody"][0], page, form, "")
        if form == "POST":  # also the page to sign in wants its token
            assert nobody.status_code == (403 if page.path in OPEN else 401)
        elif page.path in OPEN:
            assert nobody.status_code == 200
        else:
            assert nobody.status_code == (401 if form else 303)
        assert ("shown to those who may" in nobody.text) == (page.path in OPEN and form != "POST")
    refused = [
        one
        for one in audit_entries(folder)
        if one[1] == "refused" and one[2].removesuffix(".json").removesuffix(".csv") == address(page)
    ]
    assert len(refused) == sum(not may for may in allowed)


@pytest.mark.parametrize("page", [one for one in STUBS if one.post], ids=lambda page: page.path)
async def test_each_form_without_its_token_is_refused(browsers: Browsers, page: PageRoute) -> None:
    for client, _ in browsers.values():
        for data in ({}, {"form_token": "0" * 48}):
            answer = await client.post(address(page), data=data)
            assert answer.status_code in (401, 403)
            assert "shown to those who may" not in answer.text


def test_auditors_and_admins_see_no_records() -> None:
    # Each format of the exports asks for a role of its own: auditors get the audit.
    of_both = {"/definitions", "/sign-out", "/exports", *OPEN}
    for role, own in (("auditor", {"/audit"}), ("admin", {"/people"})):
        open_to = {page.path for page in PAGES if role in MAY[page.role]}
        assert open_to == of_both | own


def test_cases_are_for_reviewers() -> None:
    for page in PAGES:
        if "/cases" in page.path:
            assert page.role in ("reviewer", "rule owner"), page.path


def test_the_router_has_no_route_beside_those_of_pages_and_the_table_has_them_all(tmp_path: Path) -> None:
    site = Site(Settings(log_path=tmp_path / "alerts.sqlite3"), knowledge(), lambda: NOW)
    routes = {(route.path, method) for route in review_routes(site) if isinstance(route, Route) for method in route.methods or ()}
    wanted = {
        (BASE + page.path + (form if form != "POST" else ""), "POST" if form == "POST" else "GET")
        for page in PAGES
        for form in forms(page)
    }
    static = {(f"{BASE}/static/review.css", "GET"), (f"{BASE}/static/review.js", "GET")}
    assert {one for one in routes if one[1] != "HEAD"} == wanted | static
    table = GENERATED["roles"]()
    for page in PAGES:
        assert f"| `{BASE}{page.path}` | read |" in table
        assert (f"| `{BASE}{page.path}` | send |" in table) == (page.post is not None)
