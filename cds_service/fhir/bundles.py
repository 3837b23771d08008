"""Reads one source, a prefetch value or an answer of a FHIR server, into resources and how complete they are.

The rules are those of the five states of a prefetch key (`facts.SourceState`; an absent key never gets here). Any JSON value gets
a state and never raises, so that one odd value costs only its own source.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Raw

from cds_service.criteria.facts import SOURCES, Quarantined, Source, SourceState
from cds_service.fhir.bundle_entries import Envelope, decode_envelope, items, objects, reason_of, type_of, type_of_entry
from cds_service.fhir.panels import REPORT, contains_results
from cds_service.fhir.resources import Entry, Link, Resource, bare_id, is_urn, listed

Origin = Literal["prefetch", "fhir", "context", "none"]

# Either list of medications holds whatever tells of a therapy: some EHRs send all of them as one, or only what was handed out.
_MEDICATIONS = frozenset(
    {"MedicationStatement", "MedicationRequest", "MedicationOrder", "MedicationDispense", "MedicationAdministration"}
)
EXPECTED: dict[str, frozenset[str]] = {name: frozenset({resource_type}) for name, resource_type in SOURCES.items()} | {
    "statements": _MEDICATIONS,
    "prescriptions": _MEDICATIONS,
}
# What is read because others refer to it; it is the target of a reference and never a source of its own.
TARGETS: dict[str, frozenset[str]] = {
    "medications": frozenset({"Medication"}),
    "reasons": frozenset({"Condition"}),
    "members": frozenset({"Observation"}),
}
_URN = ("urn:", "URN:")  # as in `resources.is_urn`, which costs a call per entry
_KEPT = frozenset({"Medication"})  # read where an expected resource refers to it
# The source that reads a resource which came under another key; never the patient, which identifies everything else.
HOMES: dict[str, str] = {kind: name for name, kinds in EXPECTED.items() if name != "patient" for kind in kinds} | {
    "MedicationStatement": "statements",
    REPORT: "labs",  # for the results in it
}


class Gathered(msgspec.Struct):
    """The content of one source. Every page of a search is one of these until they are joined."""

    source: Source
    resources: list[Resource] = []  # the expected types and Medication, in the order of the Bundle
    quarantined: tuple[Quarantined, ...] = ()
    next_url: str | None = None  # where the source says that there is more; not yet checked against anything
    # by the bare id of a `urn:` fullUrl that is not the resource's own id; Patients also by any other fullUrl
    by_url: dict[str, Resource] = {}
    faults: str = ""  # why it is not complete, apart from `next_url`
    misplaced: list[Resource] = []  # what another source is for, see `read`
    lacking: bool = False  # the server says that it has no resources of this type


_decode = msgspec.json.Decoder(Resource | None).decode
_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_links = msgspec.json.Decoder(list[Link] | Link | None).decode


def gathered(value: Resource | None, name: str, origin: Origin, *, further: bool = False) -> Gathered:
    """The content of a decoded value of the source `name` (a key of `facts.SOURCES`); `further`: a later page of a search."""
    if value is None:
        return Gathered(Source(SourceState.EMPTY, origin))
    while value.resourceType is None and value.resource is not None:  # wrapped, as before CDS Hooks 1.0
        value = value.resource
    if value.resourceType == "OperationOutcome":  # in place of an answer: whatever it says, nothing was looked up
        note = "the EHR reported an error"
        lacking = any(issue.code == "not-supported" for issue in listed(value.issue))
        return Gathered(Source(SourceState.ERROR, origin, note), faults=note, lacking=lacking)
    return _Collector(name, origin, further).collect(value).result()


def gathered_raw(raw: bytes | Raw, name: str, origin: Origin, *, further: bool = False) -> Gathered:
    """The content of an undecoded value of the source `name`: what doesn't fit is left out, entry by entry.

    Raises msgspec.DecodeError where `raw` is no JSON, UnicodeDecodeError, and RecursionError where it is nested too deeply.
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
        return Gathered(Source(SourceState.ERROR, origin, note), faults=note)
    if envelope.resourceType is None and envelope.resource:
        return gathered_raw(envelope.resource, name, origin)
    collector = _Collector(name, origin, further)
    if envelope.resourceType == "Bundle":
        return collector.collect_raw(envelope).result()
    collector.unreadable(0, envelope.resourceType, problem)
    return collector.result()


