"""Define what a page of the quality team is: a function from a request to data, drawn as HTML, JSON or CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from starlette.responses import RedirectResponse, Response

from cds_service.database import Database
from cds_service.knowledge.knowledge import Knowledge
from cds_service.settings import Settings

BASE = "/review"


class PageRequest(msgspec.Struct, frozen=True):
    """What a page is asked for, and what it may ask."""

    url: str  # path and query as the browser sent them
    path: Mapping[str, str]  # parameters of the path
    query: Mapping[str, str]  # the last value of each parameter
    form: Mapping[str, str]  # fields of a form; empty for GET
    cookies: Mapping[str, str]
    now: datetime
    settings: Settings
    knowledge: Knowledge
    connection: Database | None  # None for a page that reads no database

    @property
    def database(self) -> Database:
        """Return the log and the review database; for a form also to write the latter."""
        if self.connection is None:
            raise RuntimeError("this page was registered as one that reads no database")
        return self.connection


class Page(msgspec.Struct, frozen=True):
    """What a page shows. HTML and JSON are drawn from the same `data`, so that they hold the same figures."""

    title: str
    template: str
    data: Mapping[str, Any]  # of types that JSON has, or msgspec structs of them
    only_html: Mapping[str, Any] = {}  # what a template needs beside: charts, links
    rows: Sequence[Mapping[str, Any]] | None = None  # the table of the page, for CSV
    columns: Sequence[str] = ()  # of `rows`, in order
    status: int = 200


class PageNotFoundError(Exception):
    """Raised where the page has nothing to show under this address. The text is for the reader."""


class BadFormError(Exception):
    """Raised for a form or a parameter that cannot be used. The text is for the reader."""


class PageRoute(msgspec.Struct, frozen=True):
    """One page: its address below `/review`, and the function that makes it.

    `path` is "" for the first page. `draw` and `post` run in a thread, so they may ask databases. `nav` is the name in the
    navigation, "" for pages that others link to.
    """

    path: str
    draw: Callable[[PageRequest], Page]
    nav: str = ""
    csv: bool = False
    reads: bool = True  # the database
    post: Callable[[PageRequest], Page | Response] | None = None


def see_other(path: str) -> Response:
    """Return the redirect after a form; `path` is below `/review`."""
    return RedirectResponse(BASE + path, 303)
