"""List the reasons to refuse a caller, for the log and the metric; the response never names them."""

from __future__ import annotations

from typing import Literal, get_args

Reason = Literal[
    "no_token",  # no Authorization header, several, or not "Bearer <token>"
    "not_a_token",  # not a signed JWT in compact form, too long, or claims that are missing or of the wrong type
    "header",  # what the token's header asks for is refused: `typ`, `jwk`, `x5c`, `x5u`, `crit`, `b64`
    "issuer",  # no registered client has this `iss`
    "audience",  # made for another URL
    "expired",
    "not_yet",  # `nbf` or `iat` lie in the future
    "life",  # valid for longer than this client's tokens may be
    "tenant",  # not a tenant of this client
    "algorithm",  # none, symmetric, or not among this client's
    "jku",  # names another key URL than the registered one
    "key",  # no usable key of this client, or more than one, has this `kid`
    "signature",
    "replayed",  # used before
    "replay_unknown",  # it can't be looked up whether it was used before, and the site is strict about that
    "hook",  # the client is not registered for this service's hook
]
REASONS: tuple[Reason, ...] = get_args(Reason)


class CallerRefusedError(Exception):
    """Raised where a caller is not accepted, before its request is read. Answered with an empty 401, or with 503 (`status`).

    `client`: name of the registered client that the request claims to come from, "" for none; the claim is not verified. A call
    that is refused after its request was read raises `wire.refusal.RequestRefusedError` instead.
    """

    def __init__(self, reason: Reason, client: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.client = client

    @property
    def status(self) -> int:
        """Return 503 where the same caller is accepted as soon as the store of used tokens responds, else 401."""
        return 503 if self.reason == "replay_unknown" else 401
