"""Turn every error into an HTTP response: this service's errors, the framework's, and unexpected exceptions."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cds_service.hooks.peer import peer_of
from cds_service.telemetry import metrics
from cds_service.telemetry.events import Event, place, tell
from cds_service.trust.refusal import CallerRefusedError
from cds_service.wire.errors import CdsError, new_trace, operation_outcome

_FRAMEWORK = {
    404: ("not-found", "There is nothing at this path; GET /cds-services lists the services"),
    405: ("not-supported", "This path doesn't take this method; the Allow header says which it takes"),
}

# Of every response about a patient, and of every error: no cache keeps it, and no browser takes it for a page.
NOT_STORED = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

_STORE_RETRY = "2"  # seconds, after which the store of used tokens is tried again
FORESEEN = (CdsError, CallerRefusedError, RequestValidationError, HTTPException)


class UnexpectedErrorMiddleware:
    """ASGI middleware that counts, logs and answers an unexpected exception with status 500.

    The log line holds the class and the place of the exception, without its message, which may repeat request data. No other
    code of the server catches every exception of a request.
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
            return  # there is no client left to answer
        except Exception as error:  # noqa: BLE001
            trace = new_trace()
            metrics.UNEXPECTED_ERRORS.inc()
            tell(Event.UNEXPECTED_ERROR, error=type(error).__name__, place=_place(error), trace=trace)
            if not started:
                response = _error_response(
                    500, "exception", "The service failed; its log has the details under this trace", trace
                )
                await response(scope, receive, send)


def _place(error: Exception) -> str:
    """Return file, line and function where `error` was raised; for a group, those of its first member."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return f"{place(error.__traceback__)} ({type(error).__name__})"


def _error_response(status: int, code: str, text: str, trace: str, headers: dict[str, str] | None = None) -> Response:
    metrics.REFUSED.labels(str(status)).inc()
    body = operation_outcome(code, text, trace)
    return Response(body, status, {**NOT_STORED, **(headers or {})}, media_type="application/json")


async def error_response(request: Request, error: Exception) -> Response:
    """Return the response to one of FORESEEN, for service calls and the framework's routes alike."""
    match error:
        case CdsError():
            trace = new_trace()
            peer = peer_of(request.scope)
            tell(Event.REFUSED, status=error.status, code=error.code, peer=peer, why=error.why, trace=trace)
            return _error_response(error.status, error.code, str(error), trace, dict(error.headers))
        case CallerRefusedError(status=503):
            text = "It can't be looked up now whether this token was used before; send the call again, with a new token"
            return _error_response(503, "transient", text, new_trace(), {"retry-after": _STORE_RETRY})
        case CallerRefusedError():  # the reason stands only in the log (CDS Hooks best practices); RFC 9110 requires the header
            return Response(status_code=401, headers={**NOT_STORED, "www-authenticate": "Bearer"})
        case RequestValidationError():  # FastAPI's own 422 would repeat the values sent
            places = ", ".join(".".join(str(part) for part in item["loc"]) for item in error.errors())
            return _error_response(400, "invalid", f"Missing or of the wrong type: {places}", new_trace())
        case HTTPException() if error.status_code in _FRAMEWORK:
            code, text = _FRAMEWORK[error.status_code]
            return _error_response(error.status_code, code, text, new_trace(), dict(error.headers or {}))
        case HTTPException():
            return await http_exception_handler(request, error)
    raise error


def add_error_handlers(app: FastAPI) -> None:
    """Have the framework's routes answer foreseen errors with `error_response`."""
    for kind in FORESEEN:
        app.add_exception_handler(kind, error_response)
