"""Serve `/docs`: the OpenAPI document as one page, without scripts and without other hosts.

By hand, because the packaged pages (Swagger UI, ReDoc, Scalar) show nothing without scripts and print little.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cds_service.clock import Clock, utc_now

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

_TO_TRY = {"call_patient_view": "low-potassium", "call_order_select": "quinine-selected", "call_order_sign": "quinine-for-cramps"}


def docs_routes(app: FastAPI, *, banner: str, clock: Clock = utc_now) -> list[Route]:
    """Return the routes of `/docs` and its style sheet.

    `banner` is a line above the page, "" for none. `clock` dates the requests to try, which the playground sends.
    """

    def page() -> str:
        # Imported for the first reader: the templates' language takes 40 ms of a start.
        from jinja2 import Undefined

        from cds_service.files.page_templates import page_templates

        pages = page_templates("cds_service.api_docs").overlay(undefined=Undefined)  # OpenAPI leaves out what does not apply
        pages.filters["pretty"] = _pretty
        return pages.get_template("docs.html").render(document=app.openapi(), banner=banner, to_try=_to_try(clock()))

    @cache
    def style() -> bytes:
        sheets = ("cds_service.review_site", "cds_service.api_docs")  # that of the review pages, and this page's own
        return b"".join(files(package).joinpath("templates", "style.css").read_bytes() for package in sheets)

    async def docs(_: Request) -> Response:
        return Response(page(), headers=_HEADERS, media_type="text/html")

    async def style_sheet(_: Request) -> Response:
        return Response(style(), headers=_HEADERS, media_type="text/css")

    return [Route("/docs", docs, methods=["GET"]), Route("/docs/style.css", style_sheet, methods=["GET"])]


def _to_try(now: datetime) -> dict[str, Any]:
    """Return a request of today for each operation that calls a service."""
    from cds_service.authoring.samples import load_samples
    from cds_service.files.paths import fixtures_dir

    samples = load_samples(fixtures_dir())
    return {operation: samples[name].request(now) for operation, name in _TO_TRY.items()}


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()
