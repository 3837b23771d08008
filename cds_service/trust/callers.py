"""Who sent a request: in the dev profile without a registry anybody, else a registered client with a good token."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from cds_service.clock import Clock, utc_now
from cds_service.settings import Settings
from cds_service.trust.caller import ANONYMOUS, Caller

Headers = Iterable[tuple[bytes, bytes]]  # of a request, names in lower case


class Endpoint(NamedTuple):
    """What is called: the path below /cds-services ("" for discovery), and the hook, where it is that of a known service."""

    path: str
    hook: str | None = None
    once: bool = True  # a token may be used here only once


class Callers(Protocol):
    """What the routes need."""

    origins: frozenset[str]  # pages of browsers that may call
    dialects: frozenset[str]  # that their EHRs speak, see `Caller.dialect`

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def identify(self, headers: Headers, endpoint: Endpoint) -> Caller:
        """Raises RefusedError."""

    @property
    def degraded(self) -> bool:
        """Whether it is unknown to this process which tokens were used before."""

    def health(self) -> dict[str, Any]:
        """For /health: counts, no names."""


class AnyCaller:
    """Everybody, known to nobody; tokens are not looked at. For the dev profile."""

    origins: frozenset[str] = frozenset()
    dialects: frozenset[str] = frozenset()
    degraded = False

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def identify(self, headers: Headers, endpoint: Endpoint) -> Caller:
        return ANONYMOUS

    def health(self) -> dict[str, Any]:
        return {"verified": False}


def new_callers(settings: Settings, clock: Clock = utc_now) -> Callers:
    """The callers that `settings` allow; `clock` tells whether a token is still good.

    Raises SettingsError where they can't be served like this, OSError for the registry.
    """
    if settings.profile == "dev" and settings.clients_file is None:
        return AnyCaller()
    from cds_service.trust.registered import registered_callers  # cryptography costs 10 MB, which a laptop's worker may save

    return registered_callers(settings, clock)
