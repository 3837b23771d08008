"""Who is calling, and which FHIR servers may be called on that caller's word."""

from __future__ import annotations

import msgspec


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
