"""Define what a page of the quality team is: a function from a request to data, drawn as HTML, JSON or CSV."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from starlette.responses import RedirectResponse, Response

from cds_service.access.audit import AuditLog, Head
from cds_service.access.gate import Gate
from cds_service.access.reader import ACCESSES, Access, Reader
from cds_service.alert_log.instants import micros
from cds_service.database import Database
from cds_service.knowledge.knowledge import Knowledge
from cds_service.rollups.days import SiteDays
from cds_service.rollups.filter import Filter
from cds_service.settings import Settings

DAYS = 28  # that a page shows where its address names no days
BASE = "/review"
WHOLE_NUMBER = "[0-9]{1,15}"  # of an id in an address: what both databases hold


class PageRequest(msgspec.Struct, frozen=True):
    """What a page is asked for, and what it may ask."""

    method: str
    url: str  # path and query as the browser sent them
    path: Mapping[str, str]  # parameters of the path
    pairs: Sequence[tuple[str, str]]  # parameters of the query, in its order
    form: Mapping[str, str]  # fields of a form; empty for GET
    cookies: Mapping[str, str]
    now: datetime
    settings: Settings
    knowledge: Knowledge
    connection: Database | None  # None for a page that reads no database
    reader: Reader
    audit_log: AuditLog
    gate: Gate  # for the pages to sign in and out
    form_token: str  # stands in each form that is drawn

    def reading(self, connection: Database | None) -> PageRequest:
        """Return the same with a connection."""
        return msgspec.structs.replace(self, connection=connection)

    @property
    def database(self) -> Database:
        """Return the log and the review database, narrowed to what the reader may see; for a form also to write the latter."""
        if self.connection is None:
            raise RuntimeError("this page was registered as one that reads no database")
        return self.connection

    def audit(self, action: str, object_: str, reason: str = "", detail: Mapping[str, Any] | None = None) -> Head:
        """Enter what this reader is about to see or change, before it happens and outside of a transaction. Raises AuditError.

        `action`: a verb ("open case", "reveal", "export"); `object_`: an address or a filter, no patient data; `detail`: more of
        it, of types that JSON has.
        """
        return self.audit_log.append(self.reader.name, action, object_, reason, detail)

    @property
    def known(self) -> bool:
        """Return whether somebody signed in, or this is a dev process without accounts."""
        return bool(self.reader.name) or not self.reader.verified

    @property
    def query(self) -> Mapping[str, str]:
        """Return the last value of each parameter."""
        return dict(self.pairs)

    @property
    def today(self) -> int:
        """Return the day of the site, YYYYMMDD."""
        return SiteDays(self.settings.time_zone).day_of(micros(self.now))

    def filter(self, *, days: int | None = DAYS, other: Iterable[str] = ()) -> Filter:
        """Return the filter of the query; `days` and `other`: see `Filter.from_query`. Raises FilterError."""
        return Filter.from_query(self.pairs, self.today, days=days, other=other)


def whole_number(text: str) -> int | None:
    """Return the number that a parameter gives; None for other text, and for more digits than any id has."""
    return int(text) if re.fullmatch(WHOLE_NUMBER, text) else None


class Page(msgspec.Struct, frozen=True):
    """What a page shows. HTML and JSON are drawn from the same `data`, so that they hold the same figures."""

    title: str
    template: str
    data: Mapping[str, Any]  # of types that JSON has, or msgspec structs of them
    only_html: Mapping[str, Any] = {}  # what a template needs beside: charts, links
    rows: Sequence[Mapping[str, Any]] | None = None  # the table of the page, for CSV
    columns: Sequence[str] = ()  # of `rows`, in order
    status: int = 200
    headers: Mapping[str, str] = {}


class PageNotFoundError(Exception):
    """Raised where the page has nothing to show under this address. The text is for the reader."""


class BadFormError(Exception):
    """Raised for a form or a parameter that cannot be used. The text is for the reader."""


class ScopeError(Exception):
    """Raised where something is of the records of all clients and the reader may see those of some. The text is for
    the reader.
    """

    def __init__(self, text: str = "This page shows the records of all clients, and yours are those of some") -> None:
        super().__init__(text)


class PageRoute(msgspec.Struct, frozen=True):
    """One page: its address below `/review`, and the function that makes it.

    `path` is "" for the first page. `draw` and `post` run in a thread, so they may ask databases. `role` is what a reader needs
    for the page and `post_role` what its form needs: there is no default, so that no page is open by oversight. `nav` is
    the name in the navigation, "" for pages that others link to. `scoped`: readers of some clients may open it, because it shows
    what `asked.database` gives, which is narrowed to theirs, and nothing else of the log.
    """

    path: str
    draw: Callable[[PageRequest], Page | Response]
    role: Access
    nav: str = ""
    csv: bool = False
    reads: bool = True  # the database
    post: Callable[[PageRequest], Page | Response] | None = None
    post_role: Access | None = None
    scoped: bool = False
    twins: bool = True  # JSON of the page

    def __post_init__(self) -> None:
        """Raise ValueError for a page or form without a known role."""
        if self.role not in ACCESSES:
            raise ValueError(f"the page {self.path!r} asks for no known role")
        if (self.post is None) != (self.post_role not in ACCESSES):
            raise ValueError(f"the page {self.path!r} needs a post_role exactly where it has a form")


def see_other(path: str) -> Response:
    """Return the redirect after a form; `path` is below `/review`."""
    return RedirectResponse(BASE + path, 303)
