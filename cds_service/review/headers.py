"""Send the headers that protect a page with every response of the review pages, errors included."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
TLS_ONLY = "max-age=31536000"  # one year


class ProtectingHeaders:
    """ASGI middleware that adds the headers."""

    def __init__(self, app: ASGIApp, *, tls: bool = False) -> None:
        """`tls`: people reach the pages over TLS, and browsers shall not try otherwise (RFC 6797)."""
        self.app = app
        self._headers = HEADERS | ({"strict-transport-security": TLS_ONLY} if tls else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def protected_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self.app(scope, receive, protected_send if scope["type"] == "http" else send)
