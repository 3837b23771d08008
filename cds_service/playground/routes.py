"""Route the playground, in the dev profile only.

Its pages run no script or style but their own.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cds_service.hooks.body import BodyMemory, read_body
from cds_service.playground.kept_calls import KeptCall, KeptCalls
from cds_service.runtime import Runtime
from cds_service.wire.errors import BadRequest, Forbidden, PayloadTooLarge
from cds_service.wire.same_origin import from_this_site

if TYPE_CHECKING:
    from cds_service.authoring.samples import Sample
    from cds_service.playground.pages import Pages

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


FIELDS = ("sample", "hook", "order", "same", "lab", "value", "problem", "taken")  # of the form for a sample


def playground_routes(runtime: Runtime, calls: KeptCalls) -> list[Route]:
    """Return the routes of `/`, `/playground/…` and `/cards…`; `calls` are those that a `CallRecorder` keeps."""
    page = _Playground(runtime, calls)
    return [
        Route("/", page.home, methods=["GET"]),
        Route("/", page.fire, methods=["POST"]),
        Route("/playground/playground.css", page.style, methods=["GET"]),
        Route("/playground/playground.js", page.script, methods=["GET"]),
        Route("/playground/calls", page.calls, methods=["GET"]),
        Route("/playground/forget", page.forget, methods=["POST"]),
        Route("/playground/calls/{id}", page.call, methods=["GET"]),
        Route("/playground/calls/{id}/feedback", page.feedback, methods=["POST"]),
        Route("/playground/calls/{id}/again", page.again, methods=["POST"]),
        Route("/playground/calls/{id}/{body}.json", page.file, methods=["GET"]),
        Route("/favicon.ico", page.icon, methods=["GET"]),
        Route("/cards", page.review, methods=["GET"]),
        Route("/cards/{name}", page.review, methods=["GET"]),
    ]


class _Playground:
    """Answer requests for the pages.

    What they need is made at the first request, so that other processes stay small.
    """

    def __init__(self, runtime: Runtime, calls: KeptCalls) -> None:
        self._runtime = runtime
        self._calls = calls

    @cached_property
    def _samples(self) -> dict[str, Sample]:
        from cds_service.authoring.samples import load_samples
        from cds_service.files.paths import fixtures_dir

        return load_samples(fixtures_dir())

    @cached_property
    def _pages(self) -> Pages:
        from cds_service.playground.pages import Pages

        return Pages(self._runtime.knowledge, self._samples)

    @cached_property
    def _reviews(self) -> dict[str, str]:
        from cds_service.playground.reviews import review_pages

        return review_pages(self._runtime)

    async def home(self, request: Request) -> Response:
        return _page(self._pages.home({"sample": request.query_params.get("sample", "")}))

    async def fire(self, request: Request) -> Response:
        from cds_service.playground.forms import call_from_form, call_with_order, text
        from cds_service.playground.sender import fire

        try:
            form = await self._form(request)
        except PayloadTooLarge as error:
            return _page(self._pages.home({}, f"{error}, including those of the form itself"), error.status)
        services = {service.hook: service for service in self._runtime.knowledge.services}
        kept = self._calls.get(text(form, "call"))
        if text(form, "what") == "order" and (kept is None or not kept.complete):
            return _page(self._pages.gone(), 404)
        now = self._runtime.clock()
        try:
            if kept is not None and text(form, "what") == "order":
                call = call_with_order(kept.request, form, services, kept.title, now)
            else:
                call = call_from_form(form, self._samples, services, self._pages.completions.labs, now)
        except BadRequest as error:
            values = {name: text(form, name) for name in FIELDS}
            values["request"] = form.get("request", b"").decode("utf-8", "replace")
            if kept is not None:
                return _page(self._pages.call(kept, values["order"], str(error)), 400)
            return _page(self._pages.home(values, str(error)), 400)
        kept = await fire(request.app, _base_url(request), call.service, call.body, call.title, call.notes)
        return _see_other(f"/playground/calls/{kept.id}")

    async def calls(self, request: Request) -> Response:
        return _page(self._pages.calls(list(self._calls), forgotten="forgotten" in request.query_params))

    async def call(self, request: Request) -> Response:
        call = self._calls.get(request.path_params["id"])
        return _page(self._pages.call(call)) if call is not None else _page(self._pages.gone(), 404)

    async def again(self, request: Request) -> Response:
        """Send a call once more as a new one, after forgetting what was shown, so that no card is a repeat."""
        from cds_service.playground.forms import as_new_call
        from cds_service.playground.sender import fire

        await self._form(request)
        call = self._calls.get(request.path_params["id"])
        if call is None or not call.complete:
            return _page(self._pages.gone(), 404)
        self._runtime.alert_log.forget_shown(self._runtime.clock())
        notes = ["What was shown before was forgotten first: no card is held back as a repeat."]
        kept = await fire(request.app, _base_url(request), call.service, as_new_call(call.request), call.title, notes)
        return _see_other(f"/playground/calls/{kept.id}")

    async def forget(self, request: Request) -> Response:
        await self._form(request)
        self._runtime.alert_log.forget_shown(self._runtime.clock())
        return _see_other("/playground/calls?forgotten")

    async def feedback(self, request: Request) -> Response:
        from cds_service.playground.sender import give_feedback

        form = await self._form(request)
        call = self._calls.get(request.path_params["id"])
        if call is None:
            return _page(self._pages.gone(), 404)
        item = _feedback(call, {name: value.decode("utf-8", "replace") for name, value in form.items()})
        await give_feedback(request.app, call, item, self._runtime.clock())
        return _see_other(f"/playground/calls/{call.id}#card-{item['card']}")

    async def file(self, request: Request) -> Response:
        call = self._calls.get(request.path_params["id"])
        name = request.path_params["body"]
        if call is None or name not in ("request", "response"):
            return _page(self._pages.gone(), 404)
        body = call.request if name == "request" else call.response
        headers = HEADERS | {"content-disposition": f'attachment; filename="{name}.json"'}
        return Response(body, headers=headers, media_type="application/json")

    async def style(self, _: Request) -> Response:
        from cds_service.playground.pages import style

        return Response(style(), headers=HEADERS, media_type="text/css")

    async def script(self, _: Request) -> Response:
        from cds_service.playground.pages import script

        return Response(script(), headers=HEADERS, media_type="text/javascript")

    async def icon(self, _: Request) -> Response:
        return Response(status_code=204)  # browsers ask for it on pages that name none

    async def review(self, request: Request) -> Response:
        """Return a page of the review site.

        The first request runs all cases of all cards, in some seconds.
        """
        name = request.path_params.get("name", "")
        if not name:
            return _see_other("/cards/index.html")
        pages = await run_in_threadpool(lambda: self._reviews)
        if name not in pages:
            raise HTTPException(404)
        return Response(pages[name], headers=HEADERS, media_type="text/css" if name.endswith(".css") else "text/html")

    async def _form(self, request: Request) -> dict[str, bytes]:
        from cds_service.playground.forms import MAX_FORM_BYTES, read_form

        if not from_this_site(request.headers):
            raise Forbidden("A form of the playground is accepted from its own pages only")
        limit = min(MAX_FORM_BYTES, self._runtime.settings.max_body_bytes)
        body = await read_body(request.scope, request.receive, limit, BodyMemory(limit))
        return dict(read_form(request.headers.get("content-type", ""), body))


def _base_url(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _feedback(call: KeptCall, form: dict[str, str]) -> dict[str, Any]:
    """Return the item of feedback of a form.

    Raises BadRequest for a card that the response does not have.
    """
    card = next((one for one in call.cards if one.get("uuid") == form.get("card")), None)
    if card is None:
        raise BadRequest("The response has no such card")
    for suggestion in card.get("suggestions", []):
        if suggestion.get("uuid") == form.get("suggestion"):
            accepted = {"acceptedSuggestions": [{"id": suggestion["uuid"]}]}
            return {"card": card["uuid"], "outcome": "accepted", **accepted}
    item: dict[str, Any] = {"card": card["uuid"], "outcome": "overridden"}
    for reason in card.get("overrideReasons", []):
        if reason.get("code") == form.get("reason"):
            item["overrideReason"] = {"reason": {"code": reason["code"], "system": reason["system"]}}
    return item


def _page(text: str, status: int = 200) -> Response:
    return Response(text, status, HEADERS, media_type="text/html")


def _see_other(path: str) -> Response:
    return RedirectResponse(path, 303, HEADERS)
