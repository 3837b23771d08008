"""Serve the developers' pages of the dev profile: fire a hook at this service, see cards and reasons."""

from cds_service.playground.routes import playground_routes

__all__ = ["playground_routes"]
