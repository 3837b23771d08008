"""Serve calls of services, in front of the framework, whose routing would cost more than reading a small body."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from cds_service.evaluate import Evaluation
from cds_service.hooks.body import Room, read_body
from cds_service.hooks.error_handlers import FORESEEN, error_response
from cds_service.knowledge.services import ServiceDefinition
from cds_service.runtime import Runtime
from cds_service.telemetry.call_counts import count_call
from cds_service.telemetry.events import Event, tell
from cds_service.telemetry.metrics import SHED
from cds_service.telemetry.timings import Timings
from cds_service.trust import Caller
from cds_service.trust.caller import Endpoint
from cds_service.trust.refused import RefusedError
from cds_service.wire.arrival import Arrival
from cds_service.wire.errors import CLIENT_WENT_AWAY, CdsError, Overloaded, UnknownService
from cds_service.wire.hook_request import HookRequest, decode_request

ROOM_FOR_BODIES = 32 * 1024 * 1024  # bytes, of all service calls that are being received; at least four of the longest

# (the decoded call, the service called, what the process holds, how the call arrived) → what is answered, and from what
Respond = Callable[[HookRequest, ServiceDefinition, Runtime, Arrival], Awaitable[Evaluation]]
# An ASGI extension: a program that calls this application in its own process puts a function here, which gets each evaluation and
# its timings. The playground explains its calls with it; nothing that arrives by network can set it.
WATCH = "cds_service.watch"

# Two slashes are what the public sandbox makes of a discovery address that ends in one; a 404 looks like "no cards" there.
_PATH = re.compile("/cds-services//?([^/]+)")


class ServiceCalls:
    """ASGI middleware: serves `/cds-services/{id}` and passes on everything else.

    A call beyond `max_calls` is refused at once, where possible before its body is read: what waits here would be answered too
    late anyway, and must not grow without end. A call counts once its body is there, so that slow senders keep nobody out.
    """

    def __init__(self, app: ASGIApp, runtime: Runtime, respond: Respond) -> None:
        self._app = app
        self._services = {service.id: service for service in runtime.knowledge.services}
        self._runtime = runtime
        self._respond = respond
        self._under_way = 0
        self._room = Room(max(ROOM_FOR_BODIES, 4 * runtime.settings.max_body_bytes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        called = _PATH.fullmatch(scope["path"].removeprefix(scope.get("root_path", ""))) if scope["type"] == "http" else None
        if called is None:
            await self._app(scope, receive, send)
            return
        try:
            if scope["method"] != "POST":
                raise HTTPException(405, headers={"Allow": "POST"})
            await self._serve(called[1], scope, receive, send)
        except FORESEEN as error:
            response = await error_response(Request(scope), error)
            await response(scope, receive, send)
            error.__traceback__ = None  # its frames hold the error: a cycle

    async def _serve(self, service_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call, count it and trace it. Raises CdsError, RefusedError and ClientDisconnect."""
        timings = Timings()
        status = 500
        try:
            self._expect_a_place()
            caller = await caller_of(scope, self._services.get(service_id), f"/{service_id}", self._runtime)
            service = known_service(self._services, service_id)
            timings.mark("trust")
            body = await read_body(scope, receive, self._runtime.settings.max_body_bytes, self._room)
            timings.mark("receive")
            self._expect_a_place()
            self._under_way += 1
            try:
                responding = self._answer(body, service, caller, timings, receive)
                del body
                evaluation = await responding
            finally:
                self._under_way -= 1
            status = 200
            if watch := scope.get("extensions", {}).get(WATCH):
                watch(evaluation, timings)
            await _send_json(send, evaluation.body)
        except CdsError as error:
            status = error.status
            raise
        except RefusedError:
            status = 401
            raise
        except (ClientDisconnect, asyncio.CancelledError):
            status = CLIENT_WENT_AWAY
            raise
        finally:
            if service_id in self._services:
                self._note(self._services[service_id], status, timings, scope)

    def _answer(
        self, body: bytes, service: ServiceDefinition, caller: Caller, timings: Timings, receive: Receive
    ) -> Awaitable[Evaluation]:
        """Decode now and drop the body, so a waiting call does not hold it."""
        call = decode_request(body, service.hook, caller)
        call.timings = timings
        timings.mark("decode")
        return self._respond(call, service, self._runtime, Arrival(len(body), receive))

    def _note(self, service: ServiceDefinition, status: int, timings: Timings, scope: Scope) -> None:
        """Count the call, and trace it where that is wanted."""
        seconds = time.perf_counter() - timings.started
        count_call(service.id, status, seconds, timings)
        if self._runtime.traces is not None:
            sent = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
            self._runtime.traces.write(service.id, status, timings, sent.decode("latin-1"))
        tell(Event.ANSWERED, service=service.id, status=status, ms=round(seconds * 1000, 1))

    def _expect_a_place(self) -> None:
        if self._under_way >= self._runtime.settings.max_calls:
            SHED.labels("calls").inc()
            raise Overloaded("Too many calls are under way; please try again in a second")


async def caller_of(scope: Scope, service: ServiceDefinition | None, path: str, runtime: Runtime) -> Caller:
    """Return who calls, before the body is read and before it is said whether there is such a service.

    Raises RefusedError.
    """
    return await runtime.callers.identify(scope["headers"], Endpoint(path, service.hook if service is not None else None))


def known_service(services: Mapping[str, ServiceDefinition], service_id: str) -> ServiceDefinition:
    """Return the service with this id. Raises UnknownService."""
    service = services.get(service_id)
    if service is None:
        raise UnknownService("There is no service with this id; GET /cds-services lists the services")
    return service


async def _send_json(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
