"""Generate the calls of some months: which client calls when, about whom, with what data.

The same arguments give the same calls. They do not depend on the responses, so that benchmarks and proofs can use them without
an engine. Patients come back; an order that is selected is mostly signed some minutes later by the same user.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import msgspec

from cds_service.authoring.shorthand import request_from_case
from cds_service.criteria.facts import SOURCES
from cds_service.demo.charts import Chart, Stories, cramps_chart, malaria_chart, ordinary_chart, ordinary_order
from cds_service.demo.clients import CLIENTS, SIGNED, Client, VisitKind
from cds_service.demo.flaws import spoil
from cds_service.demo.schedule import Period, moments
from cds_service.knowledge.card_file import Hook
from cds_service.knowledge.knowledge import Knowledge

Json = dict[str, Any]

_COMES_BACK = 0.5  # share of visits of patients who were here before, where there are such
_NEW_RESULTS = 0.4  # share of such visits for which the chart has been brought up to date
_REMEMBERED = 250  # patients of a client who may come back; the oldest are forgotten
_SENT_AGAIN = 0.004  # share of calls whose response the EHR did not get
_BROKEN = 0.0015  # share of calls with a body that is no JSON, and of those about an order of another patient
_TOO_LARGE = 0.0004  # share of calls with a body beyond what the service takes by default
_LARGE = 2 * 1024 * 1024  # bytes
_UNAUTHORISED = 0.002  # share of calls with an expired token
_FOR_MALARIA = "malaria-or-babesiosis"
_NOTHING_FOUND: Json = {"resourceType": "Bundle", "type": "searchset", "total": 0}
_ACCESS: Json = {
    "access_token": "made-up",
    "token_type": "Bearer",
    "expires_in": 300,
    "scope": "patient/*.read",
    "subject": "demo",
}

_encoder = msgspec.json.Encoder()


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a service, and what its clinician knows and the EHR does not say."""

    at: datetime  # aware, UTC
    client: Client
    hook: Hook
    body: bytes
    user: str  # reference, as in the body
    order: str = ""  # id of the draft order; a call whose order was removed before is not made
    reason: str = ""  # id of the override reason that is true of this order; "" where none is
    unsent: dict[str, bytes] = {}  # by type of resource: what the FHIR server has, where the call has no prefetch
    authorised: bool = True
    again: bool = False  # the same call as before, because the EHR did not get the response


def generate(
    period: Period, calls_per_day: float, seed: int, knowledge: Knowledge, clients: Sequence[Client] = CLIENTS
) -> Iterator[Call]:
    """Yield the calls in the order of their moments; about `calls_per_day`, as a mean over a week, once all
    clients are live.

    `knowledge`: whose cards' cases are among the patients. Fewer `clients` make the same calls as they do among all. Raises
    KnowledgeError for cases that can't be read.
    """
    stories = Stories(knowledge)
    generators = [_ClientCalls(client, Random(f"{seed} {client.name}"), stories) for client in clients]  # noqa: S311
    waiting: list[tuple[datetime, int, Call]] = []  # a visit has calls after the next one begins
    count = 0
    for day in period.days():
        for one in generators:
            for begins in moments(one.client, day, calls_per_day, period, one.random):
                for call in one.visit(begins):
                    count += 1
                    heapq.heappush(waiting, (call.at, count, call))
        while waiting and waiting[0][0].date() <= day:
            call = heapq.heappop(waiting)[2]
            if call.at <= period.end:
                yield call


class _Patient(msgspec.Struct):
    id: str
    chart: Chart


class _Visit(msgspec.Struct, frozen=True):
    """What the calls of one visit have in common."""

    patient: _Patient
    user: str
    encounter: str
    order: str = ""
    orders: tuple[str, ...] = ()  # lines of shorthand
    reason: str = ""


