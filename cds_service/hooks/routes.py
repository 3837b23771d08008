"""The CDS Hooks endpoints: discovery, service calls, feedback.

A service call is the hot path and therefore a plain ASGI endpoint; the two others are ordinary FastAPI routes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Request, Response
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cds_service.evaluate import Evaluation
from cds_service.hooks.body import Room, read_body
from cds_service.hooks.discovery import describe
from cds_service.hooks.feedback import Batch, decode_feedback
from cds_service.knowledge.services import ServiceDefinition
from cds_service.runtime import Runtime
from cds_service.telemetry.call_counts import count_call
from cds_service.telemetry.events import Event, tell
from cds_service.telemetry.metrics import FEEDBACK, SHED
from cds_service.telemetry.timings import Timings
from cds_service.trust import ANONYMOUS, Caller
from cds_service.trust.caller import Endpoint
from cds_service.trust.refused import RefusedError
from cds_service.wire.arrival import Arrival
from cds_service.wire.errors import CLIENT_WENT_AWAY, CdsError, LogUnavailable, Overloaded, UnknownService
from cds_service.wire.hook_request import HookRequest, decode_request

MAX_FEEDBACK_BYTES = 64 * 1024
ROOM_FOR_BODIES = 32 * 1024 * 1024  # bytes, of all service calls that are being received; at least four of the longest

# (the decoded call, the service called, what the process holds, how the call arrived) → what is answered, and from what
Respond = Callable[[HookRequest, ServiceDefinition, Runtime, Arrival], Awaitable[Evaluation]]
# An ASGI extension: a program that calls this application in its own process puts a function here, which gets each evaluation and
# its timings. The playground explains its calls with it; nothing that arrives by network can set it.
WATCH = "cds_service.watch"


def hook_routes(runtime: Runtime, respond: Respond) -> APIRouter:
    """All endpoints under /cds-services."""
    services = {service.id: service for service in runtime.knowledge.services}
    discoveries = {include: describe(services.values(), include=include) for include in (False, True)}
    router = APIRouter(tags=["CDS Hooks"])
    # Two slashes are what the public sandbox makes of a discovery address that ends in one; a 404 looks like "no cards" there.
    for path in ("/cds-services/{id}", "/cds-services//{id}"):
        router.routes.append(Route(path, HookCalls(services, runtime, respond), methods=["POST"]))

    @router.get("/cds-services", summary="Which services there are and what to prefetch for each")
    @router.get("/cds-services/", include_in_schema=False)
    async def discover(request: Request, if_none_match: Annotated[str | None, Header()] = None) -> Response:
        caller = await _discoverer(request.scope, runtime)
        discovery = discoveries[caller.include]
        # no-cache: ask each time, a 304 is cheap
        headers = {"etag": discovery.etag, "cache-control": "no-cache", "vary": "Authorization"}
        if discovery.matches(if_none_match):
            return Response(status_code=304, headers=headers)
        return Response(discovery.body, headers=headers, media_type="application/json")

    @router.post("/cds-services//{id}/feedback", include_in_schema=False)
    @router.post("/cds-services/{id}/feedback", summary="What became of cards")
    async def feedback(id: str, request: Request) -> Response:  # noqa: A002 (the name in the path)
        """Takes a batch of feedback in the order sent, whether or not its cards are known here.

        200: it is stored. 202: it is held in memory until the log can be written again. 503: it is not taken, send it again.
        CDS Hooks leaves the body open: it is the number of items taken, `{"received": 2}`, and where some could not be read their
        positions, `{"received": 1, "refused": [{"index": 0, "why": "…"}]}`. 400: none could be read.
        """
        caller = await _caller(request.scope, services.get(id), f"/{id}/feedback", runtime)
        service = _service(services, id)
        if runtime.callers.degraded:
            raise LogUnavailable("Feedback is not taken now, because a repeated request could not be told; send it again later")
        body = await read_body(request.scope, request.receive, MAX_FEEDBACK_BYTES, Room(0))
        batch = decode_feedback(body, service.id, runtime.clock(), caller)
        stored = await runtime.alert_log.append_feedback([*batch.records, *batch.kept])
        if not stored and runtime.alert_log.health().state == "failed":
            raise LogUnavailable("The feedback could not be stored; please send it again later")
        tell(Event.FEEDBACK, service=service.id, items=len(batch.records), refused=len(batch.refused), stored=stored)
        _note_feedback(batch)
        batch.expect_some()
        answer: dict[str, object] = {"received": len(batch.records)}
        if batch.refused:
            answer["refused"] = batch.refused
        return Response(msgspec.json.encode(answer), 200 if stored else 202, media_type="application/json")

    return router


class HookCalls:
    """ASGI endpoint of `POST /cds-services/{id}`. Raises CdsError and RefusedError; `error_handlers` answers them.

    A call beyond `max_calls` is refused at once, where possible before its body is read: what waits here would be answered too
    late anyway, and must not grow without end. A call counts once its body is there, so that slow senders keep nobody out.
    """

    def __init__(self, services: Mapping[str, ServiceDefinition], runtime: Runtime, respond: Respond) -> None:
        self._services = services
        self._runtime = runtime
        self._respond = respond
        self._under_way = 0
        self._room = Room(max(ROOM_FOR_BODIES, 4 * runtime.settings.max_body_bytes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        timings = Timings()
        status = 500
        service_id = scope["path_params"]["id"]
        try:
            self._expect_a_place()
            caller = await _caller(scope, self._services.get(service_id), f"/{service_id}", self._runtime)
            service = _service(self._services, service_id)
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
        """Counts the call, and traces it where that is wanted."""
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


def _note_feedback(batch: Batch) -> None:
    """Count the items by outcome."""
    for record in batch.records:
        FEEDBACK.labels(record.outcome).inc()
    FEEDBACK.labels("refused").inc(len(batch.refused))


async def _discoverer(scope: Scope, runtime: Runtime) -> Caller:
    """Who asks for discovery: a client that says so with a token, else nobody known.

    Discovery holds nothing secret and must answer without a database: open, it takes requests without a token, and looks at
    one that is sent without asking whether it was used before. Whoever sends a bad one is told, because nothing else would work.
    """
    verified = runtime.settings.discovery == "verified"
    if verified or any(name == b"authorization" for name, _ in scope["headers"]):
        return await runtime.callers.identify(scope["headers"], Endpoint("", once=verified))
    return ANONYMOUS


async def _caller(scope: Scope, service: ServiceDefinition | None, path: str, runtime: Runtime) -> Caller:
    """Who calls; before the body is read, and before it is said whether there is such a service."""
    return await runtime.callers.identify(scope["headers"], Endpoint(path, service.hook if service is not None else None))


def _service(services: Mapping[str, ServiceDefinition], service_id: str) -> ServiceDefinition:
    service = services.get(service_id)
    if service is None:
        raise UnknownService("There is no service with this id; GET /cds-services lists the services")
    return service


async def _send_json(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
