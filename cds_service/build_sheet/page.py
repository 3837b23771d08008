"""Serve the build sheets as pages, without scripts, to read, copy from and print."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cds_service.build_sheet.ehrs import known_ehrs
from cds_service.knowledge.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.wire.errors import UnknownService

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def build_sheet_routes(knowledge: Knowledge, settings: Settings, *, banner: str) -> list[Route]:
    """Return the routes of `/build-sheets`; `banner` is a line above each page, "" for none."""
    ehrs = known_ehrs()

    @cache
    def drawn(name: str) -> str:
        # Imported for the first reader, so that a start takes no longer.
        from markdown_it import MarkdownIt
        from markupsafe import Markup

        from cds_service.build_sheet.sheet import build_sheet
        from cds_service.files.page_templates import page_templates

        pages = page_templates("cds_service.build_sheet")
        markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
        sheet = Markup(markdown.render(build_sheet(name, knowledge, settings)))  # noqa: S704 (markdown-it escapes HTML)
        for wide in ("pre", "table"):  # scrolled with the keyboard
            sheet = sheet.replace(Markup(f"<{wide}>"), Markup(f'<{wide} tabindex="0">'))  # noqa: S704
        return pages.get_template("page.html").render(title=ehrs[name].title, ehrs=ehrs, current=name, banner=banner, sheet=sheet)

    async def style(_: Request) -> Response:
        sheets = [
            files(one).joinpath("templates", "style.css").read_bytes()
            for one in ("cds_service.review_site", "cds_service.build_sheet")
        ]
        return Response(b"".join(sheets), headers=_HEADERS, media_type="text/css")

    async def sheet(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in ehrs:
            raise UnknownService(f"There is no build sheet of this name; there are {', '.join(ehrs)}")
        return Response(drawn(name), headers=_HEADERS, media_type="text/html")

    return [
        Route("/build-sheets/style.css", style, methods=["GET"]),
        Route("/build-sheets/{name}", sheet, methods=["GET"]),
    ]
