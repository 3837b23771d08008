"""Choose how callers are identified: unverified in the dev profile without a registry, else by token."""

from __future__ import annotations

from typing import Any

from cds_service.clock import Clock, utc_now
from cds_service.settings import Settings
from cds_service.trust.caller import ANONYMOUS, Caller, Callers, Endpoint, Headers


class UnverifiedCallers:
    """Accept every caller as anonymous, without looking at tokens. For the dev profile."""

    origins: frozenset[str] = frozenset()
    dialects: frozenset[str] = frozenset()
    degraded = False
    all_refused = ""
    registry_hash = ""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def identify(self, headers: Headers, endpoint: Endpoint) -> Caller:
        return ANONYMOUS

    def health(self) -> dict[str, Any]:
        return {"verified": False}


def new_callers(settings: Settings, clock: Clock = utc_now) -> Callers:
    """Return the callers that `settings` allow; `clock` decides whether a token has expired.

    Raises SettingsError where the settings and the registry don't fit together, OSError where the registry can't be read.
    """
    if settings.profile == "dev" and settings.clients_file is None:
        return UnverifiedCallers()
    from cds_service.trust.registered import registered_callers  # cryptography costs 10 MB, which a laptop's worker may save

    return registered_callers(settings, clock)
