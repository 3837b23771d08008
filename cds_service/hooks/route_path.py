"""Tell the path of a request below the path of a proxy."""

from __future__ import annotations

from starlette.types import Scope


def route_path(scope: Scope) -> str:
    """Return the path of an HTTP request without the server's `root_path`, whether or not a proxy leaves it in the path.

    Starlette's own routes see the same path: `/cds-services` does not begin with the root path `/cds`.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    below = path.removeprefix(root)
    return below if below.startswith("/") else path