def joined(pages: Sequence[Gathered]) -> Gathered:
    """The pages of one search, in their order, as one. It is partial where a page has faults or the last one names a next."""
    if len(pages) == 1:
        return pages[0]
    last = pages[-1]
    faults = "; ".join(dict.fromkeys(page.faults for page in pages if page.faults))
    resources = [resource for page in pages for resource in page.resources]
    quarantined = tuple(bad for page in pages for bad in page.quarantined)
    state = SourceState.PARTIAL if faults or last.next_url else SourceState.PRESENT if resources else SourceState.EMPTY
    return Gathered(
        _source(state, pages[0].source.origin, faults, last.next_url, quarantined),
        resources,
        quarantined,
        last.next_url,
        {url: resource for page in pages for url, resource in page.by_url.items()},
        faults,
        [resource for page in pages for resource in page.misplaced],
    )


def keep_url(resource: Resource, url: str, by_url: dict[str, Resource]) -> None:
    """Note in `by_url` that the fullUrl `url` leads to `resource`, where its id does not say so.

    A resource without an id has the bare id of its `urn:`, a Patient the whole `urn:`: it was not said which patient that is.
    """
    is_patient = resource.resourceType == "Patient"
    if is_urn(url):
        key = bare_id(url)
        if resource.id is None:
            resource.id = url if is_patient else key
        if resource.id != key:
            by_url[key] = resource
    elif is_patient:
        by_url[url] = resource


def _source(state: SourceState, origin: Origin, faults: str, next_url: str | None, quarantined: Sequence[Quarantined]) -> Source:
    more = "there are more pages than were read" if next_url else ""
    return Source(state, origin, "; ".join(filter(None, (faults, more))), state is SourceState.PARTIAL and not quarantined)


class _Collector:
    """Collects the resources of one source, and counts what it does not hold."""

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
        self.strangers = False  # a resource of a type that does not belong here
        self.misplaced: list[Resource] = []
        self.inside = False  # a Bundle of a Bundle
        self.cut = False  # there is more than was sent, and nothing says where

    def collect(self, value: Resource) -> _Collector:
        if value.resourceType == "Bundle":
            self._links(value.link)
            entries = listed(value.entry)
            expected, kept = self.expected - {"Patient"}, self.resources  # a Patient is known by its fullUrl too
            for position, entry in enumerate(entries):
                resource = entry.resource
                if resource is None or resource.resourceType not in expected or (entry.fullUrl or "urn:").startswith(_URN):
                    self._entry(entry, position)
                else:  # as nearly always
                    kept.append(resource)
                    self.matches += 1
            self.entries += len(entries)
            self._compare(value.total)
        else:
            self._resource(value, 0)
        return self

    def collect_raw(self, envelope: Envelope) -> _Collector:
        try:
            self._links(_decode_links(envelope.link) if envelope.link else None)
        except msgspec.ValidationError:
            self.cut = True
        raws = items(envelope.entry) if envelope.entry else []
        self.entries = len(raws)
        self._compare(envelope.total)
        for position, raw in enumerate(raws):
            try:
                self._entry(_decode_entry(raw), position)
            except msgspec.ValidationError as error:
                self.unreadable(position, type_of_entry(raw), error)
        return self

    def collect_array(self, raws: list[Raw]) -> _Collector:
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
        """Quarantines a resource, unless it is of a type that this source is not read for."""
        known = resource_type if isinstance(resource_type, str) else ""
        if known and known not in self.expected and known not in _KEPT and known not in ("OperationOutcome", "Bundle"):
            self.strangers = True
            return
        reason = error if isinstance(error, str) else reason_of(error)
        self.quarantined.append(Quarantined(self.name, position, known, reason.removeprefix("resource.")))

    def result(self) -> Gathered:
        faults = self._faults()
        source = _source(self._state(faults), self.origin, faults, self.next_url, self.quarantined)
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
        elif kind == "Bundle" and not self.inside:  # an answer of a batch
            self.inside = True
            self.collect(resource)
            self.inside = False
        elif kind is None:
            self.quarantined.append(Quarantined(self.name, position, "", "resourceType: missing"))
        elif kind == REPORT and self.name == "labs":
            self.resources.append(resource)
            self.matches += contains_results(resource)
            self.strangers |= not contains_results(resource)
        else:
            self.strangers = True
            if kind in HOMES:
                self.misplaced.append(resource)

    def _links(self, links: list[Link] | Link | None) -> None:
        for link in listed(links):
            if link.relation == "next":
                self.next_url = link.url
                self.cut |= not link.url

    def _compare(self, total: object) -> None:
        """`Bundle.total` counts all matches (FHIR R4, "Searching"): fewer entries, and no next page, are not all of them."""
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
        if self.strangers and not self.matches:
            faults.append(f"no {SOURCES[self.name]} was found where it was expected")
        return "; ".join(faults)

    def _state(self, faults: str) -> SourceState:
        if not faults and self.next_url is None:
            return SourceState.PRESENT if self.matches else SourceState.EMPTY
        nothing = self.failed or self.strangers or not (self.entries or self.cut or self.next_url)
        return SourceState.ERROR if nothing and not self.matches else SourceState.PARTIAL
