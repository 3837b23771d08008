"""Reads from the FHIR server what resources refer to, within one limit.

Medications, reasons, results of panels: at most `MAX_READ` in a call.
One search by ids for each type where the server takes it, else single reads. Medications and reasons become sources of their own
(`decode.TARGETS`), which only resolve references; results join the laboratory results. What is not the patient's is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from cds_service.concurrency import together
from cds_service.criteria.facts import Source, SourceState
from cds_service.decode import Gathered
from cds_service.fhir import Resource
from cds_service.fhir_client import FhirError, Outcome
from cds_service.metrics import FHIR_REFERENCES
from cds_service.missing_targets import MissingTargets
from cds_service.whose import Owner, Whose

MAX_READ = 50  # targets in one call, whatever refers to them
ROUNDS = 2  # the second for ingredients of what the first brought, and for the reasons of drugs that are known by now

FindMissing = Callable[[Mapping[str, Gathered]], MissingTargets]

_KEYS = {"Medication": "medications", "Condition": "reasons", "Observation": "members"}
_RESULTS = {"Medication": "medications", "Condition": "reasons", "Observation": "labs"}  # where they are found by readers
_WORDS = {"Medication": "medications", "Condition": "reasons", "Observation": "results of panels"}
# Answers to a search by ids after which a server may still let each be read.
_NO_SEARCH = frozenset({Outcome.REFUSED, Outcome.NOT_FOUND, Outcome.FORBIDDEN, Outcome.UNUSABLE, Outcome.EMPTY})


class Asking(Protocol):
    """Asks the FHIR server of a call."""

    async def by_ids(self, key: str, kind: str, ids: list[str]) -> Gathered:
        """The resources with these ids, in one search. Raises FhirError."""

    async def one(self, key: str, kind: str, id: str) -> Gathered:  # noqa: A002 (FHIR's word)
        """One resource. Raises FhirError."""

    def takes_ids(self, kind: str) -> bool:
        """Whether searches by ids are worth a try."""

    def takes_single_reads_only(self, kind: str) -> None:
        """Remembers that they are not."""


async def read_referenced(results: dict[str, Gathered], find: FindMissing, asking: Asking, owner: Owner) -> None:
    """Add to `results` (by key) what `find` says is missing.

    Says what could not be read.
    """
    reading = _Reading(results, asking, owner)
    for number in range(ROUNDS):
        missing = find(results)
        if number == 0:
            _count("Medication", "elsewhere", missing.elsewhere)
        wanted = reading.wanted(missing)
        if not wanted:
            break
        await together(reading.read(kind, ids) for kind, ids in wanted.items())
    reading.say()


class _Reading:
    def __init__(self, results: dict[str, Gathered], asking: Asking, owner: Owner) -> None:
        self.results = results
        self.asking = asking
        self.owner = owner
        self.sought: dict[str, set[str]] = {kind: set() for kind in _KEYS}  # ids, those too that there was no room for
        self.found: dict[str, list[Resource]] = {kind: [] for kind in _KEYS}
        self.left = MAX_READ

    def wanted(self, missing: MissingTargets) -> dict[str, list[str]]:
        """What to ask for in this round, by type: what was not asked for before, as long as there is room."""
        wanted: dict[str, list[str]] = {}
        for kind, ids in missing.ids.items():
            new = [key for key in ids if key not in self.sought[kind]]
            self.sought[kind].update(new)
            if taken := new[: self.left]:
                wanted[kind] = taken
            _count(kind, "too_many", len(new) - len(taken))
            self.left -= len(taken)
        return wanted

    async def read(self, kind: str, ids: list[str]) -> None:
        usable = (one for one in await self._read(kind, ids) if one.id in ids and self._may_be_used(one))
        found = list({one.id: one for one in usable}.values())
        self.found[kind] += found
        _count(kind, "read", len(found))
        _count(kind, "not_read", len(ids) - len(found))
        before = self.results["labs"] if kind == "Observation" else Gathered(Source(SourceState.PRESENT, "fhir"))
        resources = [*before.resources, *found] if kind == "Observation" else self.found[kind]
        self.results[_RESULTS[kind]] = msgspec.structs.replace(before, resources=resources)

    def say(self) -> None:
        """Writes into the sources what could not be read."""
        for kind, ids in self.sought.items():
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
        """What the server has of these, in one search where it takes that, else each by itself."""
        key = _KEYS[kind]
        if len(ids) == 1:
            return await self._one(key, kind, ids[0])
        found: list[Resource] = []
        if takes_ids := self.asking.takes_ids(kind):
            try:
                found = (await self.asking.by_ids(key, kind, ids)).resources
            except FhirError as error:
                if error.outcome not in _NO_SEARCH and error.status != 501:
                    return []
            else:
                # A server that takes a list of ids for one id finds nothing; whether it is one shows the first read.
                if found or not (found := await self._one(key, kind, ids[0])):
                    return found
                ids = ids[1:]
        found += [one for read in await together(self._one(key, kind, one) for one in ids) for one in read]
        if found and takes_ids:
            self.asking.takes_single_reads_only(kind)
        return found

    async def _one(self, key: str, kind: str, id: str) -> list[Resource]:  # noqa: A002 (FHIR's word)
        try:
            return (await self.asking.one(key, kind, id)).resources
        except FhirError:  # counted where it was raised
            return []

    def _may_be_used(self, resource: Resource) -> bool:
        return resource.resourceType == "Medication" or self.owner.whose(resource) is Whose.THE_PATIENTS


def _count(kind: str, outcome: str, number: int) -> None:
    if number:
        FHIR_REFERENCES.labels(kind, outcome).inc(number)
