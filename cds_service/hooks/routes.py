"""Serve the CDS Hooks endpoints: discovery, service calls, feedback.

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
from cds_service.hooks.body import BodyMemory, read_body
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
from cds_service.trust.refusal import CallerRefusedError
from cds_service.wire.client_connection import ClientConnection
from cds_service.wire.errors import CLIENT_WENT_AWAY, CdsError, LogUnavailable, Overloaded, UnknownService
from cds_service.wire.hook_request import HookRequest, decode_request

MAX_FEEDBACK_BYTES = 64 * 1024
BODY_MEMORY_BYTES = 32 * 1024 * 1024  # bytes, of all service calls that are being received; at least four of the longest

# (decoded call, service called, the process's runtime, connection of the client) → the evaluation whose body is the response
Respond = Callable[[HookRequest, ServiceDefinition, Runtime, ClientConnection], Awaitable[Evaluation]]
# An ASGI extension: a program that calls this application in its own process can put a callback here, which gets each evaluation
# and its timings. The playground explains its calls with it. Network requests can't set it.
ON_EVALUATION = "cds_service.on_evaluation"


def hook_routes(runtime: Runtime, respond: Respond) -> APIRouter:
    """Return all endpoints under /cds-services."""
    services = {service.id: service for service in runtime.knowledge.services}
    discoveries = {include: describe(services.values(), include=include) for include in (False, True)}
    router = APIRouter(tags=["CDS Hooks"])
    # Two slashes are what the public sandbox makes of a discovery address that ends in one; a 404 looks like "no cards" there.
    for path in ("/cds-services/{id}", "/cds-services//{id}"):
        router.routes.append(Route(path, HookCalls(services, runtime, respond), methods=["POST"]))

    @router.get("/cds-services", summary="The services and their prefetch templates")
    @router.get("/cds-services/", include_in_schema=False)
    async def discover(request: Request, if_none_match: Annotated[str | None, Header()] = None) -> Response:
        caller = await _discovery_caller(request.scope, runtime)
        discovery = discoveries[caller.include]
        # no-cache: ask each time, a 304 is cheap
        headers = {"etag": discovery.etag, "cache-control": "no-cache", "vary": "Authorization"}
        if discovery.matches(if_none_match):
            return Response(status_code=304, headers=headers)
        return Response(discovery.body, headers=headers, media_type="application/json")

    @router.post("/cds-services//{id}/feedback", include_in_schema=False)
    @router.post("/cds-services/{id}/feedback", summary="Feedback: what clinicians did with cards")
    async def feedback(id: str, request: Request) -> Response:  # noqa: A002 (the name in the path)
        """Take a batch of feedback in the order sent, whether or not its cards are known here.

        200: stored. 202: held in memory until the log can be written again. 400: no item could be read. 503: not taken, send it
        again. CDS Hooks leaves the response body open. Here it has the number of items taken, `{"received": 2}`, and the
        positions of items that could not be read, `{"received": 1, "refused": [{"index": 0, "why": "…"}]}`.
        """
        caller = await _caller(request.scope, services.get(id), f"/{id}/feedback", runtime)
        service = _service(services, id)
        if runtime.callers.degraded:
            raise LogUnavailable("Feedback is not taken now, because repeated requests can't be recognised; send it again later")
        body = await read_body(request.scope, request.receive, MAX_FEEDBACK_BYTES, BodyMemory(0))
        batch = decode_feedback(body, service.id, runtime.clock(), caller)
        stored = await runtime.alert_log.append_feedback([*batch.records, *batch.kept])
        if not stored and runtime.alert_log.health().state == "failed":
            raise LogUnavailable("The feedback could not be stored; please send it again later")
        tell(Event.FEEDBACK, service=service.id, items=len(batch.records), refused=len(batch.refused), stored=stored)
        _count_feedback(batch)
        batch.expect_record()
        result: dict[str, object] = {"received": len(batch.records)}
        if batch.refused:
            result["refused"] = batch.refused
        return Response(msgspec.json.encode(result), 200 if stored else 202, media_type="application/json")

    return router


class HookCalls:
    """ASGI endpoint of `POST /cds-services/{id}`. Raises CdsError and CallerRefusedError; `error_handlers` answers them.

    A call beyond `max_calls` is refused at once, where possible before its body is read: in a queue it would be answered too
    late, and the queue could grow without limit. A call counts only after its body has arrived, so that slow senders don't take
    the places of others.
    """

    def __init__(self, services: Mapping[str, ServiceDefinition], runtime: Runtime, respond: Respond) -> None:
        self._services = services
        self._runtime = runtime
        self._respond = respond
        self._under_way = 0
        self._memory = BodyMemory(max(BODY_MEMORY_BYTES, 4 * runtime.settings.max_body_bytes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        timings = Timings()
        status = 500
        service_id = scope["path_params"]["id"]
        try:
            self._check_call_limit()
            caller = await _caller(scope, self._services.get(service_id), f"/{service_id}", self._runtime)
            service = _service(self._services, service_id)
            timings.mark("trust")
            body = await read_body(scope, receive, self._runtime.settings.max_body_bytes, self._memory)
            timings.mark("receive")
            self._check_call_limit()
            self._under_way += 1
            try:
                responding = self._answer(body, service, caller, timings, receive)
                del body
                evaluation = await responding
            finally:
                self._under_way -= 1
            status = 200
            if on_evaluation := scope.get("extensions", {}).get(ON_EVALUATION):
                on_evaluation(evaluation, timings)
            await _send_json(send, evaluation.body)
        except CdsError as error:
            status = error.status
            raise
        except CallerRefusedError:
            status = 401
            raise
        except (ClientDisconnect, asyncio.CancelledError):
            status = CLIENT_WENT_AWAY
            raise
        finally:
            if service_id in self._services:
                self._count(self._services[service_id], status, timings, scope)

    def _answer(
        self, body: bytes, service: ServiceDefinition, caller: Caller, timings: Timings, receive: Receive
    ) -> Awaitable[Evaluation]:
        """Decode now and drop the body, so a waiting call does not hold it."""
        call = decode_request(body, service.hook, caller)
        call.timings = timings
        timings.mark("decode")
        return self._respond(call, service, self._runtime, ClientConnection(len(body), receive))

    def _count(self, service: ServiceDefinition, status: int, timings: Timings, scope: Scope) -> None:
        """Count the call, log it, and trace it where traces are configured."""
        seconds = time.perf_counter() - timings.started
        count_call(service.id, status, seconds, timings)
        if self._runtime.traces is not None:
            sent = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
            self._runtime.traces.write(service.id, status, timings, sent.decode("latin-1"))
        tell(Event.ANSWERED, service=service.id, status=status, ms=round(seconds * 1000, 1))

    def _check_call_limit(self) -> None:
        if self._under_way >= self._runtime.settings.max_calls:
            SHED.labels("calls").inc()
            raise Overloaded("Too many calls are under way; please try again in a second")


def _count_feedback(batch: Batch) -> None:
    """Count the items by outcome."""
    for record in batch.records:
        FEEDBACK.labels(record.outcome).inc()
    FEEDBACK.labels("refused").inc(len(batch.refused))


async def _discovery_caller(scope: Scope, runtime: Runtime) -> Caller:
    """Identify the caller of discovery: a client with a token, else anonymous.

    Discovery holds nothing secret and must work without a database. Where it is open, requests need no token; a token that is
    sent is checked, except for earlier use. A bad token is refused, because the client's later calls would fail with it, too.
    """
    verified = runtime.settings.discovery == "verified"
    if verified or any(name == b"authorization" for name, _ in scope["headers"]):
        return await runtime.callers.identify(scope["headers"], Endpoint("", once=verified))
    return ANONYMOUS


async def _caller(scope: Scope, service: ServiceDefinition | None, path: str, runtime: Runtime) -> Caller:
    """Identify the caller, before the body is read and before the response reveals whether the service exists."""
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
