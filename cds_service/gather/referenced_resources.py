"""Read from the FHIR server what resources refer to: medications, reasons, results of panels.

A call reads at most `MAX_READ` of them: with one search by ids for each type where the server takes it, else one by one.
Medications and reasons become sources of their own (`bundles.TARGETS`), which only resolve references; results join the
laboratory results. Resources that are not the patient's are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote

import msgspec

from cds_service.criteria.facts import Source, SourceState
from cds_service.fhir.gathered import Gathered
from cds_service.fhir.resources import Resource
from cds_service.gather.concurrency import run_concurrently
from cds_service.gather.fhir_client import FhirClient
from cds_service.gather.fhir_outcome import FhirError, Outcome
from cds_service.gather.fhir_requests import FhirRequest, fetch, fetch_page, result_of
from cds_service.gather.missing_targets import MissingTargets
from cds_service.outbound.search_support import Quirk
from cds_service.read.subject import CallPatient, Ownership
from cds_service.telemetry.metrics import FHIR_REFERENCES

MAX_READ = 50  # resources in one call
ROUNDS = 2  # the second for ingredients of the medications read in the first, and for the reasons of drugs identified by them

FindMissing = Callable[[Mapping[str, Gathered]], MissingTargets]

_KEYS = {"Medication": "medications", "Condition": "reasons", "Observation": "members"}
_RESULTS = {"Medication": "medications", "Condition": "reasons", "Observation": "labs"}  # where they are found by readers
_WORDS = {"Medication": "medications", "Condition": "reasons", "Observation": "results of panels"}
# After these outcomes of a search by ids, a server may still let each resource be read.
_NO_SEARCH = frozenset({Outcome.REFUSED, Outcome.NOT_FOUND, Outcome.FORBIDDEN, Outcome.UNUSABLE, Outcome.EMPTY})


async def read_referenced(results: dict[str, Gathered], find: FindMissing, fhir: FhirClient, call_patient: CallPatient) -> None:
    """Add the resources that `find` misses to `results` (by key), and note those that could not be read."""
    reading = _Reading(results, fhir, call_patient)
    for number in range(ROUNDS):
        missing = find(results)
        if number == 0:
            _count("Medication", "elsewhere", missing.elsewhere)
        wanted = reading.wanted(missing)
        if not wanted:
            break
        await run_concurrently(reading.read(kind, ids) for kind, ids in wanted.items())
    reading.note_unread()


class _Reading:
    """Read the referenced resources of one call."""

    def __init__(self, results: dict[str, Gathered], fhir: FhirClient, call_patient: CallPatient) -> None:
        self.results = results
        self.fhir = fhir
        self.call_patient = call_patient
        self.requested: dict[str, set[str]] = {kind: set() for kind in _KEYS}  # ids, also those beyond the limit
        self.found: dict[str, list[Resource]] = {kind: [] for kind in _KEYS}
        self.left = MAX_READ

    def wanted(self, missing: MissingTargets) -> dict[str, list[str]]:
        """Return the ids to read in this round, by type: those not requested before, within the limit."""
        wanted: dict[str, list[str]] = {}
        for kind, ids in missing.ids.items():
            new = [key for key in ids if key not in self.requested[kind]]
            self.requested[kind].update(new)
            if taken := new[: self.left]:
                wanted[kind] = taken
            _count(kind, "too_many", len(new) - len(taken))
            self.left -= len(taken)
        return wanted

    async def read(self, kind: str, ids: list[str]) -> None:
        """Read resources of one type, and put the usable ones where readers find them."""
        usable = (one for one in await self._read(kind, ids) if one.id in ids and self._may_be_used(one))
        found = list({one.id: one for one in usable}.values())
        self.found[kind] += found
        _count(kind, "read", len(found))
        _count(kind, "not_read", len(ids) - len(found))
        before = self.results["labs"] if kind == "Observation" else Gathered(Source(SourceState.PRESENT, "fhir"))
        resources = [*before.resources, *found] if kind == "Observation" else self.found[kind]
        self.results[_RESULTS[kind]] = msgspec.structs.replace(before, resources=resources)

    def note_unread(self) -> None:
        """Add a note to each source whose referenced resources could not all be read."""
        for kind, ids in self.requested.items():
            unread, key = len(ids) - len(self.found[kind]), _RESULTS[kind]
            if unread:
                one = self.results.get(key, Gathered(Source(SourceState.PRESENT, "fhir")))
                note = f"{unread} of {len(ids)} {_WORDS[kind]} that are referred to could not be read"
                state, more = one.source.state, one.source.more
                if one.source.complete:
                    state, more = (SourceState.PARTIAL if one.resources else SourceState.ERROR), True
                source = Source(state, one.source.origin, "; ".join(filter(None, (one.source.note, note))), more)
                self.results[key] = msgspec.structs.replace(one, source=source)

    async def _read(self, kind: str, ids: list[str]) -> list[Resource]:
        """Read all in one search where the server takes a list of ids, else each resource by itself."""
        if len(ids) == 1:
            return await self._one(kind, ids[0])
        found: list[Resource] = []
        if takes_ids := not self.fhir.knows(Quirk("one by one", kind)):
            listed = ",".join(quote(one, safe="") for one in ids)
            response = await fetch(self.fhir, FhirRequest(_KEYS[kind], f"{kind}?_id={listed}", exact=True), set())
            if response.pages:
                found = result_of(response).resources
                # A server that takes the list for one id finds nothing; the first single read shows whether it is one.
                if found or not (found := await self._one(kind, ids[0])):
                    return found
                ids = ids[1:]
            elif response.error is not None and not (response.error.outcome in _NO_SEARCH or response.error.status == 501):
                return []
        found += [one for read in await run_concurrently(self._one(kind, one) for one in ids) for one in read]
        if found and takes_ids:
            self.fhir.learn([Quirk("one by one", kind)])
        return found

    async def _one(self, kind: str, id: str) -> list[Resource]:  # noqa: A002 (FHIR's word)
        try:
            request = FhirRequest(_KEYS[kind], f"{kind}/{quote(id, safe='')}", exact=True)
            return (await fetch_page(self.fhir, request, set())).resources
        except FhirError:  # counted where it was raised
            return []

    def _may_be_used(self, resource: Resource) -> bool:
        return resource.resourceType == "Medication" or self.call_patient.ownership(resource) is Ownership.PATIENT


def _count(kind: str, outcome: str, number: int) -> None:
    if number:
        FHIR_REFERENCES.labels(kind, outcome).inc(number)
