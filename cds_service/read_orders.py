"""The drafts of a session → orders, each with its own JSON as it was sent.

`draftOrders` of the public sandbox and of EHRs is often no valid Bundle: no type, no fullUrl, objects where FHIR has arrays. Each
entry is read on its own; one that can't be read is quarantined, and then the orders are known in part only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from cds_service.decode import Gathered, reason_of
from cds_service.facts import Order, Quarantined, Source, SourceState
from cds_service.fhir import Resource, bare_id
from cds_service.read_drugs import Targets, read_drug
from cds_service.whose import Owner, Whose

if TYPE_CHECKING:
    from cds_service.terminology import Terminology

SOURCE = "draftOrders"
MAX_ORDERS = 50  # that are looked at in one session
_DRUG_ORDERS = frozenset({"MedicationRequest", "MedicationOrder"})
_ORDERS = _DRUG_ORDERS | {
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
_STOPPED = frozenset({"stopped", "completed", "cancelled", "on-hold", "ended"})


class _Bundle(msgspec.Struct, gc=False):
    resourceType: object = None
    entry: Raw = Raw()


class _Entry(msgspec.Struct, gc=False):
    resource: Raw = Raw()
    fullUrl: object = None


class _Type(msgspec.Struct, gc=False):
    resourceType: object = None


_decode_bundle = msgspec.json.Decoder(_Bundle | None).decode
_decode_entries = msgspec.json.Decoder(list[Raw] | None).decode
_decode_entry = msgspec.json.Decoder(_Entry).decode
_decode_resource = msgspec.json.Decoder(Resource).decode
_decode_type = msgspec.json.Decoder(_Type).decode


class WrongPatientError(ValueError):
    """A draft order is for another patient than the one that the call is about."""


class Drafts(msgspec.Struct):
    """The orders of a session, what could not be read of them, and how complete they are."""

    orders: tuple[Order, ...]
    quarantined: tuple[Quarantined, ...]
    source: Source


def read_orders(
    raw: bytes | None,
    selections: list[str] | None,
    hook: str,
    sources: Iterable[Gathered],
    terminology: Terminology,
    owner: Owner,
) -> Drafts:
    """The orders in `raw`, the value of `draftOrders`. At order-select those in `selections` are selected, else all are.

    Raises msgspec.DecodeError where `raw` is no JSON, WrongPatientError where an order is for somebody else than `owner`.
    """
    if raw is None:
        state = SourceState.EMPTY if hook == "patient-view" else SourceState.ABSENT
        return Drafts((), (), Source(state, "context"))
    reader = _Reader(selections if hook == "order-select" else None)
    try:
        reader.resources(raw)
    except msgspec.ValidationError:
        return Drafts((), (), Source(SourceState.ERROR, "context", "the draft orders are not a Bundle"))
    if any(reader.is_order(one) and owner.whose(one) is Whose.ANOTHERS for one, _, _ in reader.found):
        raise WrongPatientError
    drafts = Gathered(Source(SourceState.PRESENT), [resource for resource, _, _ in reader.found], by_url=reader.by_url)
    targets = Targets([*sources, drafts])
    found = [(position, *one) for position, one in enumerate(reader.found) if reader.is_order(one[0])]
    if len(found) > MAX_ORDERS:
        reader.unread = len(found) - MAX_ORDERS
        found.sort(key=lambda one: not reader.is_selected(one[1], one[3]))  # what was just picked before what was there
    orders = tuple(reader.order(*one, targets, terminology) for one in found[:MAX_ORDERS])
    return Drafts(orders, tuple(reader.quarantined[:MAX_ORDERS]), reader.source(orders))


class _Reader:
    def __init__(self, selections: list[str] | None) -> None:
        self.selections = selections
        self.found: list[tuple[Resource, bytes, str]] = []  # resource, its JSON, bare id of its fullUrl
        self.by_url: dict[str, Resource] = {}
        self.quarantined: list[Quarantined] = []
        self.unread = 0  # orders that are left out because there are too many

    def resources(self, raw: bytes) -> None:
        for position, entry in enumerate(_entries(raw)):
            try:
                whole = _decode_entry(entry)
            except msgspec.ValidationError as error:
                self._quarantine(position, b"{}", reason_of(error))
                continue
            json = bytes(whole.resource)
            if not json:
                self._quarantine(position, b"{}", "resource: missing")
                continue
            url = bare_id(whole.fullUrl) if isinstance(whole.fullUrl, str) else ""
            try:
                self._keep(position, _decode_resource(json), json, url)
            except msgspec.ValidationError as error:
                self._quarantine(position, json, reason_of(error))

    @staticmethod
    def is_order(resource: Resource) -> bool:
        return resource.resourceType in _ORDERS and resource.status != "entered-in-error"

    def order(
        self, position: int, resource: Resource, json: bytes, url: str, targets: Targets, terminology: Terminology
    ) -> Order:
        kind = resource.resourceType or ""
        prior = resource.priorPrescription
        reference = f"{kind}/{resource.id or url}" if resource.id or url else ""
        return Order(
            reference=reference,
            resource_type=kind,
            key=reference or f"#{position}",
            drug=read_drug(resource, SOURCE, targets, terminology, ordered=True) if kind in _DRUG_ORDERS else None,
            selected=self.is_selected(resource, url),
            action="stop" if resource.status in _STOPPED or resource.doNotPerform else "start",
            replaces=(prior.reference or "") if prior is not None else "",
            raw=json,
        )

    def is_selected(self, resource: Resource, url: str) -> bool:
        selections, kind = self.selections, resource.resourceType or ""
        return selections is None or any(_is_meant(selection, kind, resource, url) for selection in selections)

    def source(self, orders: tuple[Order, ...]) -> Source:
        notes = []
        if self.quarantined:
            bad = len(self.quarantined)
            notes.append(f"{bad} of {bad + len(self.found)} draft orders could not be read")
        if self.unread:
            notes.append(f"only {len(orders)} of {len(orders) + self.unread} draft orders were read, because there are too many")
        unmet = len(set(self.selections or ())) - sum(order.selected for order in orders) if self.selections else 0
        if unmet > 0:
            notes.append(f"{unmet} of {len(set(self.selections or ()))} selected orders are not among the draft orders")
        if notes:
            return Source(SourceState.PARTIAL, "context", "; ".join(notes))
        return Source(SourceState.PRESENT if orders else SourceState.EMPTY, "context")

    def _keep(self, position: int, resource: Resource, json: bytes, url: str) -> None:
        if resource.resourceType is None:
            self._quarantine(position, b"{}", "resourceType: missing")
            return
        self.found.append((resource, json, url))
        if url and url != resource.id:
            self.by_url[url] = resource

    def _quarantine(self, position: int, json: bytes, reason: str) -> None:
        kind = _type_of(json)
        if not kind or kind in _ORDERS or kind == "Medication":
            self.quarantined.append(Quarantined(SOURCE, position, kind, reason))


def _entries(raw: bytes) -> list[Raw]:
    """The entries of a Bundle; an order without a Bundle around it counts as one.

    Raises msgspec.ValidationError where it is neither.
    """
    bundle = _decode_bundle(raw)
    if bundle is not None and isinstance(bundle.resourceType, str) and bundle.resourceType in _ORDERS:
        return [Raw(b'{"resource":' + raw + b"}")]
    if bundle is None or not bundle.entry:
        return []
    try:
        return _decode_entries(bundle.entry) or []
    except msgspec.ValidationError:
        return [bundle.entry]


def _type_of(json: bytes) -> str:
    try:
        kind = _decode_type(json).resourceType
    except msgspec.ValidationError:
        return ""
    return kind if isinstance(kind, str) else ""


def _is_meant(selection: str, kind: str, resource: Resource, url: str) -> bool:
    wanted = bare_id(selection)
    if not wanted or wanted not in (resource.id, url):
        return False
    before = selection.partition("/_history")[0].rpartition("/")[0]
    return not before or before.rpartition("/")[2] == kind or selection.startswith("urn:")
