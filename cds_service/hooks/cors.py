"""Let browser pages call this service (CORS): any page in the dev profile, registered origins in production."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from cds_service.hooks.route_path import route_path

_METHODS = ["GET", "POST", "OPTIONS"]
_HEADERS = ["Authorization", "Content-Type"]  # by name: `*` does not cover Authorization in the Fetch standard


def allow_any_page(app: FastAPI) -> None:
    """Let every page call, for the dev profile: the public sandbox can call this machine and read errors."""
    app.add_middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=_METHODS, allow_headers=_HEADERS, allow_private_network=True
    )


class HookCorsMiddleware:
    """ASGI middleware that lets pages of `origins` use the paths under /cds-services, and only these."""

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self._app = app
        self._cors = CORSMiddleware(app, allow_origins=sorted(origins), allow_methods=_METHODS, allow_headers=_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hooks = scope["type"] == "http" and f"{route_path(scope)}/".startswith("/cds-services/")
        await (self._cors if hooks else self._app)(scope, receive, send)
