"""The page for developers, in the dev profile only: fire a hook at this very service, see the cards drawn and why."""

from cds_service.playground.routes import playground_routes

__all__ = ["playground_routes"]
