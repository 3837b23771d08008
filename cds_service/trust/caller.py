"""Who is calling, and which FHIR servers may be called on that caller's word."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import msgspec

from cds_service.outbound.base_urls import FhirBase, base_place

Headers = Iterable[tuple[bytes, bytes]]  # of a request, names in lower case


class Caller(msgspec.Struct, frozen=True):
    """The party that sent a request."""

    client: str  # name of a registered EHR client, or "anonymous"
    tenant: str = ""  # of that client, "" where it has none
    dialect: str = ""  # how its EHR wants cards: "epic", "oracle", "sandbox"; "" for plain CDS Hooks
    fhir_bases: tuple[FhirBase, ...] | None = None  # those that may be asked; None: any, which only the dev profile allows
    deadline_ms: int | None = None  # from request to answer, where the client has its own
    include: bool = False  # its EHR supports `_include` in searches and prefetch templates

    def base_of(self, fhir_server: str) -> FhirBase | None:
        """The base that `fhir_server` names, as it is registered, so that nothing that a request says is ever an address.

        None where this caller has no such base. In the dev profile (`fhir_bases` is None) any web server will do, private or not.
        """
        asked = base_place(fhir_server)
        if asked is None:
            return None
        if self.fhir_bases is None:
            return FhirBase(fhir_server, private=True)
        return next((base for base in self.fhir_bases if base_place(base.url) == asked), None)


ANONYMOUS = Caller(client="anonymous")


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
        """Raises CallerRefusedError."""

    @property
    def degraded(self) -> bool:
        """Whether it is unknown to this process which tokens were used before."""

    def health(self) -> dict[str, Any]:
        """For /health: counts, no names."""
