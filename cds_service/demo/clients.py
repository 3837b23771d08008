"""Describe the EHR clients of the made-up months: what they call, how good their data are, how much feedback they send."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import msgspec

from cds_service.knowledge.card_file import Hook
from cds_service.outbound.base_urls import FhirBase
from cds_service.trust import Caller

# What a visit is about: opening a chart, or drafting an order and signing it. "story": a patient of a card's case or a sample.
VisitKind = Literal["view", "story view", "order", "story order", "quinine for cramps", "quinine for malaria"]

SIGNED = 0.8  # share of selected orders that are signed


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """How often something is wrong with the data of a client, each a share from 0 to 1."""

    local_code: float = 0.0  # of results and drugs: a code of the hospital's own in place of the public one
    odd_unit: float = 0.0  # of results: a unit that this service does not know
    unreadable: float = 0.0  # of results: words where a number should be
    undated: float = 0.0  # of results: no date
    failed_source: float = 0.0  # of prefetch keys: the EHR's own search failed
    unsent_source: float = 0.0  # of prefetch keys: left out, and no FHIR server to ask
    unsent_chart: float = 0.0  # of calls: no prefetch; the FHIR server has the data
    order_without_id: float = 0.0  # of draft orders that are signed
    stale: float = 0.1  # of charts: the newest results are of last year


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """One EHR client."""

    name: str
    tenant: str = ""
    dialect: str = ""  # of `cards/dialects.yaml`, "" for plain CDS Hooks
    hooks: tuple[Hook, ...] = ("patient-view", "order-select", "order-sign")
    share: float  # of all calls, while every client calls
    users: int
    visits: dict[VisitKind, int]  # how many of so many
    reports: float  # share of shown cards whose outcome its EHR sends
    reports_after: timedelta | None = None  # it sends feedback once a day, so long after midnight; None: at once
    reason_when: Literal["selecting", "signing"] = "selecting"  # when its EHR asks the clinician why a drug is ordered
    live_from: float = 0.0  # share of the period that has passed when it goes live
    silent_at: float | None = None  # share of the period that has passed on the day when it does not call for some hours
    fhir_base: str = ""
    quality: Quality

    @property
    def calls_per_visit(self) -> float:
        """Return the mean: a visit with an order has up to two calls."""
        orders = sum(often for visit, often in self.visits.items() if "view" not in visit)
        return 1 + SIGNED * orders / sum(self.visits.values())

    def caller(self) -> Caller:
        """Return the caller that the registry would make of a token of this client."""
        bases = (FhirBase(self.fhir_base),) if self.fhir_base else ()
        return Caller(client=self.name, tenant=self.tenant, dialect=self.dialect, fhir_bases=bases)


CLIENTS = (
    Client(
        name="city-hospital",
        dialect="epic",
        share=0.36,
        users=34,
        visits={"view": 50, "story view": 18, "order": 16, "story order": 10, "quinine for cramps": 2},
        reports=0.92,
        silent_at=0.4,
        quality=Quality(local_code=0.01, unreadable=0.005, failed_source=0.004, stale=0.08),
    ),
    Client(
        name="harbour-clinic",
        share=0.32,
        users=22,
        visits={"view": 40, "story view": 10, "order": 26, "story order": 8, "quinine for cramps": 6, "quinine for malaria": 11},
        reports=0.8,
        reason_when="signing",
        quality=Quality(local_code=0.06, odd_unit=0.03, unreadable=0.01, undated=0.01, failed_source=0.006, stale=0.12),
    ),
    Client(
        name="valley-practices",
        tenant="valley-north",
        dialect="oracle",
        hooks=("patient-view",),
        share=0.2,
        users=15,
        visits={"view": 78, "story view": 22},
        reports=0.3,
        reports_after=timedelta(hours=2),
        fhir_base="https://fhir.valley-practices.example/r4",
        quality=Quality(local_code=0.03, undated=0.02, failed_source=0.02, unsent_chart=0.12, stale=0.35),
    ),
    Client(
        name="lakeside-hospital",
        dialect="sandbox",
        share=0.12,
        users=12,
        visits={"view": 54, "story view": 14, "order": 20, "story order": 10, "quinine for cramps": 2},
        reports=0.6,
        live_from=0.6,
        quality=Quality(local_code=0.02, odd_unit=0.01, unsent_source=0.02, order_without_id=0.3, stale=0.1),
    ),
)
