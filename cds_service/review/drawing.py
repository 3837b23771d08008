"""Write a page as HTML, JSON or CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from cds_service import __version__
from cds_service.access.form_tokens import FIELD
from cds_service.files.csv_cells import safe_cell
from cds_service.review.charts import day_of, day_text
from cds_service.review.definitions import DEFINITIONS
from cds_service.review.log_state import LogState
from cds_service.review.page import Page, PageRequest, PageRoute

if TYPE_CHECKING:
    from jinja2 import Environment
    from jinja2.ext import Extension


_POST_FORM = re.compile(r'<form\b[^>]*\bmethod="post"[^>]*>')


class Templates:
    """Draw HTML. Templates are read at the first page, so that other processes stay small."""

    def __init__(self, base: str, banner: str, navigation: Sequence[PageRoute]) -> None:
        """`base`: the address of the first page. `navigation`: the pages in it, each shown to those who may open it."""
        self._base = base
        self._banner = banner
        self._navigation = navigation

    @cached_property
    def _templates(self) -> Environment:
        from cds_service.files.page_templates import page_templates

        templates = page_templates("cds_service.review")
        templates.add_extension(form_tokens_in_forms())
        templates.globals.update(base=self._base, banner=self._banner, version=__version__, definitions=DEFINITIONS)
        templates.filters.update(
            number=_number, decimal=_decimal, percent=_percent, day=day_text, short_day=_short_day, ms=_ms, ago=_ago, hash=_hash
        )
        return templates

    def file(self, template: str, **values: Any) -> str:
        """Return a template as the text of a file that stands alone."""
        return self._templates.get_template(template).render(values)

    def html(self, page: Page, asked: PageRequest, state: LogState | None) -> Response:
        """Return the page as HTML."""
        here, _, query = asked.url.partition("?")
        body = self._templates.get_template(page.template).render(
            {**page.data, **page.only_html},
            title=page.title,
            log=state,
            here=here,
            query=f"?{query}" if query else "",
            has_csv=page.rows is not None,
            reader=asked.reader,
            form_token=asked.form_token,
            navigation=[
                (one.nav, self._base + one.path)
                for one in self._navigation
                if asked.known and asked.reader.may(one.role) and (one.scoped or not asked.reader.scoped)
            ],
        )
        return Response(body, page.status, media_type="text/html")


def form_tokens_in_forms() -> type[Extension]:
    """Return the extension that puts the token of the request into every form of the templates that is sent by POST."""
    from jinja2.ext import Extension

    class FormTokens(Extension):
        def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
            return _POST_FORM.sub(rf'\g<0><input type="hidden" name="{FIELD}" value="{{{{ form_token }}}}">', source)

    return FormTokens


def as_json(page: Page, _: PageRequest, state: LogState | None) -> Response:
    """Return the data of a page as JSON."""
    return Response(
        msgspec.json.encode({"title": page.title, "log": state, **page.data}), page.status, media_type="application/json"
    )


def as_csv(page: Page, asked: PageRequest, _: LogState | None) -> Response:
    """Return the rows of a page as RFC 4180 has it, with names of columns in the first line; for a message, its text."""
    if page.rows is None:
        return Response(str(page.data.get("message", "")), page.status, media_type="text/plain")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(page.columns)
    writer.writerows([safe_cell(row[name]) for name in page.columns] for row in page.rows)
    name = asked.url.partition("?")[0].rpartition("/")[2]
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(text.getvalue(), page.status, headers, media_type="text/csv")


def style() -> bytes:
    """Return the style sheet: that of the cards' pages, that of drawn cards, and our own after them."""
    shared = files("cds_service.review_site").joinpath("templates")
    own = files("cds_service.review").joinpath("static")
    parts = (shared / "style.css", shared / "drawn.css", own / "review.css", own / "judge.css")
    return b"".join(part.read_bytes() for part in parts)


def script() -> bytes:
    """Return the script: keys for pages that work without it."""
    return files("cds_service.review").joinpath("static", "review.js").read_bytes()


def _number(value: int) -> str:
    return f"{value:,}"


def _decimal(value: float) -> str:
    """Return a number with two digits that count, at most two behind the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _percent(value: float) -> str:
    """Return a share as percent: whole, with a digit behind the point below 10 and above 90."""
    percent = 100 * value
    digits = 0 if percent in (0, 100) or 10 <= percent <= 90 else 1
    return f"{percent:.{digits}f}\u00a0%"


def _short_day(day: int) -> str:
    return f"{day_of(day).day} {day_of(day):%b}"


def _hash(text: str) -> str:
    """Return a hash of the knowledge short enough to compare by eye: of the cards, and of the overlay."""
    return "+".join(part[:12] for part in text.split("+"))


def _ms(bound: int | None) -> str:
    return "none" if bound is None else f"≤\u00a0{bound}\u00a0ms"


def _ago(seconds: int) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}s"
    return f"{seconds} s"
