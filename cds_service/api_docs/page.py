"""`/docs`: the OpenAPI document as one page, drawn here. It needs no script and asks no other host for anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import msgspec
from fastapi import APIRouter, FastAPI, Response
from markupsafe import Markup, escape

from cds_service.page_templates import page_templates

_REF = "#/components/schemas/"
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class Member(NamedTuple):
    """One member of a model, in words."""

    name: str
    type: str
    model: str  # the model to link to, "" for none
    required: bool
    description: str


def docs_routes(app: FastAPI, *, banner: str) -> APIRouter:
    """`/docs` and its style sheet. `banner`: what stands above everything, "" for nothing."""
    router = APIRouter(include_in_schema=False)
    pages = page_templates("cds_service.api_docs")
    pages.filters.update(pretty=_pretty, words=_words, model=_model_of, members=members, anchor=_anchor)

    @cache
    def page() -> str:
        return pages.get_template("docs.html").render(document=app.openapi(), banner=banner)

    @cache
    def style() -> str:
        return pages.get_template("style.css").render()

    @router.get("/docs")
    async def docs() -> Response:
        return Response(page(), headers=_HEADERS, media_type="text/html")

    @router.get("/docs/style.css")
    async def style_sheet() -> Response:
        return Response(style(), headers=_HEADERS, media_type="text/css")

    return router


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()


def _words(text: str) -> Markup:
    """A text with its `code` marked up."""
    parts = [
        escape(part) if number % 2 == 0 else Markup("<code>{}</code>").format(part) for number, part in enumerate(text.split("`"))
    ]
    return Markup("").join(parts)


def _anchor(method: str, path: str) -> str:
    """An id for an operation."""
    return re.sub(r"[^a-z0-9-]", "", f"{method}{path.replace('/', '-')}")


def _model_of(content: dict[str, Any]) -> str:
    """The name of the model of a body, "" for none of ours."""
    schema = content.get("application/json", {}).get("schema", {})
    return str(schema.get("$ref", "")).removeprefix(_REF)


def members(schema: dict[str, Any]) -> Iterator[Member]:
    """The members of a model."""
    for name, one in schema.get("properties", {}).items():
        kind, model = _type(one)
        yield Member(name, kind, model, name in schema.get("required", ()), one.get("description", ""))


def _type(schema: dict[str, Any]) -> tuple[str, str]:
    """(a type in words, the model that it is about)."""
    if "$ref" in schema:
        model = schema["$ref"].removeprefix(_REF)
        return model, model
    if "anyOf" in schema:
        kinds = [_type(one) for one in schema["anyOf"]]
        return " or ".join(kind for kind, _ in kinds), next((model for _, model in kinds if model), "")
    if "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema["enum"] if value != ""), ""
    if schema.get("type") == "array":
        kind, model = _type(schema.get("items", {}))
        return f"list of {kind}", model
    return str(schema.get("type", "anything")), ""
