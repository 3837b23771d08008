"""Every failure becomes one OperationOutcome: what this service raises, what the framework raises, and what nobody foresaw."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cds_service.telemetry import metrics
from cds_service.telemetry.events import Event, place, tell
from cds_service.trust.refused import RefusedError
from cds_service.wire.errors import CdsError, new_trace, operation_outcome

_FRAMEWORK = {
    404: ("not-found", "There is nothing at this path; GET /cds-services lists the services"),
    405: ("not-supported", "This path doesn't take this method; the Allow header says which it takes"),
}

FORESEEN = (CdsError, RefusedError, RequestValidationError, HTTPException)


class Guard:
    """ASGI middleware, the last resort: an unforeseen exception is counted, logged without its message, and answered with 500.

    The message is left out because it may repeat what was sent. This is the one place that catches everything.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watched_send)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except Exception as error:  # noqa: BLE001
            trace = new_trace()
            metrics.UNEXPECTED_ERRORS.inc()
            tell(Event.UNEXPECTED_ERROR, error=type(error).__name__, place=_place(error), trace=trace)
            if not started:
                response = _outcome(500, "exception", "The service failed; its log has the details under this trace", trace)
                await response(scope, receive, send)


def _place(error: Exception) -> str:
    """File, line and function where `error` was raised; for a group, those of its first member."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return f"{place(error.__traceback__)} ({type(error).__name__})"


def _outcome(status: int, code: str, text: str, trace: str, headers: dict[str, str] | None = None) -> Response:
    metrics.REFUSED.labels(str(status)).inc()
    return Response(operation_outcome(code, text, trace), status, headers, media_type="application/json")


async def error_response(request: Request, error: Exception) -> Response:
    """Return the response to one of FORESEEN, the same for a service call and for a route of the framework."""
    match error:
        case CdsError():
            trace = new_trace()
            tell(Event.REFUSED, status=error.status, code=error.code, trace=trace)
            return _outcome(error.status, error.code, str(error), trace, dict(error.headers))
        case RefusedError():  # the reason stands in our log only (CDS Hooks best practices; RFC 9110 wants the header)
            return Response(status_code=401, headers={"www-authenticate": "Bearer"})
        case RequestValidationError():  # the framework's own response, status 422, repeats what was sent
            places = ", ".join(".".join(str(part) for part in item["loc"]) for item in error.errors())
            return _outcome(400, "invalid", f"Missing or of the wrong type: {places}", new_trace())
        case HTTPException() if error.status_code in _FRAMEWORK:
            code, text = _FRAMEWORK[error.status_code]
            return _outcome(error.status_code, code, text, new_trace(), dict(error.headers or {}))
        case HTTPException():
            return await http_exception_handler(request, error)
    raise error


def add_error_handlers(app: FastAPI) -> None:
    """Have the framework's routes answer foreseen errors with `error_response`."""
    for kind in FORESEEN:
        app.add_exception_handler(kind, error_response)
