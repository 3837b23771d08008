"""Serve the pages on which developers fire a hook and see cards and reasons.

Only the dev profile has them.
"""

from cds_service.playground.routes import playground_routes

__all__ = ["playground_routes"]
