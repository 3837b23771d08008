"""Build the application of the own process of the review pages, `cds-service review`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cds_service.clock import Clock, utc_now
from cds_service.database import DatabaseError
from cds_service.hooks.error_handlers import UnexpectedErrorMiddleware, add_error_handlers
from cds_service.knowledge.site_knowledge import load_knowledge
from cds_service.review.page import BASE
from cds_service.review.routes import review_routes
from cds_service.review.site import Site
from cds_service.settings import DEV_BANNER, Settings, SettingsError

_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def create_review_app(settings: Settings, *, clock: Clock = utc_now) -> FastAPI:
    """Return the application that serves `/review`.

    Raises SettingsError in production, where nobody could be told apart, and KnowledgeError for mistakes in cards.
    """
    if settings.profile == "production":
        raise SettingsError(
            "The review pages are not served in production yet: they show records of patients and wait for a sign-in that says "
            "who reads them. Until then `cds-service log export` writes the log for other tools"
        )
    knowledge = load_knowledge(settings, before_approval=True)
    site = Site(settings, knowledge, clock, banner=DEV_BANNER)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with suppress(DatabaseError):  # the pages say why, and try again
            site.begin()
        yield
        site.close()

    app = FastAPI(
        lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, telemetry=_NO_TELEMETRY
    )
    add_error_handlers(app)
    app.add_middleware(UnexpectedErrorMiddleware)
    app.router.routes.append(Route("/", _first_page, methods=["GET"]))
    app.router.routes.extend(review_routes(site))
    return app


async def _first_page(_: Request) -> Response:
    return RedirectResponse(BASE, 307)
