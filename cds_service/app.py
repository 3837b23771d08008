"""Build the web application: routes, error handling, start and end of a server process."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from cds_service import __version__
from cds_service.api_docs import describe_api
from cds_service.hooks.cors import HookCorsMiddleware, allow_any_page
from cds_service.hooks.error_handlers import UnexpectedErrorMiddleware, add_error_handlers
from cds_service.hooks.routes import hook_routes
from cds_service.hooks.service_calls import Respond, ServiceCalls
from cds_service.knowledge.site_knowledge import log_card_states
from cds_service.process.health import ProcessState, health_routes, probe_routes
from cds_service.process.management import management_socket, served
from cds_service.process.self_check import SelfCheck
from cds_service.process.shutdown import delay_sigterm
from cds_service.respond import respond as real_respond
from cds_service.review_site.card_pages import card_page_routes
from cds_service.runtime import Runtime, new_runtime
from cds_service.settings import DEV_BANNER, Settings, load_settings
from cds_service.telemetry import metrics, prometheus
from cds_service.telemetry.events import Event, place, tell
from cds_service.telemetry.log_lines import configure_logging

if TYPE_CHECKING:
    from cds_service.playground.recorder import Announce
    from cds_service.review.site import Site

# FastAPI's own telemetry would send paths, query strings and the messages of exceptions; `traces` decides what a span may hold.
_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def application() -> FastAPI:
    """Return the application of a server process, set up from `CDS_*` variables.

    For `uvicorn --factory cds_service.app:application`. Changes the process: logging and the garbage collector.
    """
    settings = load_settings()
    configure_logging(settings.profile, peers=settings.log_peers)
    app = create_app(settings, management=management_socket(settings))
    freeze_collector()
    return app


def create_app(
    settings: Settings,
    *,
    runtime: Runtime | None = None,
    respond: Respond = real_respond,
    own_address: str = "",
    announce: Announce | None = None,
    management: socket.socket | None = None,
) -> FastAPI:
    """Return an application for `settings`, without a change to the process.

    `runtime` and `respond` replace the real ones in tests; `own_address`: see `new_runtime`. `announce` gets a line about each
    call and the path of its page, where the dev profile is to keep the calls of all programs. `management`: where /metrics and
    /health are served while the application runs, if they have a port of their own. Raises what `new_runtime` raises.
    """
    held = runtime or new_runtime(settings, own_address)
    process = ProcessState(held, SelfCheck(held, settings.checking_seconds))

    dev = settings.profile == "dev"
    pages = _ReviewPages(held) if dev else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with served(app.state.management, management), _running(held, process, pages):
            yield

    app = FastAPI(
        title="Muscle cramp decision support",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
        openapi_url="/openapi.json" if dev else None,  # of no use in production, so not offered for attack there
        docs_url=None,  # FastAPI's page loads scripts from elsewhere
        redoc_url=None,
    )
    add_error_handlers(app)
    app.add_middleware(ServiceCalls, runtime=held, respond=respond)  # what is added later stands around it
    app.add_middleware(UnexpectedErrorMiddleware)
    app.router.routes.extend(card_page_routes(held))  # before the playground, whose files below /cards have other names
    if dev:
        _add_playground(app, held, announce)
    if dev:  # added last, so outermost: a browser can read errors only where they carry these headers too
        allow_any_page(app)
    elif held.callers.origins:
        app.add_middleware(HookCorsMiddleware, origins=held.callers.origins)
    app.include_router(hook_routes(held))
    app.state.management = app if settings.management is None else _management_app(held, process)
    app.include_router(health_routes(held, process) if settings.management is None else probe_routes(process))
    describe_api(app, held.knowledge.services)
    if pages is not None:
        _add_dev_pages(app, held, pages)
    return app


@asynccontextmanager
async def _running(runtime: Runtime, process: ProcessState, pages: _ReviewPages | None) -> AsyncIterator[None]:
    """Start what lasts as long as the process, and end it in an order in which every record is written."""
    try:
        runtime.alert_log.start()
    except Exception as error:
        tell(Event.START_FAILED, error=type(error).__name__, place=place(error.__traceback__))
        raise
    await process.check_keys()
    if runtime.traces is not None:
        runtime.traces.start()
    await runtime.callers.start()
    if runtime.shipper is not None:
        runtime.shipper.start()
    log_card_states(runtime.knowledge, runtime.settings.profile)
    _start_metrics(runtime, process)
    tasks = [asyncio.create_task(work) for work in (process.watch(), process.self_check.run())]
    for task in tasks:
        task.add_done_callback(_log_failed_task)
    process.started = True
    tell(Event.STARTED, hash=runtime.configuration)
    with delay_sigterm(runtime.settings.draining_seconds, lambda: _drain(process, runtime.settings)):
        yield
    process.draining = True
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await runtime.callers.close()
    await runtime.http.aclose()
    await runtime.alert_log.close()
    if runtime.shipper is not None:
        await asyncio.to_thread(runtime.shipper.stop)
    if pages is not None:
        await asyncio.to_thread(pages.close)
    await _close_traces(runtime)
    tell(Event.STOPPED)


def _management_app(runtime: Runtime, process: ProcessState) -> FastAPI:
    """Return the application of the port for operators."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, telemetry=_NO_TELEMETRY)
    add_error_handlers(app)
    app.add_middleware(UnexpectedErrorMiddleware)
    app.include_router(health_routes(runtime, process))
    return app


