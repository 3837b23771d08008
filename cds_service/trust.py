"""Who is calling, and which FHIR servers may be called on that caller's word.

This is the seam, not yet the lock: callers are anonymous and may name any FHIR server, which is right for a laptop and nowhere
else. Verified tokens and an allow-list of FHIR servers come with the registration of EHR clients; until then the production
profile refuses to start (see `anonymous`), because security fails closed.
"""

from __future__ import annotations

import msgspec

from cds_service.settings import Settings, SettingsError


class FhirBase(msgspec.Struct, frozen=True):
    """Base URL of a FHIR server that a client owns."""

    url: str  # without a slash at the end
    private: bool = False  # it may stand at an address that is not public


class Caller(msgspec.Struct, frozen=True):
    """The party that sent a request."""

    client: str  # name of a registered EHR client, or "anonymous"
    tenant: str = ""  # of that client, "" where it has none
    dialect: str = ""  # how its EHR wants cards: "epic", "oracle", "sandbox"; "" for plain CDS Hooks
    fhir_bases: tuple[FhirBase, ...] | None = None  # those that may be asked; None: any, which only the dev profile allows
    deadline_ms: int | None = None  # from request to answer, where the client has its own

    def may_call(self, base_url: str) -> bool:
        """Whether this caller may have this service ask the FHIR server at `base_url`: any http(s) server in the dev profile.

        With client registration this becomes a comparison with the client's own list.
        """
        return base_url.startswith(("http://", "https://"))


ANONYMOUS = Caller(client="anonymous")


def anonymous(settings: Settings) -> Caller:
    """The caller of every request in the dev profile.

    Raises SettingsError in the production profile, where nobody is served without having proved who they are.
    """
    if settings.profile == "production":
        raise SettingsError(
            "CDS_PROFILE=production can't start: this version can't verify which EHR is calling. "
            "CDS_PROFILE=dev is for machines without patient data"
        )
    return ANONYMOUS
