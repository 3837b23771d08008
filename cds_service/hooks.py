"""The CDS Hooks endpoints: discovery, service calls, feedback.

A service call is the hot path and therefore a plain ASGI endpoint; the two others are ordinary FastAPI routes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cds_service.body import Room, read_body
from cds_service.discovery import describe
from cds_service.errors import LogUnavailable, Overloaded, UnknownService
from cds_service.feedback import decode_feedback
from cds_service.metrics import SHED
from cds_service.prefetch import ServiceDefinition
from cds_service.protocol import HookRequest, decode_request
from cds_service.runtime import Runtime

log = logging.getLogger(__name__)

MAX_FEEDBACK_BYTES = 64 * 1024
ROOM_FOR_BODIES = 32 * 1024 * 1024  # bytes, of all service calls that are being received; at least four of the longest

# (the decoded call, the service called, what the process holds, length of the body in bytes) → body of the answer
Respond = Callable[[HookRequest, ServiceDefinition, Runtime, int], Awaitable[bytes]]

_FEEDBACK_EXAMPLE = {
    "feedback": [
        {
            "card": "4e0a3a1e-3283-4575-ab82-028d55fe2719",
            "outcome": "overridden",
            "overrideReason": {"reason": {"system": "https://ehr.example/reasons", "code": "already-treated"}},
            "outcomeTimestamp": "2026-03-01T10:05:31Z",
        }
    ]
}
_FEEDBACK_BODY: dict[str, Any] = {"required": True, "content": {"application/json": {"example": _FEEDBACK_EXAMPLE}}}


def hook_routes(runtime: Runtime, respond: Respond) -> APIRouter:
    """All endpoints under /cds-services."""
    services = {service.id: service for service in runtime.knowledge.services}
    discovery = describe(services.values())
    discovery_headers = {"etag": discovery.etag, "cache-control": "no-cache"}  # no-cache: ask each time, a 304 is cheap
    router = APIRouter(tags=["CDS Hooks"])
    router.routes.append(Route("/cds-services/{id}", HookCalls(services, runtime, respond), methods=["POST"]))

    @router.get("/cds-services", summary="Which services there are and what to prefetch for each")
    @router.get("/cds-services/", include_in_schema=False)
    async def discover(if_none_match: Annotated[str | None, Header()] = None) -> Response:
        if discovery.matches(if_none_match):
            return Response(status_code=304, headers=discovery_headers)
        return Response(discovery.body, headers=discovery_headers, media_type="application/json")

    @router.post("/cds-services/{id}/feedback", summary="What became of cards", openapi_extra={"requestBody": _FEEDBACK_BODY})
    async def feedback(id: str, request: Request) -> Response:  # noqa: A002 (the name in the path)
        """Takes a batch of feedback in the order sent, whether or not its cards are known here, or refuses it as a whole.

        200: it is stored. 202: it is held in memory until the log can be written again. 503: it is not taken, send it again.
        CDS Hooks leaves the body open: it is the number of items, `{"received": 2}`.
        """
        service = _service(services, id)
        body = await read_body(request.scope, request.receive, MAX_FEEDBACK_BYTES, Room(0))
        records = decode_feedback(body, service.id, datetime.now(UTC))
        stored = await runtime.alert_log.append_feedback(records)
        if not stored and runtime.alert_log.health().state == "failed":
            raise LogUnavailable("The feedback could not be stored; please send it again later")
        log.info("feedback service=%s items=%d stored=%s", service.id, len(records), stored)
        return Response(b'{"received":%d}' % len(records), 200 if stored else 202, media_type="application/json")

    return router


class HookCalls:
    """ASGI endpoint of `POST /cds-services/{id}`. Raises CdsError; `guard` answers it.

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
        started = time.perf_counter()
        service = _service(self._services, scope["path_params"]["id"])
        self._expect_a_place()
        body = await read_body(scope, receive, self._runtime.settings.max_body_bytes, self._room)
        self._expect_a_place()
        self._under_way += 1
        try:
            length = len(body)
            call = decode_request(body, service.hook, self._runtime.caller)
            del body  # while the log is written, nothing of the request is held that is not needed any more
            responding = self._respond(call, service, self._runtime, length)
            del call
            answer = await responding
        finally:
            self._under_way -= 1
        await _send_json(send, answer)
        milliseconds = (time.perf_counter() - started) * 1000
        log.debug(  # not for every call: the alert log has it
            "answered service=%s status=200 ms=%.1f bytes_in=%d bytes_out=%d", service.id, milliseconds, length, len(answer)
        )

    def _expect_a_place(self) -> None:
        if self._under_way >= self._runtime.settings.max_calls:
            SHED.labels("calls").inc()
            raise Overloaded("Too many calls are under way; please try again in a second")


def _service(services: Mapping[str, ServiceDefinition], service_id: str) -> ServiceDefinition:
    service = services.get(service_id)
    if service is None:
        raise UnknownService("There is no service with this id; GET /cds-services lists the services")
    return service


async def _send_json(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
