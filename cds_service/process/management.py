"""Serve `/metrics` and `/health` on a port of their own, which the proxy in front of the calls does not reach.

Every worker listens there, as on the port of the calls. Metrics are those of all workers; the rest of `/health` is about the one
that answers. The port stays open while a process ends, until its last record is written.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from cds_service.process.connection_limits import LimitedConnection
from cds_service.settings import Settings, SettingsError


def management_socket(settings: Settings) -> socket.socket | None:
    """Return a socket that listens where the settings say, None where they name no port of its own.

    Raises SettingsError where the address can't be used.
    """
    if settings.management is None:
        return None
    host, port = settings.management
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = "is in use by another program" if error.errno == errno.EADDRINUSE else f"can't be listened on ({error.strerror})"
        raise SettingsError(f"{host}:{port} {why}; CDS_MANAGEMENT_ADDRESS names another for /metrics and /health") from None


@asynccontextmanager
async def served(app: ASGIApp, listening: socket.socket | None) -> AsyncIterator[None]:
    """Within the context, answer requests to the socket with `app`; do nothing without a socket."""
    if listening is None:
        yield
        return
    config = uvicorn.Config(
        app, http=LimitedConnection, ws="none", lifespan="off", access_log=False, log_config=None, proxy_headers=False
    )
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: LimitedConnection(config=config, server_state=state, app_state={}), sock=listening
    )
    try:
        yield
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
