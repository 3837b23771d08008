"""People of every role with local accounts over a made-up log, and browsers that have signed in."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pyotp
from starlette.applications import Starlette

from cds_service.access.accounts import add_account
from cds_service.access.reader import Role
from cds_service.alert_log.instants import micros
from cds_service.database import Database, open_database
from cds_service.review.headers import ProtectingHeaders
from cds_service.review.page import PageRoute
from cds_service.review.pages import PAGES
from cds_service.review.routes import review_routes
from cds_service.review.site import Site
from cds_service.settings import Settings
from tests.core import knowledge
from tests.review.sample_log import NOW

URL = "https://review.example"
PASSWORD = "correct horse battery staple"  # of everybody
_FORM = re.compile(r'name="form_token" value="([0-9a-f]+)"')


class Clock:
    """A clock that stands where it is set."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def review_database(folder: Path, url: str = "") -> Database:
    """The log in `folder`, or in PostgreSQL, with its review database to write."""
    return open_database(folder / "alerts.sqlite3", folder / "review.sqlite3", url, writes_review=True)


def add_person(
    database: Database,
    name: str,
    *roles: Role,
    clients: Iterable[str] | None = None,
    tenants: Iterable[str] | None = None,
    now: datetime = NOW,
) -> str:
    """Make an account and return the secret of its second factor."""
    return add_account(database, name, PASSWORD, roles, clients, tenants, at=micros(now))


def code(secret: str, now: datetime = NOW) -> str:
    """The code of the second factor now."""
    return str(pyotp.TOTP(secret).at(int(now.timestamp())))


@contextmanager
def a_site(
    folder: Path, clock: Callable[[], datetime], pages: Sequence[PageRoute] = PAGES, /, **settings: Any
) -> Iterator[Callable[..., httpx2.AsyncClient]]:
    """The pages over TLS; each call of what is given is another browser, which may say from where it connects."""
    chosen = Settings(log_path=folder / "alerts.sqlite3", review_url=URL, **settings)
    site = Site(chosen, knowledge(), clock)
    app = ProtectingHeaders(Starlette(routes=review_routes(site, pages)), tls=True)

    def browser(peer: str = "10.0.0.9") -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=app, client=(peer, 4711))
        return httpx2.AsyncClient(transport=transport, base_url=URL, headers={"sec-fetch-site": "same-origin"})

    yield browser
    site.close()


async def form_token(client: httpx2.AsyncClient, path: str) -> str:
    """The token in the form of a page."""
    page = await client.get(f"/review{path}")
    found = _FORM.search(page.text)
    assert found is not None, page.text
    return unescape(found[1])


async def sign_in(client: httpx2.AsyncClient, who: str, secret: str, now: datetime = NOW, /, **other: str) -> httpx2.Response:
    """Sign in with the form of the page."""
    token = await form_token(client, "/sign-in")
    fields = {"name": who, "password": PASSWORD, "code": code(secret, now), "form_token": token, **other}
    return await client.post("/review/sign-in", data=fields)


def audit_entries(folder: Path, url: str = "", names: Collection[str] = ("reader", "action", "object")) -> list[tuple[Any, ...]]:
    """The entries of the audit in their order."""
    database = review_database(folder, url)
    rows = database.rows("SELECT * FROM review.audit ORDER BY seq")
    database.close()
    return [tuple(row[name] for name in names) for row in rows]
