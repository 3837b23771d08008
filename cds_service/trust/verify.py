"""Check the claims of a token in the order that CDS Hooks recommends: iss, aud, exp, tenant.

Signature and earlier use are checked after them (`key_sets`, `replay`).

Pure: no I/O, no clock. Times are seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cds_service.trust.refusal import CallerRefusedError
from cds_service.trust.registry import Client
from cds_service.trust.tokens import Token

LEEWAY = 60  # seconds that clocks may differ


class Issuers:
    """Find a registered client by `iss`, and by `tenant` where several clients share one issuer."""

    def __init__(self, clients: Iterable[Client]) -> None:
        self._clients: dict[str, list[Client]] = {}
        for client in clients:
            self._clients.setdefault(client.iss, []).append(client)

    def client_of(self, token: Token) -> Client:
        """Return the client of a token. Raises CallerRefusedError where none is registered for its issuer and tenant."""
        clients = self._clients.get(token.issuer, [])
        if not clients:
            raise CallerRefusedError("issuer")
        if len(clients) == 1:
            return clients[0]
        found = [client for client in clients if token.tenant in client.tenants]
        if not found:
            raise CallerRefusedError("tenant")
        return found[0]


def check_claims(token: Token, client: Client, audiences: Collection[str], now: float) -> None:
    """Check all claims of `token` that need no key. Raises CallerRefusedError.

    `audiences`: the URLs of the endpoint called; a client with audiences of its own must use those. A token is valid from `nbf`
    and `iat` to just before `exp`, each with the leeway; `exp - iat` may be at most the client's `max_life_s`.
    """
    if not set(client.audiences or audiences).intersection(token.audiences):
        raise CallerRefusedError("audience", client.name)
    if now >= token.expires + LEEWAY:
        raise CallerRefusedError("expired", client.name)
    starts = max(token.issued, token.issued if token.not_before is None else token.not_before)
    if now < starts - LEEWAY:
        raise CallerRefusedError("not_yet", client.name)
    if not 0 < token.expires - token.issued <= client.max_life_s:
        raise CallerRefusedError("life", client.name)
    if token.tenant not in (client.tenants or ("",)):
        raise CallerRefusedError("tenant", client.name)
    if token.algorithm not in client.algorithms:
        raise CallerRefusedError("algorithm", client.name)
    if token.jku is not None and token.jku != client.jku:
        raise CallerRefusedError("jku", client.name)


def endpoint_urls(public_url: str, path: str) -> tuple[str, ...]:
    """Return the accepted `aud` at the endpoint `path` below /cds-services ("" for discovery, "/id", "/id/feedback")."""
    url = f"{public_url}/cds-services{path}"
    return (url,) if path else (url, f"{url}/")  # discovery is answered under both spellings
