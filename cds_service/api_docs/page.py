"""Serve `/docs`: the OpenAPI document as one page, without scripts and without other hosts.

By hand, because the packaged pages (Swagger UI, ReDoc, Scalar) show nothing without scripts and print little.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Response

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def docs_routes(app: FastAPI, *, banner: str) -> APIRouter:
    """Return the routes of `/docs` and its style sheet.

    `banner` is a line above the page, "" for none.
    """
    router = APIRouter(include_in_schema=False)

    @cache
    def page() -> str:
        # Imported for the first reader: the templates' language takes 40 ms of a start.
        from jinja2 import Undefined

        from cds_service.files.page_templates import page_templates

        pages = page_templates("cds_service.api_docs").overlay(undefined=Undefined)  # OpenAPI leaves out what does not apply
        pages.filters["pretty"] = _pretty
        return pages.get_template("docs.html").render(document=app.openapi(), banner=banner)

    @cache
    def style() -> bytes:
        sheets = ("cds_service.review_site", "cds_service.api_docs")  # that of the review pages, and this page's own
        return b"".join(files(package).joinpath("templates", "style.css").read_bytes() for package in sheets)

    @router.get("/docs")
    async def docs() -> Response:
        return Response(page(), headers=_HEADERS, media_type="text/html")

    @router.get("/docs/style.css")
    async def style_sheet() -> Response:
        return Response(style(), headers=_HEADERS, media_type="text/css")

    return router


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()
