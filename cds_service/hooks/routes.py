"""Serve discovery and feedback as routes of FastAPI; `service_calls` serves the calls."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.types import Scope

from cds_service.hooks.body import BodyMemory, read_body
from cds_service.hooks.discovery import describe
from cds_service.hooks.error_handlers import NOT_STORED
from cds_service.hooks.feedback import Batch, decode_feedback
from cds_service.hooks.override_reasons import known_reasons
from cds_service.hooks.service_calls import caller_of, identified, known_service
from cds_service.runtime import Runtime
from cds_service.telemetry.events import Event, tell
from cds_service.telemetry.metrics import FEEDBACK
from cds_service.trust import ANONYMOUS, Caller
from cds_service.trust.caller import Endpoint
from cds_service.wire.errors import LogUnavailable

MAX_FEEDBACK_BYTES = 64 * 1024


def hook_routes(runtime: Runtime) -> APIRouter:
    """Return the routes under /cds-services, without the calls of services."""
    services = {service.id: service for service in runtime.knowledge.services}
    discoveries = {include: describe(services.values(), include=include) for include in (False, True)}
    keep_reason = known_reasons(runtime.knowledge)
    router = APIRouter(tags=["CDS Hooks"])

    @router.get("/cds-services", summary="The services and their prefetch templates")
    @router.get("/cds-services/", include_in_schema=False)
    async def discover(request: Request) -> Response:
        caller = await _discovery_caller(request.scope, runtime)
        discovery = discoveries[caller.include]
        # no-cache: ask each time, a 304 is cheap
        headers = {"etag": discovery.etag, "vary": "Authorization", **NOT_STORED, "cache-control": "no-cache"}
        if discovery.matches(request.headers.get("if-none-match")):
            return Response(status_code=304, headers=headers)
        return Response(discovery.body, headers=headers, media_type="application/json")

    @router.post("/cds-services//{id}/feedback", include_in_schema=False)
    @router.post("/cds-services/{id}/feedback", summary="Feedback: what clinicians did with cards")
    async def feedback(request: Request) -> Response:
        """Take a batch of feedback in the order sent, whether or not its cards are known here.

        200: stored. 202: held in memory until the log can be written again. 400: no item could be read. 503: not taken, send it
        again. CDS Hooks leaves the response body open. Here it has the number of items taken, `{"received": 2}`, and the
        positions of items that could not be read, `{"received": 1, "refused": [{"index": 0, "why": "…"}]}`.
        """
        name = request.path_params["id"]
        caller = await caller_of(request.scope, services.get(name), f"/{name}/feedback", runtime)
        service = known_service(services, name)
        if runtime.callers.degraded:
            text = "Feedback is not taken now, because repeated requests can't be recognised; send it again later"
            raise LogUnavailable(text, why="repeats_unknown")
        body = await read_body(request.scope, request.receive, MAX_FEEDBACK_BYTES, BodyMemory(0))
        batch = decode_feedback(body, service.id, runtime.clock(), caller, runtime.sealing)
        records = [keep_reason(record) for record in batch.records]
        stored = await runtime.alert_log.append_feedback([*records, *batch.kept])
        if not stored and runtime.alert_log.health().state == "failed":
            raise LogUnavailable("The feedback could not be stored; please send it again later", why="feedback")
        tell(Event.FEEDBACK, service=service.id, items=len(batch.records), refused=len(batch.refused), stored=stored)
        _count_feedback(batch)
        batch.expect_record()
        result: dict[str, object] = {"received": len(batch.records)}
        if batch.refused:
            result["refused"] = batch.refused
        return Response(msgspec.json.encode(result), 200 if stored else 202, NOT_STORED, media_type="application/json")

    return router


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
        return await identified(scope, Endpoint("", once=verified), runtime)
    return ANONYMOUS