def _add_playground(app: FastAPI, runtime: Runtime, announce: Announce | None) -> None:
    from cds_service.playground import playground_routes
    from cds_service.playground.kept_calls import KeptCalls
    from cds_service.playground.recorder import CallRecorder

    calls = KeptCalls()
    app.add_middleware(CallRecorder, runtime=runtime, calls=calls, announce=announce)
    app.router.routes.extend(playground_routes(runtime, calls))


def _add_dev_pages(app: FastAPI, runtime: Runtime, pages: _ReviewPages) -> None:
    # Imported here, because production has none of them.
    from cds_service.api_docs.page import docs_routes
    from cds_service.build_sheet.page import build_sheet_routes
    from cds_service.playground.fhir_server import fhir_routes

    app.include_router(fhir_routes(runtime.settings.public_url, runtime.clock))
    app.router.routes += docs_routes(app, banner=DEV_BANNER, clock=runtime.clock)
    app.router.routes += build_sheet_routes(runtime.knowledge, runtime.settings, banner=DEV_BANNER)
    app.router.routes.append(Route("/review{rest:path}", pages))


class _ReviewPages:
    """The review pages, imported and made at the first request: most starts of a dev process are not for them."""

    def __init__(self, runtime: Runtime) -> None:
        """Raises SettingsError for the file that says who may sign in."""
        self._runtime = runtime
        self._site: Site | None = None
        self._pages: Router | None = None
        if runtime.settings.access_file is not None:  # a mistake in the file has to stop the start
            self._pages = self._made()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._pages = self._pages or self._made()
        await self._pages({**scope, "path_params": {}}, receive, send)  # matched anew, with names of their own

    def _made(self) -> Router:
        from cds_service.review.routes import review_routes
        from cds_service.review.site import Site

        runtime = self._runtime
        self._site = Site(runtime.settings, runtime.knowledge, runtime.clock, banner=DEV_BANNER)
        return Router(review_routes(self._site))

    def close(self) -> None:
        """End the threads and close the connections of the pages, where there are any."""
        if self._site is not None:
            self._site.close()


def _start_metrics(runtime: Runtime, process: ProcessState) -> None:
    metrics.WORKERS.labels(__version__, runtime.settings.profile, runtime.configuration).set(1)
    metrics.start_at_zero((one.id for one in runtime.knowledge.services), (one.id for one in runtime.knowledge.cards))
    process.measure()
    prometheus.reserve_disk_space()


def _log_failed_task(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        tell(Event.UNHANDLED, error=type(error).__name__, place=place(error.__traceback__))


def _drain(process: ProcessState, settings: Settings) -> None:
    process.draining = True
    tell(Event.DRAINING, ms=settings.draining_seconds * 1000)


async def _close_traces(runtime: Runtime) -> None:
    """Send the last traces; wait at most two seconds for a collector that does not answer."""
    if runtime.traces is not None:
        closing = threading.Thread(target=runtime.traces.close, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, 2)


def freeze_collector() -> None:
    """Set up the garbage collector for short pauses, after all lasting objects were made.

    Cards, models and routes live as long as the process: frozen, no collection walks through them again. A request makes hardly
    any cycles, so its objects need no second look while it is served: the older generations are collected rarely, because
    walking through a large request takes milliseconds. What a start leaves in cycles (0.3 MB) is frozen too: to find it takes a
    twentieth of the start.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(700, 10_000, 10)
