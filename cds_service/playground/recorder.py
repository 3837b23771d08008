"""Record every call to the CDS Hooks endpoints on its way through the application, in the dev profile only."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from datetime import timedelta

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cds_service.evaluate import Evaluation
from cds_service.hooks.route_path import route_path
from cds_service.hooks.service_calls import ON_EVALUATION
from cds_service.playground.call_lines import call_line, call_words, feedback_items, feedback_words, held_back
from cds_service.playground.kept_calls import LARGEST_BODY, KeptCall, KeptCalls, KeptFeedback
from cds_service.runtime import Runtime
from cds_service.telemetry.timings import Timings
from cds_service.wire.errors import CLIENT_WENT_AWAY

FIRED = "cds_service.fired"  # an ASGI extension: a `Fired`, set by the playground for its own calls

_PATH = re.compile(r"/cds-services//?([^/]+?)(/feedback)?")
_EXPLAINED_EVERY = timedelta(seconds=1)  # at most, for lines: it takes some 20 ms

# Shows a line about a call of another program, with the path of the call's page
Announce = Callable[[str, str], None]


class Fired(msgspec.Struct):
    """A call of the playground itself; the recorder adds what it kept of it."""

    title: str
    notes: list[str] = []
    kept: KeptCall | None = None


class CallRecorder:
    """ASGI middleware: keeps what the playground fires and, where `announce` is given, what every other program sends."""

    def __init__(self, app: ASGIApp, runtime: Runtime, calls: KeptCalls, announce: Announce | None) -> None:
        self._app = app
        self._runtime = runtime
        self._calls = calls
        self._announce = announce
        self._explained_at = runtime.clock() - _EXPLAINED_EVERY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        called = _PATH.fullmatch(route_path(scope)) if scope["type"] == "http" and scope["method"] == "POST" else None
        fired: Fired | None = scope.get("extensions", {}).get(FIRED)
        if called is None or (fired is None and self._announce is None):
            await self._app(scope, receive, send)
            return
        seen = _Exchange(scope, receive, send)
        try:
            await self._app(seen.scope, seen.receive, seen.send)
        finally:
            if called[2]:
                self._keep_feedback(called[1], seen)
            else:
                self._keep_call(called[1], seen, fired)

    def _keep_call(self, service: str, seen: _Exchange, fired: Fired | None) -> None:
        evaluation, timings = seen.evaluated or (None, None)
        call = KeptCall(
            id=secrets.token_hex(8),
            title=fired.title if fired is not None else f"A call of {service}",
            at=self._runtime.clock(),
            service=service,
            sender="" if fired is not None else seen.sender,
            base_url=seen.base_url,
            request=bytes(seen.request),
            status=seen.status,
            response=bytes(seen.response),
            total_ms=seen.elapsed_ms,
            phases=dict(timings.phases) if timings is not None else {},
            evaluation=evaluation if seen.status == 200 else None,
            notes=list(fired.notes) if fired is not None else [],
        )
        self._calls.add(call)
        if fired is not None:
            fired.kept = call
        why = None
        silent = evaluation is not None and not call.cards and not held_back(evaluation)
        if silent and call.at - self._explained_at >= _EXPLAINED_EVERY:
            self._explained_at, why = call.at, call.explained(self._runtime.knowledge)
        call.said = call_words(call, evaluation, why)
        if self._announce is not None:
            self._announce(call_line(call), f"/playground/calls/{call.id}")

    def _keep_feedback(self, service: str, seen: _Exchange) -> None:
        """Keep feedback with the call that showed its card."""
        items = feedback_items(bytes(seen.request))
        about = frozenset(one.card.lower() for one in items)
        call = self._calls.with_card(about)
        words = feedback_words(items, call)
        if call is not None:
            kept = KeptFeedback(about, words, bytes(seen.request), seen.status, bytes(seen.response))
            call.feedback = [*call.feedback, kept]
        if self._announce is not None:
            line = f"{self._runtime.clock():%H:%M:%S} {service}  feedback: {words}  [{seen.status}]"
            self._announce(line, f"/playground/calls/{call.id}" if call is not None else "")


class _Exchange:
    """One request and its response as they pass; of each body at most what can be kept, and one byte."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        extensions = scope.get("extensions", {}) | {ON_EVALUATION: self._on_evaluation}
        self.scope = {**scope, "extensions": extensions}
        self.base_url = str(Request(scope).base_url).rstrip("/")
        self.sender = _sender(Request(scope))
        self.request, self.response = bytearray(), bytearray()
        self.status = CLIENT_WENT_AWAY
        self.evaluated: tuple[Evaluation, Timings] | None = None
        self._receive, self._send = receive, send
        self._started = time.perf_counter()

    @property
    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self._started) * 1000

    async def receive(self) -> Message:
        message = await self._receive()
        _append(self.request, message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        _append(self.response, message.get("body", b""))
        await self._send(message)

    def _on_evaluation(self, evaluation: Evaluation, timings: Timings) -> None:
        self.evaluated = evaluation, timings


def _append(body: bytearray, part: bytes) -> None:
    body += part[: LARGEST_BODY + 1 - len(body)]


def _sender(request: Request) -> str:
    """Return who calls: the origin of a browser's page, else the name that the program gives itself."""
    said = request.headers.get("origin") or request.headers.get("user-agent", "").partition(" ")[0]
    return "".join(one for one in said if one.isascii() and one.isprintable())[:60] or "a program without a name"
