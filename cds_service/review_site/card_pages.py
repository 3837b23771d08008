"""Serve the public page of each card, which the card in the EHR links to.

It holds no patient data. `/cards/{id}/{version}` is the page of one version, `/cards/{id}` redirects to the current one.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cds_service.files.paths import cards_dir
from cds_service.knowledge.knowledge import Card, Knowledge
from cds_service.runtime import Runtime

if TYPE_CHECKING:
    from cds_service.review_site.pages import Site

_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "public, max-age=300",  # a page changes only with the process that serves it
}


class _CardId(Convertor[str]):
    """Match the id of a card in a path; other names below `/cards` are files."""

    regex = "[a-z][a-z0-9-]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("card_id", _CardId())


class _Page(msgspec.Struct, frozen=True):
    body: bytes
    etag: str


def card_page_routes(runtime: Runtime) -> list[Route]:
    """Return the routes `/cards/{id}` and `/cards/{id}/{version}`."""
    pages = _CardPages(runtime)
    return [
        Route("/cards/{id:card_id}", pages.newest, methods=["GET", "HEAD"]),
        Route("/cards/{id:card_id}/{version}", pages.page, methods=["GET", "HEAD"]),
    ]


class _CardPages:
    """Draw each page at its first request, and keep it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._drawn: dict[str, _Page] = {}

    @property
    def _knowledge(self) -> Knowledge:
        return self._runtime.knowledge

    @cached_property
    def _site(self) -> Site:
        from cds_service.authoring.recommendations import Recommendations
        from cds_service.review_site.pages import Site
        from cds_service.settings import DEV_BANNER

        settings = self._runtime.settings
        recommendations = Recommendations(settings.cards_dir or cards_dir())
        return Site(self._knowledge, recommendations, [], banner=DEV_BANNER if settings.profile == "dev" else "")

    @cached_property
    def _headers(self) -> dict[str, str]:
        style = b64encode(hashlib.sha256(self._site.style.encode()).digest()).decode()
        policy = f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        return _HEADERS | {"content-security-policy": policy}

    async def newest(self, request: Request) -> Response:
        card = self._served(request)
        return RedirectResponse(f"{card.id}/{card.file.version}", 307, {"cache-control": "no-cache"})

    async def page(self, request: Request) -> Response:
        card = self._served(request)
        if request.path_params["version"] != card.file.version:
            headers = self._headers | {"cache-control": "no-cache"}
            body = await run_in_threadpool(self._site.other_version, card)
            return Response(body, 404, headers, media_type="text/html")
        page = self._drawn.get(card.id)
        if page is None:
            page = await run_in_threadpool(self._draw, card)
        headers = self._headers | {"etag": page.etag}
        if page.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(page.body, headers=headers, media_type="text/html")

    def _served(self, request: Request) -> Card:
        card = self._knowledge.card(request.path_params["id"])
        if card is None or card.file.status == "retired":
            raise HTTPException(404)
        return card

    def _draw(self, card: Card) -> _Page:
        body = self._site.public_card(card).encode()
        page = self._drawn[card.id] = _Page(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
        return page
