"""Route the pages: HTML, and the same data as JSON and CSV under the same address with an ending."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cds_service.access.audit import AuditError
from cds_service.access.reader import Access, RoleError, typed_reader
from cds_service.database import DatabaseError, DatabasePool, StatementTooLongError
from cds_service.hooks.body import BodyMemory, read_body
from cds_service.review.drawing import Templates, as_csv, as_json, script, style
from cds_service.review.log_state import LogState, log_state
from cds_service.review.page import BASE, BadFormError, Page, PageNotFoundError, PageRequest, PageRoute
from cds_service.review.pages import PAGES
from cds_service.review.reviewer import typed_name
from cds_service.review.site import Site
from cds_service.rollups.filter import FilterError
from cds_service.wire.errors import Forbidden
from cds_service.wire.same_origin import from_this_site

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

Write = Callable[[Page, PageRequest, LogState | None], Response]


def review_routes(site: Site, pages: Sequence[PageRoute] = PAGES) -> list[Route]:
    """Return the routes below `/review`."""
    routes = _Routes(site, Templates(BASE, site.banner, [page for page in pages if page.nav]))
    return [
        Route(f"{BASE}/static/review.css", _style, methods=["GET"]),
        Route(f"{BASE}/static/review.js", _script, methods=["GET"]),
        *(one for page in pages for one in routes.of(page)),
    ]


class _Routes:
    """Answer requests for pages; each is made in a thread."""

    def __init__(self, site: Site, templates: Templates) -> None:
        self._site = site
        self._html = templates.html
        self._memory = BodyMemory(MAX_FORM_BYTES)

    def of(self, page: PageRoute) -> list[Route]:
        """Return the routes of one page; those with an ending first, because a parameter of a path would take it in."""
        path = BASE + page.path
        routes = [Route(f"{path}.json", self._get(page, as_json), methods=["GET"])]
        if page.csv:
            routes.append(Route(f"{path}.csv", self._get(page, as_csv), methods=["GET"]))
        routes.append(Route(path, self._get(page, self._html), methods=["GET"]))
        if page.post is not None and page.post_role is not None:
            routes.append(
                Route(path, self._post(page.post, page.post_role, self._site.writers if page.reads else None), methods=["POST"])
            )
        return routes

    def _get(self, page: PageRoute, write: Write) -> Callable[[Request], Any]:
        pool = self._site.readers if page.reads else None

        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(self._answer, page.draw, page.role, request, {}, pool, write)

        return endpoint

    def _post(
        self, post: Callable[[PageRequest], Page | Response], access: Access, pool: DatabasePool | None
    ) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            if not from_this_site(request.headers):
                raise Forbidden("A form of the review pages is accepted from its own pages only")
            body = await read_body(request.scope, request.receive, MAX_FORM_BYTES, self._memory)
            form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=200))
            return await run_in_threadpool(self._answer, post, access, request, form, pool, self._html)

        return endpoint

    def _answer(
        self,
        make: Callable[[PageRequest], Page | Response],
        access: Access,
        request: Request,
        form: Mapping[str, str],
        pool: DatabasePool | None,
        write: Write,
    ) -> Response:
        asked = self._asked(request, form)
        state = None
        try:
            asked.reader.require(access)
            if pool is not None:
                self._site.begin()
            with nullcontext() if pool is None else pool.borrow() as connection:
                made = make(self._asked(request, form, connection))
                if connection is not None and isinstance(made, Page):
                    state = log_state(connection, asked.now)
        except (RoleError, PageNotFoundError, BadFormError, FilterError, DatabaseError, AuditError) as error:
            made = _message(error)
        response = made if isinstance(made, Response) else write(made, asked, state)
        response.headers.update(HEADERS)
        if isinstance(made, Page) and write == self._html:
            response.headers.update(made.headers)
        return response

    def _asked(self, request: Request, form: Mapping[str, str], connection: Any = None) -> PageRequest:
        return PageRequest(
            url=f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path,
            path=request.path_params,
            pairs=tuple(request.query_params.multi_items()),
            form=form,
            cookies=request.cookies,
            now=self._site.clock(),
            settings=self._site.settings,
            knowledge=self._site.knowledge,
            connection=connection,
            reader=typed_reader(typed_name(request.cookies)),
            audit_log=self._site.audit_log,
        )


def _message(error: Exception) -> Page:
    """Return the page that says why there is no other."""
    match error:
        case RoleError():
            return Page("Not for your role", "message.html", {"message": str(error)}, status=403)
        case AuditError():
            return Page("Nothing was shown", "message.html", {"message": str(error)}, status=503)
        case PageNotFoundError():
            return Page("Not here", "message.html", {"message": str(error)}, status=404)
        case BadFormError() | FilterError():
            return Page("This could not be used", "message.html", {"message": str(error)}, status=400)
        case StatementTooLongError():
            text = (
                f"This would have taken more than {error.limit_ms / 1000:g} seconds and was stopped, so that the log stays free "
                "for calls. Choose a shorter period, or one card or client."
            )
            return Page("Too much at once", "message.html", {"message": text}, status=503)
    return Page("The log cannot be read now", "message.html", {"message": str(error)}, status=503)


async def _style(_: Request) -> Response:
    return Response(style(), headers=HEADERS, media_type="text/css")


async def _script(_: Request) -> Response:
    return Response(script(), headers=HEADERS, media_type="text/javascript")
