"""Route the pages: HTML, and the same data as JSON and CSV under the same address with an ending."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cds_service.access import form_tokens
from cds_service.access.audit import AuditError
from cds_service.access.reader import Access, Reader, RoleError, typed_reader
from cds_service.database import Database, DatabasePool, DatabaseUnavailableError, OutOfScopeError, ScopedDatabase
from cds_service.hooks.body import BodyMemory, read_body
from cds_service.review.cookies import cookie_of, set_cookie
from cds_service.review.drawing import Templates, as_csv, as_json, script, style
from cds_service.review.headers import HEADERS
from cds_service.review.log_state import LogState, log_state
from cds_service.review.messages import TOLD, FormTokenError, expect_scope, message
from cds_service.review.page import BASE, WHOLE_NUMBER, Page, PageRequest, PageRoute, ScopeError
from cds_service.review.pages import PAGES
from cds_service.review.reviewer import typed_name
from cds_service.review.signal_rows import seen_by
from cds_service.review.site import Site
from cds_service.wire.errors import Forbidden
from cds_service.wire.same_origin import from_this_site

MAX_FORM_BYTES = 64 * 1024
_NOBODY = Reader("")

Make = Callable[[PageRequest], Page | Response]
Write = Callable[[Page, PageRequest, LogState | None], Response]


def review_routes(site: Site, pages: Sequence[PageRoute] = PAGES) -> list[Route]:
    """Return the routes below `/review`."""
    routes = _Routes(site, Templates(BASE, site.banner, [page for page in pages if page.nav]))
    return [
        Route(f"{BASE}/static/review.css", _style, methods=["GET"]),
        Route(f"{BASE}/static/review.js", _script, methods=["GET"]),
        *(one for page in pages for one in routes.of(page)),
    ]


class _NumberConvertor(Convertor[int]):
    """Take numbers of paths that a database can hold, `{id:number}`; others are no page."""

    regex = WHOLE_NUMBER

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("number", _NumberConvertor())


class _Asked(NamedTuple):
    """What a route makes of a request, and who may ask for it."""

    make: Make
    access: Access
    scoped: bool  # readers of some clients may ask too
    pool: DatabasePool | None
    write: Write


class _Routes:
    """Answer requests for pages; each is made in a thread."""

    def __init__(self, site: Site, templates: Templates) -> None:
        self._site = site
        self._away_since = ""  # the database: when a page first did not reach it
        self._html = templates.html
        self._memory = BodyMemory(MAX_FORM_BYTES)

    def of(self, page: PageRoute) -> list[Route]:
        """Return the routes of one page; those with an ending first, because a parameter of a path would take it in."""
        path = BASE + page.path
        readers, writers = (self._site.readers, self._site.writers) if page.reads else (None, None)
        routes = []
        for ending, write in (("json", as_json), ("csv", as_csv)):
            if page.twins if ending == "json" else page.csv:
                asked = _Asked(page.draw, page.role, page.scoped, readers, write)
                routes.append(Route(f"{path}.{ending}", self._get(asked), methods=["GET"]))
        asked = _Asked(page.draw, page.role, page.scoped, readers, self._html)
        routes.append(Route(path, self._get(asked), methods=["GET"]))
        if page.post is not None and page.post_role is not None:
            asked = _Asked(page.post, page.post_role, page.scoped, writers, self._html)
            routes.append(Route(path, self._post(asked), methods=["POST"]))
        return routes

    def _get(self, asked: _Asked) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(self._answer, asked, request, {})

        return endpoint

    def _post(self, asked: _Asked) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            if not from_this_site(request.headers):
                raise Forbidden("A form of the review pages is accepted from its own pages only")
            body = await read_body(request.scope, request.receive, MAX_FORM_BYTES, self._memory)
            form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=200))
            return await run_in_threadpool(self._answer, asked, request, form)

        return endpoint

    def _answer(self, route: _Asked, request: Request, form: Mapping[str, str]) -> Response:
        tls = self._site.gate.tls
        session, known = (cookie_of(request.cookies, kind, tls=tls) for kind in ("session", "browser"))
        browser = known or form_tokens.new_browser()
        asked = self._asked(request, form, _NOBODY, form_tokens.form_token(browser, session))
        state = None
        try:
            reader = self._reader(request, session)
            if reader is None and route.access != "anyone":
                return self._sign_in_first(request, route.write)
            asked = self._asked(request, form, reader or _NOBODY, asked.form_token)
            self._expect_allowed(route, asked, form_tokens.is_good(form.get(form_tokens.FIELD, ""), known, session))
            if route.pool is not None:
                self._site.begin()
            with nullcontext() if route.pool is None else route.pool.borrow() as connection:
                asked = asked.reading(_narrowed(connection, asked.reader))
                made = route.make(asked)
                self._away_since = "" if connection is not None else self._away_since
                if connection is not None and isinstance(made, Page):
                    open_signals = sum(one.is_open for one in seen_by(asked))
                    state = log_state(asked.database, asked.now, open_signals)
        except TOLD as error:
            made = self._told(error, route, asked)
        response = made if isinstance(made, Response) else route.write(made, asked, state)
        if not known and asked.reader.verified:
            set_cookie(response, "browser", browser, tls=tls)
        response.headers.update(HEADERS)
        if isinstance(made, Page) and route.write == self._html:
            response.headers.update(made.headers)
        return response

    def _reader(self, request: Request, session: str) -> Reader | None:
        peer = request.client.host if request.client is not None else ""
        return self._site.gate.reader(request.headers, session, peer, typed_reader(typed_name(request.cookies)))

    def _expect_allowed(self, route: _Asked, asked: PageRequest, good_token: bool) -> None:
        """Raise where the reader lacks the role, a form has no token, or the page is for readers of all clients."""
        if asked.method == "POST" and asked.reader.verified and not good_token:
            raise FormTokenError
        asked.reader.require(route.access)
        expect_scope(asked.reader, route.scoped)

    def _told(self, error: Exception, route: _Asked, asked: PageRequest) -> Page:
        """Return the page for an error; a refusal stands in the audit."""
        if isinstance(error, RoleError | ScopeError | OutOfScopeError):
            try:
                asked.audit("refused", asked.url.partition("?")[0], detail={"needs": route.access})
            except AuditError as unwritten:
                return message(unwritten)
        if not isinstance(error, DatabaseUnavailableError):
            return message(error)
        self._away_since = self._away_since or asked.now.isoformat(sep=" ", timespec="seconds")
        return message(error, self._away_since)

    def _sign_in_first(self, request: Request, write: Write) -> Response:
        """Send a person to the page to sign in; tell a program that it has to."""
        if write == self._html and request.method == "GET":
            query = urlencode({"next": _url(request)})
            return RedirectResponse(f"{BASE}/sign-in?{query}", 303, HEADERS)
        return Response("Sign in first", 401, HEADERS | {"www-authenticate": "Cookie"}, media_type="text/plain")

    def _asked(self, request: Request, form: Mapping[str, str], reader: Reader, token: str) -> PageRequest:
        return PageRequest(
            method=request.method,
            url=_url(request),
            path=request.path_params,
            pairs=tuple(request.query_params.multi_items()),
            form=form,
            cookies=request.cookies,
            now=self._site.clock(),
            settings=self._site.settings,
            knowledge=self._site.knowledge,
            connection=None,
            reader=reader,
            audit_log=self._site.audit_log,
            gate=self._site.gate,
            form_token=token,
        )


def _url(request: Request) -> str:
    return f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path


def _narrowed(connection: Database | None, reader: Reader) -> Database | None:
    """Return the connection for this reader, who may see the records of some clients only."""
    if connection is None or not reader.scoped:
        return connection
    return ScopedDatabase(connection, reader.clients, reader.tenants)


async def _style(_: Request) -> Response:
    return Response(style(), headers=HEADERS, media_type="text/css")


async def _script(_: Request) -> Response:
    return Response(script(), headers=HEADERS, media_type="text/javascript")
