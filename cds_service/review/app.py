"""Build the application of the own process of the review pages, `cds-service review`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from cds_service.access.accounts import has_admin
from cds_service.clock import Clock, utc_now
from cds_service.database import DatabaseError
from cds_service.hooks.error_handlers import UnexpectedErrorMiddleware, add_error_handlers
from cds_service.knowledge.site_knowledge import load_knowledge
from cds_service.review.headers import ProtectingHeaders
from cds_service.review.page import BASE
from cds_service.review.routes import review_routes
from cds_service.review.site import Site
from cds_service.settings import DEV_BANNER, Settings, SettingsError
from cds_service.telemetry.prometheus import CONTENT_TYPE, exposition

_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def create_review_app(settings: Settings, *, clock: Clock = utc_now) -> FastAPI:
    """Return the application that serves `/review`.

    Raises SettingsError for what production needs and has not, and KnowledgeError for mistakes in cards.
    """
    if settings.profile == "production" and not settings.review_url.startswith("https://"):
        raise SettingsError(
            "The review pages show records of patients: in production they are served over TLS. Set CDS_REVIEW_URL to the https "
            "address under which people reach them, through a proxy that ends TLS"
        )
    knowledge = load_knowledge(settings, before_approval=True)
    site = Site(settings, knowledge, clock, banner=DEV_BANNER if settings.profile == "dev" else "")
    if settings.profile == "production":
        _expect_admin(site)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with suppress(DatabaseError):  # the pages say why, and try again
            site.begin()
        site.head_log.start()
        yield
        site.head_log.stop()
        site.close()

    app = FastAPI(
        lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, telemetry=_NO_TELEMETRY
    )
    add_error_handlers(app)
    app.add_middleware(UnexpectedErrorMiddleware)
    app.add_middleware(ProtectingHeaders, tls=site.gate.tls)
    app.router.routes.append(Route("/", _first_page, methods=["GET"]))
    app.router.routes.append(Route("/health/live", _live, methods=["GET"]))
    app.router.routes.append(Route("/health/ready", _ready(site), methods=["GET"]))
    if settings.profile == "dev":  # in production this port is for people; `cds-service signals --prometheus` tells the metric
        app.router.routes.append(Route("/metrics", _metrics, methods=["GET"]))
    app.router.routes.extend(review_routes(site))
    return app


def _expect_admin(site: Site) -> None:
    """Raise SettingsError where nobody could let others in, as while the identity provider is down."""
    try:
        with site.writers.borrow() as database:
            if has_admin(database):
                return
    except DatabaseError as error:
        raise SettingsError(
            f"Whether there is an admin can't be read: {error}. Start the service first, which makes the log"
        ) from None
    raise SettingsError("The review pages need an admin before they start in production: cds-service users add NAME --role admin")


async def _first_page(_: Request) -> Response:
    return RedirectResponse(BASE, 307)


async def _metrics(_: Request) -> Response:
    return Response(exposition(), media_type=CONTENT_TYPE)


async def _live(_: Request) -> Response:
    return PlainTextResponse("live")


def _ready(site: Site) -> Callable[[Request], Response]:
    def ready(_: Request) -> Response:
        try:
            with site.readers.borrow():
                return PlainTextResponse("ready")
        except DatabaseError:
            return PlainTextResponse("not ready", 503)

    return ready
