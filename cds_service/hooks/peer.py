"""Say which address a request came from, for the log of refusals."""

from __future__ import annotations

from ipaddress import ip_address

from starlette.types import Scope


def peer_of(scope: Scope) -> str:
    """Return the IP address of the sender, "-" where it is not known.

    Behind a proxy that uvicorn trusts it is what the proxy says (`X-Forwarded-For`), which may be any text.
    """
    host = (scope.get("client") or ("",))[0]
    try:
        return str(ip_address(host))
    except ValueError:
        return "-"
