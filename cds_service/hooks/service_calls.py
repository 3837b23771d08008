"""Serve service calls in front of the framework, whose routing would cost more than reading a small body."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from cds_service.alert_log import DeliveryRecord
from cds_service.evaluate import Evaluation
from cds_service.hooks.body import BodyMemory, read_body
from cds_service.hooks.client_limits import ClientLimits
from cds_service.hooks.error_handlers import FORESEEN, NOT_STORED, error_response
from cds_service.hooks.peer import peer_of
from cds_service.hooks.route_path import route_path
from cds_service.knowledge.services import ServiceDefinition
from cds_service.runtime import Runtime
from cds_service.telemetry.call_counts import count_call
from cds_service.telemetry.events import Event, tell
from cds_service.telemetry.metrics import SHED
from cds_service.telemetry.timings import Timings
from cds_service.trust import ANONYMOUS, Caller
from cds_service.trust.caller import Endpoint
from cds_service.trust.refusal import CallerRefusedError
from cds_service.wire.client_connection import ClientConnection
from cds_service.wire.errors import CLIENT_WENT_AWAY, CdsError, Overloaded, UnknownService
from cds_service.wire.hook_request import HookRequest, decode_request

BODY_MEMORY_BYTES = 32 * 1024 * 1024  # bytes, of all service calls that are being received; at least four of the longest

# (decoded call, service called, the process's runtime, connection of the client) → the evaluation whose body is the response
Respond = Callable[[HookRequest, ServiceDefinition, Runtime, ClientConnection], Awaitable[Evaluation]]
# An ASGI extension: a program that calls this application in its own process can put a callback here, which gets each evaluation
# and its timings. The playground explains its calls with it. Network requests can't set it.
ON_EVALUATION = "cds_service.on_evaluation"

_HEADERS = [(name.encode(), value.encode()) for name, value in NOT_STORED.items()]

# Two slashes are what the public sandbox makes of a discovery address that ends in one; a 404 looks like "no cards" there.
_PATH = re.compile("/cds-services//?([^/]+)")


class ServiceCalls:
    """ASGI middleware: serves `/cds-services/{id}` and passes on everything else.

    A call beyond `max_calls` is refused at once, where possible before its body is read: in a queue it would be answered too
    late, and the queue could grow without limit. A call counts only after its body has arrived, so that slow senders don't take
    the places of others.
    """

    def __init__(self, app: ASGIApp, runtime: Runtime, respond: Respond) -> None:
        self._app = app
        self._services = {service.id: service for service in runtime.knowledge.services}
        self._runtime = runtime
        self._respond = respond
        self._under_way = 0
        self._clients = ClientLimits()
        self._memory = BodyMemory(max(BODY_MEMORY_BYTES, 4 * runtime.settings.max_body_bytes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        called = _PATH.fullmatch(route_path(scope)) if scope["type"] == "http" else None
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
        """Answer one call, count it and trace it. Raises CdsError, CallerRefusedError and ClientDisconnect."""
        timings = Timings()
        status, why, caller = 500, "", ANONYMOUS
        try:
            self._check_call_limit()
            caller = await caller_of(scope, self._services.get(service_id), f"/{service_id}", self._runtime)
            service = known_service(self._services, service_id)
            self._clients.take(caller)
            timings.mark("trust")
            body = await read_body(scope, receive, self._runtime.settings.max_body_bytes, self._memory)
            timings.mark("receive")
            self._check_call_limit()
            self._under_way += 1
            try:
                on_evaluation = scope.get("extensions", {}).get(ON_EVALUATION)
                call = decode_request(body, service.hook, caller)
                connection = ClientConnection(len(body), receive, explained=on_evaluation is not None)
                call.timings = timings
                timings.mark("decode")
                responding = self._respond(call, service, self._runtime, connection)
                del body, call  # a waiting call holds neither
                evaluation = await responding
            finally:
                self._under_way -= 1
            status = 200
            if on_evaluation is not None:
                on_evaluation(evaluation, timings)
            await _send_json(send, evaluation.body)
        except CdsError as error:
            status, why = error.status, error.why
            raise
        except CallerRefusedError as error:
            status, why = error.status, error.reason
            raise
        except (ClientDisconnect, asyncio.CancelledError):
            status = CLIENT_WENT_AWAY
            raise
        finally:
            if service_id in self._services:
                self._count(self._services[service_id], status, timings, scope)
                self._log_end(self._services[service_id], caller, status, why, timings)

    def _log_end(self, service: ServiceDefinition, caller: Caller, status: int, why: str, timings: Timings) -> None:
        """Log what is known of the call's end; a request that never became a call is counted by its minute."""
        log = self._runtime.alert_log
        if timings.recorded is None:
            if status != CLIENT_WENT_AWAY:
                known = caller is not ANONYMOUS
                log.refused(*(self._runtime.clock(), caller.tenant, caller.client if known else "", service.hook, status, why))
            return
        total_us = int(timings.elapsed_ms() * 1000)
        log_us = int(timings.phases["log"] * 1000)
        log.delivered(DeliveryRecord(*timings.recorded, log_us, total_us, status != CLIENT_WENT_AWAY))

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
            raise Overloaded("Too many calls are under way; please try again in a second", why="calls")


async def caller_of(scope: Scope, service: ServiceDefinition | None, path: str, runtime: Runtime) -> Caller:
    """Identify the caller, before the body is read and before the response reveals whether the service exists.

    Raises CallerRefusedError.
    """
    return await identified(scope, Endpoint(path, service.hook if service is not None else None), runtime)


async def identified(scope: Scope, endpoint: Endpoint, runtime: Runtime) -> Caller:
    """Identify the caller of a request, and log a refusal. Raises CallerRefusedError."""
    try:
        return await runtime.callers.identify(scope["headers"], endpoint)
    except CallerRefusedError as error:
        tell(Event.CALLER_REFUSED, why=error.reason, client=error.client or "-", peer=peer_of(scope))
        raise


def known_service(services: Mapping[str, ServiceDefinition], service_id: str) -> ServiceDefinition:
    """Return the service with this id. Raises UnknownService."""
    service = services.get(service_id)
    if service is None:
        raise UnknownService("There is no service with this id; GET /cds-services lists the services")
    return service


async def _send_json(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *_HEADERS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
