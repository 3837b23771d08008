"""Hold the content of one source of data, and join the pages of a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from cds_service.criteria.facts import SOURCES, Quarantined, Source, SourceState
from cds_service.fhir.panels import REPORT
from cds_service.fhir.resources import Resource, bare_id, is_urn

Origin = Literal["prefetch", "fhir", "context", "none"]
# The states as module names too, because looking a member up in its enumeration is slow.
PRESENT, EMPTY, PARTIAL, ERROR = SourceState.PRESENT, SourceState.EMPTY, SourceState.PARTIAL, SourceState.ERROR

# Either list of medications may hold any of these types: some EHRs send all in one list, or only dispenses.
_MEDICATIONS = frozenset(
    {"MedicationStatement", "MedicationRequest", "MedicationOrder", "MedicationDispense", "MedicationAdministration"}
)
EXPECTED: dict[str, frozenset[str]] = {name: frozenset({resource_type}) for name, resource_type in SOURCES.items()} | {
    "statements": _MEDICATIONS,
    "prescriptions": _MEDICATIONS,
}
# Sources that are read only because other resources refer to them.
TARGETS: dict[str, frozenset[str]] = {
    "medications": frozenset({"Medication"}),
    "reasons": frozenset({"Condition"}),
    "members": frozenset({"Observation"}),
}
# Resource type -> the source that reads it where it came under another key. Not the patient, which identifies everything else.
HOMES: dict[str, str] = {kind: name for name, kinds in EXPECTED.items() if name != "patient" for kind in kinds} | {
    "MedicationStatement": "statements",
    REPORT: "labs",  # for the results in it
}


class Gathered(msgspec.Struct):
    """The content of one source, or of one page of a search until the pages are joined."""

    source: Source
    resources: list[Resource] = []  # the expected types and Medication, in the order of the Bundle
    quarantined: tuple[Quarantined, ...] = ()
    next_url: str | None = None  # of the next page, as sent; not checked yet
    # by the bare id of a `urn:` fullUrl that is not the resource's own id; Patients also by any other fullUrl
    by_url: dict[str, Resource] = {}
    faults: str = ""  # why it is not complete, apart from `next_url`
    misplaced: list[Resource] = []  # resources that belong to another source, see `read`
    lacking: bool = False  # the server says that it has no resources of this type


def joined(pages: Sequence[Gathered]) -> Gathered:
    """Join the pages of one search in order; partial where a page has faults or the last has a next page."""
    if len(pages) == 1:
        return pages[0]
    last = pages[-1]
    faults = "; ".join(dict.fromkeys(page.faults for page in pages if page.faults))
    resources = [resource for page in pages for resource in page.resources]
    quarantined = tuple(bad for page in pages for bad in page.quarantined)
    state = PARTIAL if faults or last.next_url else PRESENT if resources else EMPTY
    return Gathered(
        source_of(state, pages[0].source.origin, faults, last.next_url, quarantined),
        resources,
        quarantined,
        last.next_url,
        {url: resource for page in pages for url, resource in page.by_url.items()},
        faults,
        [resource for page in pages for resource in page.misplaced],
    )


def keep_url(resource: Resource, url: str, by_url: dict[str, Resource]) -> None:
    """Note in `by_url` that the fullUrl `url` leads to `resource`, where its id does not say so.

    A resource without an id gets the bare id of its `urn:`; a Patient gets the whole `urn:`, because its id was not stated.
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


def source_of(
    state: SourceState, origin: Origin, faults: str, next_url: str | None, quarantined: Sequence[Quarantined]
) -> Source:
    """Return the source with a note on its faults and on pages that were not read."""
    more = "there are more pages than were read" if next_url else ""
    note = f"{faults}; {more}" if faults and more else faults or more
    return Source(state, origin, note, state is PARTIAL and not quarantined)
