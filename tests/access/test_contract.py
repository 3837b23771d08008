"""Roles, pages without one, and what is entered in the audit before it is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette

from cds_service.access.audit import FIRST, append, entry_hash, head
from cds_service.access.reader import ROLES, Reader, Role, typed_reader
from cds_service.database import open_database
from cds_service.review.page import Page, PageRequest, PageRoute
from cds_service.review.routes import review_routes
from cds_service.review.site import Site
from cds_service.settings import Settings
from tests.core import NOW, knowledge
from tests.log_tables import make_sqlite_log

INCLUDES = {
    "viewer": {"viewer"},
    "reviewer": {"viewer", "reviewer"},
    "rule owner": {"viewer", "reviewer", "rule owner"},
    "auditor": {"auditor"},
    "admin": {"admin"},
}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_what_it_includes_and_nothing_else(role: Role) -> None:
    reader = Reader("Ada", frozenset({role}))
    assert {one for one in ROLES if reader.may(one)} == INCLUDES[role]


def test_nobody_may_anything_without_a_role() -> None:
    assert not any(Reader("Ada").may(role) for role in ROLES)
    assert all(typed_reader("Ada").may(role) for role in ROLES)


def _draw(_: PageRequest) -> Page:
    return Page("Page", "message.html", {"message": "shown"})


@pytest.mark.parametrize(
    "build",
    [
        lambda: PageRoute("/page", _draw),  # type: ignore[call-arg]
        lambda: PageRoute("/page", _draw, "boss"),  # type: ignore[arg-type]
        lambda: PageRoute("/page", _draw, "viewer", post=_draw),
        lambda: PageRoute("/page", _draw, "viewer", post_role="viewer"),
    ],
)
def test_a_page_without_a_role_is_not_built(build: Callable[[], PageRoute]) -> None:
    with pytest.raises((TypeError, ValueError)):
        build()


def _audited(asked: PageRequest) -> Page:
    asked.audit("open case", "/review/cases/1", "a complaint", {"rows": 2})
    return Page("Page", "message.html", {"message": "shown"})


async def _ask(folder: Path) -> httpx2.Response:
    site = Site(Settings(log_path=folder / "alerts.sqlite3"), knowledge(), lambda: NOW)
    routes = review_routes(site, (PageRoute("/page", _audited, "viewer", reads=False),))
    transport = httpx2.ASGITransport(app=Starlette(routes=routes))
    async with httpx2.AsyncClient(transport=transport, base_url="http://cds.example") as client:
        answer = await client.get("/review/page", headers={"cookie": "cds_reviewer=Zo%C3%AB"})
    site.close()
    return answer


async def test_what_a_page_audits_is_written_in_a_chain(tmp_path: Path) -> None:
    make_sqlite_log(tmp_path / "alerts.sqlite3")
    for _ in range(2):
        assert "shown" in (await _ask(tmp_path)).text
    database = open_database(tmp_path / "alerts.sqlite3", tmp_path / "review.sqlite3", writes_review=True)
    rows = database.rows("SELECT * FROM review.audit ORDER BY seq")
    assert [(row["seq"], row["reader"], row["action"], row["reason"], row["detail"]) for row in rows] == [
        (number, "Zoë", "open case", "a complaint", '{"rows":2}') for number in (1, 2)
    ]
    assert [row["before"] for row in rows] == [FIRST, rows[0]["hash"]]
    assert [entry_hash(row) for row in rows] == [row["hash"] for row in rows]
    assert append(database, 1, "Ada", "sign in", "").seq == 3
    newest = head(database)
    assert newest is not None
    assert newest.seq == 3
    database.close()


async def test_nothing_is_shown_where_the_audit_cannot_be_written(tmp_path: Path) -> None:
    answer = await _ask(tmp_path)  # there is no log
    assert answer.status_code == 503
    assert "The audit can't be written" in answer.text.replace("&#39;", "'")
    assert "shown</p>" not in answer.text
