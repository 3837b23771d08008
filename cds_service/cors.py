"""Which pages of a browser may call (CORS): any in the dev profile; in production those that registered clients list."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = ["GET", "POST", "OPTIONS"]
_HEADERS = ["Authorization", "Content-Type"]  # by name: `*` does not cover Authorization in the Fetch standard


def allow_any_page(app: FastAPI) -> None:
    """For the dev profile: a page of the public sandbox may call a service on this machine, and read its errors."""
    app.add_middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=_METHODS, allow_headers=_HEADERS, allow_private_network=True
    )


class HookPages:
    """ASGI middleware: pages of `origins` may use the paths under /cds-services, and nothing else of this service."""

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self._app = app
        self._cors = CORSMiddleware(app, allow_origins=sorted(origins), allow_methods=_METHODS, allow_headers=_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (scope["path"] == "/cds-services" or scope["path"].startswith("/cds-services/")):
            await self._app(scope, receive, send)
            return

        async def send_varied(message: Message) -> None:
            if message["type"] == "http.response.start":  # also to requests without an origin: a cache in between must know
                headers = MutableHeaders(scope=message)
                if "origin" not in headers.get("vary", "").lower():
                    headers.add_vary_header("Origin")
            await send(message)

        await self._cors(scope, receive, send_varied)
