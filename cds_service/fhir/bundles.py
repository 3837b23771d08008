"""Read one source, a prefetch value or a FHIR response, into its resources and its state.

The states are those of `facts.SourceState` (an absent key never gets here). Any JSON value gets a state and none raises, so that
one odd value costs only its own source.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from cds_service.criteria.facts import SOURCES, Quarantined, Source, SourceState
from cds_service.fhir.bundle_entries import Envelope, decode_envelope, items, objects, reason_of, type_of, type_of_entry
from cds_service.fhir.gathered import (
    EMPTY,
    ERROR,
    EXPECTED,
    HOMES,
    PARTIAL,
    PRESENT,
    TARGETS,
    Gathered,
    Origin,
    keep_url,
    source_of,
)
from cds_service.fhir.panels import REPORT, contains_results
from cds_service.fhir.resources import Entry, Link, Resource, listed

_URN = ("urn:", "URN:")  # as in `resources.is_urn`, which costs a call per entry
_KEPT = frozenset({"Medication"})  # read where an expected resource refers to it

_NONE: frozenset[str] = frozenset()

_decode = msgspec.json.Decoder(Resource | None).decode
_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_links = msgspec.json.Decoder(list[Link] | Link | None).decode


def gathered(value: Resource | None, name: str, origin: Origin, *, further: bool = False) -> Gathered:
    """Return the content of a decoded value of the source `name`.

    `name`: a key of `facts.SOURCES` or `TARGETS`. `further`: it is a later page of a search.
    """
    if value is None:
        return Gathered(Source(EMPTY, origin))
    while value.resourceType is None and value.resource is not None:  # wrapped, as before CDS Hooks 1.0
        value = value.resource
    if value.resourceType == "OperationOutcome":  # in place of a result: nothing was looked up
        note = "the EHR reported an error"
        lacking = any(issue.code == "not-supported" for issue in listed(value.issue))
        return Gathered(Source(ERROR, origin, note), faults=note, lacking=lacking)
    return _Collector(name, origin, further).collect(value).result()


def gathered_raw(raw: bytes | Raw, name: str, origin: Origin, *, further: bool = False) -> Gathered:
    """Return the content of an undecoded value of the source `name`; entries that don't fit are quarantined.

    Raises msgspec.DecodeError where `raw` is not JSON, UnicodeDecodeError, and RecursionError where it is nested too deeply.
    """
    try:
        return gathered(_decode(raw), name, origin, further=further)
    except msgspec.ValidationError as error:
        problem = error
    try:
        envelope = decode_envelope(raw)
    except msgspec.ValidationError:
        if raws := objects(raw):  # resources in place of a Bundle
            return _Collector(name, origin, further).collect_array(raws).result()
        note = "was sent as something that is not a FHIR resource"
        return Gathered(Source(ERROR, origin, note), faults=note)
    if envelope.resourceType is None and envelope.resource:
        return gathered_raw(envelope.resource, name, origin)
    collector = _Collector(name, origin, further)
    if envelope.resourceType == "Bundle":
        return collector.collect_raw(envelope).result()
    collector.unreadable(0, envelope.resourceType, problem)
    return collector.result()


class _Collector:
    """Collect the resources of one source and note what is missing or does not belong there."""

    def __init__(self, name: str, origin: Origin, further: bool) -> None:
        self.name = name
        self.origin = origin
        self.further = further
        self.expected = EXPECTED.get(name) or TARGETS[name]
        self.resources: list[Resource] = []
        self.by_url: dict[str, Resource] = {}
        self.quarantined: list[Quarantined] = []
        self.next_url: str | None = None
        self.entries = 0
        self.matches = 0
        self.failed = False  # an OperationOutcome of severity error or fatal
        self.has_other_types = False  # there is a resource of a type that does not belong here
        self.misplaced: list[Resource] = []
        self.inside = False  # a Bundle of a Bundle
        self.cut = False  # there is more than was sent, without a next page

    def collect(self, value: Resource) -> _Collector:
        """Add a Bundle or a single resource."""
        if value.resourceType == "Bundle":
            self._links(value.link)
            entries = listed(value.entry)
            expected = self.expected if self.name != "patient" else _NONE  # the fullUrl of a Patient is needed
            kept = self.resources
            for position, entry in enumerate(entries):
                resource = entry.resource
                if resource is None or resource.resourceType not in expected or (entry.fullUrl or "urn:").startswith(_URN):
                    self._entry(entry, position)
                else:  # as nearly always
                    kept.append(resource)
                    self.matches += 1
            self.entries += len(entries)
            self._compare_total(value.total)
        else:
            self._resource(value, 0)
        return self

    def collect_raw(self, envelope: Envelope) -> _Collector:
        """Add a Bundle entry by entry, so that each that does not fit is quarantined."""
        try:
            self._links(_decode_links(envelope.link) if envelope.link else None)
        except msgspec.ValidationError:
            self.cut = True
        raws = items(envelope.entry) if envelope.entry else []
        self.entries = len(raws)
        self._compare_total(envelope.total)
        for position, raw in enumerate(raws):
            try:
                self._entry(_decode_entry(raw), position)
            except msgspec.ValidationError as error:
                self.unreadable(position, type_of_entry(raw), error)
        return self

    def collect_array(self, raws: list[Raw]) -> _Collector:
        """Add an array of resources that was sent in place of a Bundle."""
        self.entries = len(raws)
        for position, raw in enumerate(raws):
            try:
                resource = _decode(raw)
            except msgspec.ValidationError as error:
                self.unreadable(position, type_of(raw), error)
            else:
                self._resource(resource or Resource(), position)
        return self

    def unreadable(self, position: int, resource_type: object, error: msgspec.ValidationError | str) -> None:
        """Quarantine a resource, unless its type does not belong to this source."""
        known = resource_type if isinstance(resource_type, str) else ""
        if known and known not in self.expected and known not in _KEPT and known not in ("OperationOutcome", "Bundle"):
            self.has_other_types = True
            return
        reason = error if isinstance(error, str) else reason_of(error)
        self.quarantined.append(Quarantined(self.name, position, known, reason.removeprefix("resource.")))

    def result(self) -> Gathered:
        """Return what was collected, with the state of the source."""
        faults = self._faults()
        source = source_of(self._state(faults), self.origin, faults, self.next_url, self.quarantined)
        return Gathered(source, self.resources, tuple(self.quarantined), self.next_url, self.by_url, faults, self.misplaced)

    def _entry(self, entry: Entry, position: int) -> None:
        resource = entry.resource
        if resource is None:
            self.quarantined.append(Quarantined(self.name, position, "", "resource: missing"))
            return
        if entry.fullUrl:
            keep_url(resource, entry.fullUrl, self.by_url)
        self._resource(resource, position)

    def _resource(self, resource: Resource, position: int) -> None:
        kind = resource.resourceType
        if kind in self.expected:
            self.resources.append(resource)
            self.matches += 1
        elif kind in _KEPT:
            self.resources.append(resource)
        elif kind == "OperationOutcome":
            issues = listed(resource.issue)
            self.failed |= not issues or any(issue.severity not in ("warning", "information") for issue in issues)
        elif kind == "Bundle" and not self.inside:  # the response of a batch
            self.inside = True
            self.collect(resource)
            self.inside = False
        elif kind is None:
            self.quarantined.append(Quarantined(self.name, position, "", "resourceType: missing"))
        elif kind == REPORT and self.name == "labs":
            self.resources.append(resource)
            self.matches += contains_results(resource)
            self.has_other_types |= not contains_results(resource)
        else:
            self.has_other_types = True
            if kind in HOMES:
                self.misplaced.append(resource)

    def _links(self, links: list[Link] | Link | None) -> None:
        for link in listed(links):
            if link.relation == "next":
                self.next_url = link.url
                self.cut |= not link.url

    def _compare_total(self, total: object) -> None:
        """Note a cut where `Bundle.total` (FHIR R4, "Searching") exceeds the entries and there is no next page."""
        short = isinstance(total, int) and total > self.entries
        self.cut |= short and self.next_url is None and not self.further

    def _faults(self) -> str:
        faults = []
        if self.failed:
            faults.append("the EHR reported an error")
        if self.quarantined:
            bad = len(self.quarantined)
            faults.append(f"{bad} of {max(self.entries, bad)} entries could not be read" if self.entries else "could not be read")
        if self.cut:
            faults.append("not all of it was sent")
        if self.has_other_types and not self.matches:
            faults.append(f"no {SOURCES[self.name]} was found where it was expected")
        return "; ".join(faults)

    def _state(self, faults: str) -> SourceState:
        if not faults and self.next_url is None:
            return PRESENT if self.matches else EMPTY
        nothing = self.failed or self.has_other_types or not (self.entries or self.cut or self.next_url)
        return ERROR if nothing and not self.matches else PARTIAL