class _ClientCalls:
    """The visits of one client, its patients and users."""

    def __init__(self, client: Client, random: Random, stories: Stories) -> None:
        self.client = client
        self.random = random
        self._stories = stories
        self._patients: list[_Patient] = []
        self._patients_with_orders: list[_Patient] = []  # of stories about an order
        self._deck: list[VisitKind] = []
        self._numbers = itertools.count(1)

    def visit(self, at: datetime) -> Iterator[Call]:
        """Yield the calls of a visit that begins at `at`."""
        kind, random = self._next_kind(), self.random
        patient = self._patient(kind, at)
        user = f"Practitioner/{self.client.name}-{self._busy_user():03}"
        visit = _Visit(patient, user, f"enc-{patient.id}-{at.toordinal()}")
        if kind in ("view", "story view"):
            yield from self._calls(at, "patient-view", visit)
            return
        visit = msgspec.structs.replace(
            visit,
            order=f"{self.client.name}-o{next(self._numbers)}",
            orders=(ordinary_order(random),) if kind == "order" else patient.chart.orders,
            reason=_FOR_MALARIA if kind == "quinine for malaria" else "",
        )
        yield from self._calls(at, "order-select", visit)
        if random.random() < SIGNED:
            yield from self._calls(at + timedelta(seconds=random.uniform(60, 600)), "order-sign", visit)

    def _next_kind(self) -> VisitKind:
        """Deal from a shuffled deck, so that each kind keeps its share over a few days."""
        if not self._deck:
            self._deck = [kind for kind, often in self.client.visits.items() for _ in range(often)]
            self.random.shuffle(self._deck)
        return self._deck.pop()

    def _busy_user(self) -> int:
        """Return the number of a user; some call far more than others."""
        return min(int(self.random.expovariate(3 / self.client.users)), self.client.users - 1) + 1

    def _patient(self, kind: VisitKind, at: datetime) -> _Patient:
        random = self.random
        if kind == "quinine for malaria":
            return self._new(malaria_chart(at, random))
        if kind == "quinine for cramps":
            return self._new(cramps_chart(at, random))
        known = self._patients_with_orders if kind == "story order" else self._patients
        if known and kind != "story view" and random.random() < _COMES_BACK:
            patient = random.choice(known)
            if random.random() < _NEW_RESULTS:
                patient.chart = patient.chart.renewed(at)
            return patient
        if kind in ("story view", "story order"):
            patient = self._new(self._stories.chart(at, random, with_order=kind == "story order"))
        else:
            patient = self._new(ordinary_chart(at, self.client.quality, random))
        known.append(patient)
        if len(known) > _REMEMBERED:
            known.pop(0)
        return patient

    def _new(self, chart: Chart) -> _Patient:
        return _Patient(f"{self.client.name}-p{next(self._numbers)}", chart)

    def _calls(self, at: datetime, hook: Hook, visit: _Visit) -> Iterator[Call]:
        """Yield one call, and now and then the same call again some seconds later."""
        random, quality = self.random, self.client.quality
        request = self._request(hook, visit)
        unsent: dict[str, bytes] = {}
        if random.random() < quality.unsent_chart:
            unsent = {SOURCES[key]: _encoder.encode(value or _NOTHING_FOUND) for key, value in request.pop("prefetch").items()}
            request["fhirServer"] = self.client.fhir_base
            request["fhirAuthorization"] = _ACCESS
        body = _encoder.encode(request)
        if random.random() < _BROKEN:
            body = body[: len(body) // 2]
        if random.random() < _TOO_LARGE:
            body += b" " * _LARGE
        call = Call(
            at=at,
            client=self.client,
            hook=hook,
            body=body,
            user=visit.user,
            order=visit.order,
            reason=visit.reason,
            unsent=unsent,
            authorised=random.random() >= _UNAUTHORISED,
        )
        yield call
        if random.random() < _SENT_AGAIN:
            yield msgspec.structs.replace(call, at=at + timedelta(seconds=random.uniform(1, 20)), again=True)

    def _request(self, hook: Hook, visit: _Visit) -> Json:
        """Return the request of a call, before it is encoded."""
        random, patient, chart = self.random, visit.patient, visit.patient.chart
        orders = visit.orders
        if hook == "order-select" and self.client.reason_when == "signing":
            orders = tuple(line.partition(", for ")[0] for line in orders)
        request = request_from_case((*chart.given, *orders), hook, chart.at, {"id": patient.id})
        spoil(request["prefetch"], self.client, random)
        request["hookInstance"] = str(UUID(int=random.getrandbits(128), version=4))
        context = request["context"] | {"userId": visit.user, "encounterId": visit.encounter}
        request["context"] = context
        if visit.order:
            drafts = [entry["resource"] for entry in context["draftOrders"].get("entry", ())]
            for number, draft in enumerate(drafts):
                draft["id"] = f"{visit.order}-{number}"
            if hook == "order-select":
                context["selections"] = [f"{draft['resourceType']}/{draft['id']}" for draft in drafts]
            elif random.random() < self.client.quality.order_without_id:
                for draft in drafts:
                    del draft["id"]
            if random.random() < _BROKEN and drafts:
                drafts[0]["subject"] = {"reference": f"Patient/{self.client.name}-p0"}
        return request
