"""The application: routes, error handling and what happens when a process starts and stops."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from cds_service import __version__
from cds_service.evaluate import failures
from cds_service.guard import Guard, add_error_handlers
from cds_service.hooks import Respond, hook_routes
from cds_service.observe import configure_logging
from cds_service.playground import playground_routes
from cds_service.respond import respond as real_respond
from cds_service.respond import security_events
from cds_service.runtime import Runtime, new_runtime
from cds_service.settings import Settings, load_settings
from cds_service.site import card_states, log_card_states


def application() -> FastAPI:
    """The application of a server process, set up from `CDS_*` variables: `uvicorn --factory cds_service.app:application`."""
    settings = load_settings(os.environ)
    configure_logging(settings.profile)
    return create_app(settings)


def create_app(settings: Settings, *, runtime: Runtime | None = None, respond: Respond = real_respond) -> FastAPI:
    """An application for `settings`; `runtime` and `respond` replace the real ones in tests.

    Raises what `new_runtime` raises.
    """
    held = runtime or new_runtime(settings)
    counts: Counter[str] = Counter()
    states = card_states(held.knowledge)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        held.alert_log.start()
        log_card_states(held.knowledge)
        settle_collector()
        yield
        await held.http.aclose()
        await held.alert_log.close()

    app = FastAPI(title="Muscle cramp decision support", version=__version__, lifespan=lifespan, redirect_slashes=False)
    add_error_handlers(app)
    app.add_middleware(Guard, counts=counts)
    if settings.profile == "dev":  # added last, so outermost: a browser can read errors only where they carry these headers too
        app.add_middleware(
            CORSMiddleware,
            allow_origins=["*"],
            allow_methods=["GET", "POST", "OPTIONS"],
            allow_headers=["Authorization", "Content-Type"],
            allow_private_network=True,  # a page of the public sandbox may call a service on this machine
        )
    app.include_router(hook_routes(held, respond))
    if settings.profile == "dev":
        app.router.routes.extend(playground_routes(held))

    @app.get("/health", tags=["Operation"], summary="Whether everything works")
    async def health() -> dict[str, Any]:
        """Always 200, because cards go out. `status` is `degraded` while the alert log can't be written, or once a card broke."""
        log = held.alert_log.health()
        return {
            "status": "degraded" if failures or log.state != "ok" else "ok",
            "profile": settings.profile,
            "version": __version__,
            "cards": states,
            # Both since this process started: requests answered with 500, and cards or criteria that broke, by id
            "unexpected_errors": counts["unexpected_errors"],
            "evaluation_failures": dict(failures),
            "security_events": {name: count for name, count in security_events.items() if count},
            "log": msgspec.structs.asdict(log),
        }

    return app


def settle_collector() -> None:
    """Sets the garbage collector up for short pauses, once everything that stays has been made.

    Cards, models and routes live as long as the process: frozen, no collection walks through them again. A request makes hardly
    any cycles, so its objects need no second look while it is served: the older generations are collected rarely, because
    walking through a large request takes milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10_000, 10)
