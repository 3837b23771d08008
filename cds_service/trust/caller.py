"""Describe the caller of a request, and the FHIR servers that its calls may name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import msgspec

from cds_service.outbound.base_urls import FhirBase, base_place, base_url

Headers = Iterable[tuple[bytes, bytes]]  # of a request, names in lower case


class Caller(msgspec.Struct, frozen=True):
    """The party that sent a request."""

    client: str  # name of a registered EHR client, or "anonymous"
    tenant: str = ""  # of that client, "" where it has none
    dialect: str = ""  # how its EHR wants cards: "epic", "oracle", "sandbox"; "" for plain CDS Hooks
    fhir_bases: tuple[FhirBase, ...] | None = None  # that may be asked; () for none; None for any, in the dev profile only
    deadline_ms: int | None = None  # from request to answer, where the client has its own
    include: bool = False  # its EHR supports `_include` in searches and prefetch templates
    calls_per_minute: int | None = None  # that one process takes from the client; None: no limit of its own
    clock_offset_ms: int | None = None  # issue time of this call's token minus its receipt; None without a token

    def base_of(self, fhir_server: str) -> FhirBase | None:
        """Return the registered base that `fhir_server` names, None where this caller has no such base.

        Requests go to the URL as it is registered, never to one as a call spelled it. In the dev profile (`fhir_bases` is None)
        every http(s) URL is accepted, private or not.
        """
        named = base_place(fhir_server)
        if named is None:
            return None
        if self.fhir_bases is None:
            return FhirBase(fhir_server, private=True)
        return next((base for base in self.fhir_bases if base_place(base.url) == named), None)

    def server_name(self, fhir_server: str | None) -> str:
        """Return one name for a FHIR server however a call spells its URL: its registered base, else one spelling of the URL."""
        if not fhir_server:
            return ""
        base = self.base_of(fhir_server) if self.fhir_bases is not None else None
        if base is not None:
            return base.url
        named = base_place(fhir_server)
        return fhir_server if named is None else base_url(named)

    def is_foreign(self, fhir_server: str) -> bool:
        """Say whether the caller has registered FHIR servers and `fhir_server` is none of them.

        A call that names such a server is refused. Where the caller has registered none, and in the dev profile, none is foreign:
        then a server without a base is not asked.
        """
        return bool(self.fhir_bases) and self.base_of(fhir_server) is None


ANONYMOUS = Caller(client="anonymous")


class Endpoint(NamedTuple):
    """The endpoint called: path below /cds-services ("" for discovery), and the hook of the service, None where unknown."""

    path: str
    hook: str | None = None
    once: bool = True  # a token may be used here only once


class Callers(Protocol):
    """Identify callers, for the routes."""

    origins: frozenset[str]  # pages of browsers that may call
    dialects: frozenset[str]  # that their EHRs speak, see `Caller.dialect`
    registry_hash: str  # of what is registered, keys included; "" where nothing is

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def identify(self, headers: Headers, endpoint: Endpoint) -> Caller:
        """Return the caller of a request. Raises CallerRefusedError."""

    @property
    def degraded(self) -> bool:
        """Say whether the shared store of used tokens can't be asked now."""

    @property
    def all_refused(self) -> str:
        """Return why every caller would be refused now, "" where that is not so."""

    def health(self) -> dict[str, Any]:
        """Return the part of /health about callers: counts, no names."""
