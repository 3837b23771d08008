"""The application: routes, error handling and what happens when a process starts and stops."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from cds_service import __version__
from cds_service.api_docs import describe_api, docs_routes
from cds_service.hooks.cors import HookPages, allow_any_page
from cds_service.hooks.error_handlers import Guard, add_error_handlers
from cds_service.hooks.routes import hook_routes
from cds_service.hooks.service_calls import Respond, ServiceCalls
from cds_service.knowledge.site_knowledge import log_card_states
from cds_service.playground import playground_routes
from cds_service.playground.fhir_server import fhir_routes
from cds_service.process.health import Condition, health_routes
from cds_service.process.self_check import Checking
from cds_service.process.shutdown import held_back
from cds_service.respond import respond as real_respond
from cds_service.review_site.card_pages import card_page_routes
from cds_service.runtime import Runtime, new_runtime
from cds_service.settings import DEV_BANNER, Settings, load_settings
from cds_service.telemetry import metrics, prometheus
from cds_service.telemetry.events import Event, place, tell
from cds_service.telemetry.log_lines import configure_logging

# FastAPI's own telemetry would send paths, query strings and the messages of exceptions; `traces` says what a span may hold.
_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def application() -> FastAPI:
    """The application of a server process, set up from `CDS_*` variables: `uvicorn --factory cds_service.app:application`."""
    settings = load_settings()
    configure_logging(settings.profile)
    app = create_app(settings)
    settle_collector()
    return app


def create_app(
    settings: Settings, *, runtime: Runtime | None = None, respond: Respond = real_respond, own_address: str = ""
) -> FastAPI:
    """An application for `settings`; `runtime` and `respond` replace the real ones in tests; `own_address`: see `new_runtime`.

    Raises what `new_runtime` raises.
    """
    held = runtime or new_runtime(settings, own_address)
    condition = Condition(held, Checking(held, settings.checking_seconds))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            held.alert_log.start()
        except Exception as error:
            tell(Event.START_FAILED, error=type(error).__name__, place=place(error.__traceback__))
            raise
        await held.callers.start()
        log_card_states(held.knowledge)
        _begin_counting(held, condition)
        tasks = [asyncio.create_task(work) for work in (condition.watch(), condition.checking.run())]
        for task in tasks:
            task.add_done_callback(_say_how_it_ended)
        condition.started = True
        tell(Event.STARTED)
        with held_back(settings.draining_seconds, lambda: _drain(condition, settings)):
            yield
        condition.draining = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await held.callers.close()
        await held.http.aclose()
        await held.alert_log.close()
        await _close_traces(held)
        tell(Event.STOPPED)

    dev = settings.profile == "dev"
    app = FastAPI(
        title="Muscle cramp decision support",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
        openapi_url="/openapi.json" if dev else None,  # in production nobody needs it, and what is not there can't be attacked
        docs_url=None,  # FastAPI's page loads scripts from elsewhere
        redoc_url=None,
    )
    add_error_handlers(app)
    app.add_middleware(ServiceCalls, runtime=held, respond=respond)  # what is added later stands around it
    app.add_middleware(Guard)
    if dev:  # added last, so outermost: a browser can read errors only where they carry these headers too
        allow_any_page(app)
    elif held.callers.origins:
        app.add_middleware(HookPages, origins=held.callers.origins)
    app.include_router(hook_routes(held))
    app.include_router(health_routes(held, condition))
    app.router.routes.extend(card_page_routes(held))
    describe_api(app, held.knowledge.services)
    if dev:
        app.include_router(fhir_routes(settings.public_url, held.clock))
        app.include_router(docs_routes(app, banner=DEV_BANNER))
        app.router.routes.extend(playground_routes(held))
    return app


def _begin_counting(runtime: Runtime, condition: Condition) -> None:
    metrics.WORKERS.labels(__version__, runtime.settings.profile).set(1)
    metrics.begin_at_zero((one.id for one in runtime.knowledge.services), (one.id for one in runtime.knowledge.cards))
    condition.measure()
    prometheus.reserve()


def _say_how_it_ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        tell(Event.UNHANDLED, error=type(error).__name__, place=place(error.__traceback__))


def _drain(condition: Condition, settings: Settings) -> None:
    condition.draining = True
    tell(Event.DRAINING, ms=settings.draining_seconds * 1000)


async def _close_traces(runtime: Runtime) -> None:
    """A collector that does not answer holds up the end for at most two seconds."""
    if runtime.traces is not None:
        closing = threading.Thread(target=runtime.traces.close, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, 2)


def settle_collector() -> None:
    """Sets the garbage collector of a server process up for short pauses, once everything that stays has been made.

    Cards, models and routes live as long as the process: frozen, no collection walks through them again. A request makes hardly
    any cycles, so its objects need no second look while it is served: the older generations are collected rarely, because
    walking through a large request takes milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10_000, 10)
