"""Who sent a request: in the dev profile without a registry anybody, else a registered client with a good token."""

from __future__ import annotations

from typing import Any

from cds_service.clock import Clock, utc_now
from cds_service.settings import Settings
from cds_service.trust.caller import ANONYMOUS, Caller, Callers, Endpoint, Headers


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
