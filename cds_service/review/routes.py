"""Route the pages: HTML, and the same data as JSON and CSV under the same address with an ending."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from jinja2 import Environment
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cds_service import __version__
from cds_service.clock import Clock
from cds_service.files.page_templates import page_templates
from cds_service.hooks.body import BodyMemory, read_body
from cds_service.knowledge.knowledge import Knowledge
from cds_service.review.definitions import DEFINITIONS
from cds_service.review.page import BadFormError, Page, PageNotFoundError, PageRequest, PageRoute
from cds_service.review.pages import PAGES
from cds_service.wire.errors import Forbidden
from cds_service.wire.same_origin import from_this_site

BASE = "/review"
MAX_FORM_BYTES = 64 * 1024
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\0")  # a spreadsheet would run a cell that begins so (OWASP ASVS 5.0, 1.2.10)


def review_routes(knowledge: Knowledge, clock: Clock, *, banner: str = "", pages: Sequence[PageRoute] = PAGES) -> list[Route]:
    """Return the routes below `/review`; `banner` is a line above each page, "" for none."""
    drawn = _Drawn(knowledge, clock, banner, pages)
    routes = [
        Route(f"{BASE}/static/review.css", drawn.style, methods=["GET"]),
    ]
    for page in pages:
        routes += drawn.routes(page)
    return routes


class _Drawn:
    """Draw pages for requests. Templates are read at the first request, so that other processes stay small."""

    def __init__(self, knowledge: Knowledge, clock: Clock, banner: str, pages: Sequence[PageRoute]) -> None:
        self._knowledge = knowledge
        self._clock = clock
        self._banner = banner
        self._navigation = [(page.nav, BASE + page.path) for page in pages if page.nav]
        self._memory = BodyMemory(MAX_FORM_BYTES)

    @cached_property
    def _templates(self) -> Environment:
        templates = page_templates("cds_service.review")
        templates.globals.update(
            base=BASE, banner=self._banner, version=__version__, navigation=self._navigation, definitions=DEFINITIONS
        )
        return templates

    def routes(self, page: PageRoute) -> list[Route]:
        """Return the routes of one page."""
        path = BASE + page.path
        routes = [Route(f"{path}.json", self._endpoint(page, _json), methods=["GET"])]
        if page.csv:
            routes.append(Route(f"{path}.csv", self._endpoint(page, _csv), methods=["GET"]))
        routes.append(Route(path, self._endpoint(page, self._html), methods=["GET"]))
        if page.post is not None:
            routes.append(Route(path, self._post(page.post), methods=["POST"]))
        return routes

    def _endpoint(self, page: PageRoute, write: Callable[[Page, PageRequest], Response]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            asked = self._asked(request, {})
            return await run_in_threadpool(self._answer, page.draw, asked, write)

        return endpoint

    def _post(self, post: Callable[[PageRequest], Page | Response]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            if not from_this_site(request.headers):
                raise Forbidden("A form of the review pages is accepted from its own pages only")
            body = await read_body(request.scope, request.receive, MAX_FORM_BYTES, self._memory)
            form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=200))
            return await run_in_threadpool(self._answer, post, self._asked(request, form), self._html)

        return endpoint

    def _asked(self, request: Request, form: Mapping[str, str]) -> PageRequest:
        return PageRequest(
            url=f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path,
            path=request.path_params,
            query=dict(request.query_params),
            form=form,
            cookies=request.cookies,
            now=self._clock(),
            knowledge=self._knowledge,
        )

    def _answer(
        self,
        make: Callable[[PageRequest], Page | Response],
        asked: PageRequest,
        write: Callable[[Page, PageRequest], Response],
    ) -> Response:
        try:
            made = make(asked)
        except PageNotFoundError as error:
            made = _message("Not here", error, 404)
        except BadFormError as error:
            made = _message("This could not be used", error, 400)
        response = made if isinstance(made, Response) else write(made, asked)
        response.headers.update(HEADERS)
        return response

    def _html(self, page: Page, asked: PageRequest) -> Response:
        values = {**page.data, **page.only_html}
        body = self._templates.get_template(page.template).render(
            values, title=page.title, here=asked.url.partition("?")[0], url=asked.url, has_csv=page.rows is not None
        )
        return Response(body, page.status, media_type="text/html")

    async def style(self, _: Request) -> Response:
        return Response(style(), headers=HEADERS, media_type="text/css")


def style() -> bytes:
    """Return the style sheet: that of the cards' pages, and our own after it."""
    tokens = files("cds_service.review_site").joinpath("templates", "style.css").read_bytes()
    return tokens + files("cds_service.review").joinpath("static", "review.css").read_bytes()


def see_other(path: str) -> Response:
    """Return the redirect after a form; `path` is below `/review`."""
    return RedirectResponse(BASE + path, 303)


def _message(title: str, error: Exception, status: int) -> Page:
    return Page(title, "message.html", {"message": str(error)}, status=status)


def _json(page: Page, _: PageRequest) -> Response:
    body = msgspec.json.encode({"title": page.title, **page.data})
    return Response(body, page.status, media_type="application/json")


def _csv(page: Page, asked: PageRequest) -> Response:
    """Write the rows of a page as RFC 4180 has it, with names of columns in the first line."""
    if page.rows is None:  # a message
        return Response(str(page.data.get("message", "")), page.status, media_type="text/plain")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(page.columns)
    writer.writerows([_cell(row[name]) for name in page.columns] for row in page.rows)
    name = asked.url.partition("?")[0].rpartition("/")[2]
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(text.getvalue(), page.status, headers, media_type="text/csv")


def _cell(value: Any) -> Any:
    """Return a value that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
