"""Decode the Bundle of draft orders into resources that keep their JSON as sent.

`draftOrders` of the public sandbox and of EHRs is often not a valid Bundle: it has no type, no fullUrl, or objects where FHIR has
arrays. An entry that can't be read is quarantined, and then the orders are known in part only.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from cds_service.criteria.facts import Quarantined, Source, SourceState
from cds_service.fhir.bundle_entries import SentEntry, sent_entries
from cds_service.fhir.gathered import Gathered, keep_url
from cds_service.fhir.resources import Resource, bare_id

SOURCE = "draftOrders"
DRUG_ORDERS = frozenset({"MedicationRequest", "MedicationOrder"})
ORDERS = DRUG_ORDERS | {
    "Appointment",
    "CommunicationRequest",
    "DeviceRequest",
    "DeviceUseRequest",
    "DiagnosticOrder",
    "ImmunizationRecommendation",
    "NutritionOrder",
    "ProcedureRequest",
    "ReferralRequest",
    "ServiceRequest",
    "SupplyRequest",
    "Task",
    "VisionPrescription",
}
_READ = ORDERS | {"Medication"}
# In lower case: types that are not orders and may contain one, or may be misspelt orders.
_LIKE_AN_ORDER = frozenset(one.lower() for one in _READ) | {
    "bundle", "medicationadministration", "medicationdispense", "medicationprescription", "medicationstatement",
}  # fmt: skip


class Draft(msgspec.Struct, frozen=True, gc=False):
    """One resource of the draft orders: an order, or a resource sent with the orders."""

    resource: Resource
    json: bytes  # of the resource, as it was sent: a suggestion changes this
    url: str  # the bare id of its fullUrl; "" without one


class DraftEntries(msgspec.Struct, frozen=True):
    """The draft orders as sent."""

    drafts: tuple[Draft, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    by_url: dict[str, Resource] = {}  # as in `bundles.Gathered`, here for every type of resource
    is_bundle: bool = True

    @property
    def gathered(self) -> Gathered:
        """Return everything that was sent with the orders, as targets of references."""
        return Gathered(Source(SourceState.PRESENT), [draft.resource for draft in self.drafts], by_url=self.by_url)


def draft_entries(raw: bytes | Raw) -> DraftEntries:
    """Decode the JSON of `draftOrders`; null counts as an empty Bundle. Raises msgspec.DecodeError where it is not JSON."""
    entries = [] if bytes(raw) == b"null" else sent_entries(raw, ORDERS)
    if entries is None:
        return DraftEntries(is_bundle=False)
    drafts: list[Draft] = []
    quarantined: list[Quarantined] = []
    by_url: dict[str, Resource] = {}
    for entry in entries:
        resource = entry.resource
        if resource is None or (reason := _unusable(resource)):
            if _matters(entry):
                quarantined.append(Quarantined(SOURCE, entry.position, entry.resource_type, entry.reason or reason))
            continue
        draft = Draft(resource, entry.json, bare_id(entry.url))
        drafts.append(draft)
        if resource.resourceType == "Patient":
            keep_url(resource, entry.url, by_url)
        elif draft.url and draft.url != resource.id:
            by_url[draft.url] = resource
    return DraftEntries(tuple(drafts), tuple(quarantined), by_url)


def _unusable(resource: Resource) -> str:
    """Return why it is not clear whether a resource is an order; "" where it is."""
    kind = resource.resourceType
    if kind is None:
        return "resourceType: missing"
    return "resourceType: is not that of an order" if kind not in _READ and kind.lower() in _LIKE_AN_ORDER else ""


def _matters(entry: SentEntry) -> bool:
    """Tell whether an unusable entry may be an order."""
    return entry.resource_type in ("", "Bundle") or entry.resource_type in _READ
