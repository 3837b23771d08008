"""The drafts of a session → orders, each with its own JSON as it was sent.

`draftOrders` of the public sandbox and of EHRs is often no valid Bundle: no type, no fullUrl, objects where FHIR has arrays. Each
entry is read on its own; one that can't be read is quarantined, and then the orders are known in part only.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from cds_service.criteria.facts import Drug, Order, Quarantined, Source, SourceState, Unread
from cds_service.decode import Gathered, keep_url, reason_of
from cds_service.fhir import Resource, bare_id
from cds_service.read_drugs import Targets, read_drug, status_of
from cds_service.whose import Owner, Whose, subjects

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
_KNOWN = _ORDERS | {"Medication"}
# In lower case: what may hold an order and is none, or is misspelt, so that nobody knows what is wanted of it.
_LIKE_AN_ORDER = frozenset(one.lower() for one in _KNOWN) | {
    "bundle", "medicationadministration", "medicationdispense", "medicationprescription", "medicationstatement",
}  # fmt: skip
_STOPPED = frozenset({"stopped", "completed", "cancelled", "ended"})


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
    reader: DraftEntries, targets: Targets, taken: Collection[Drug], terminology: Terminology, owner: Owner, unread: list[Unread]
) -> Drafts:
    """The orders among the entries. Those without any subject are `owner`'s: they are part of the call.

    An order that is on hold pauses a therapy where its drug is `taken`; else it is an order like others. Codes that are not
    understood are added to `unread`.

    Orders whose subject can't be told are left out, and then the orders are known in part only. Raises WrongPatientError where
    an order is for somebody else than `owner`.
    """
    if reader.state is not SourceState.PRESENT:
        note = "the draft orders are not a Bundle" if reader.state is SourceState.ERROR else ""
        return Drafts((), (), Source(reader.state, "context", note))
    found = []
    for position, one in enumerate(reader.found):
        if reader.is_order(one[0]):
            whose = owner.whose(one[0])
            if whose is Whose.ANOTHERS:
                raise WrongPatientError
            if whose is Whose.NOT_SAID and any(subjects(one[0])):
                reader.nobodys.append((one[0], one[2]))
            else:
                found.append((position, *one))
    if len(found) > MAX_ORDERS:
        reader.unread = len(found) - MAX_ORDERS
        found.sort(key=lambda one: not reader.is_selected(one[1], one[3]))  # what was just picked before what was there
    orders = tuple(reader.order(*one, targets, taken, terminology, unread) for one in found[:MAX_ORDERS])
    return Drafts(orders, tuple(reader.quarantined[:MAX_ORDERS]), reader.source(orders))


class DraftEntries:
    """The entries of `draftOrders`, each decoded on its own."""

    def __init__(self, raw: bytes | None, selections: list[str] | None, hook: str) -> None:
        """`raw` is the JSON of `draftOrders`. At order-select the orders in `selections` are selected, else all are.

        Raises msgspec.DecodeError where `raw` is no JSON.
        """
        self.selections = selections if hook == "order-select" else None
        self.state = SourceState.PRESENT
        self.found: list[tuple[Resource, bytes, str]] = []  # resource, its JSON, bare id of its fullUrl
        self.by_url: dict[str, Resource] = {}
        self.quarantined: list[Quarantined] = []
        self.unread = 0  # orders that are left out because there are too many
        self.nobodys: list[tuple[Resource, str]] = []  # orders that are left out because their subject can't be told
        if raw is None:
            self.state = SourceState.EMPTY if hook == "patient-view" else SourceState.ABSENT
            return
        try:
            self._read(raw)
        except msgspec.ValidationError:
            self.state = SourceState.ERROR

    def _read(self, raw: bytes, *, inside: bool = False) -> None:
        """`inside`: `raw` is a Bundle of the Bundle."""
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
            url = whole.fullUrl if isinstance(whole.fullUrl, str) else ""
            try:
                resource = _decode_resource(json)
                if resource.resourceType == "Bundle" and not inside:
                    self._read(json, inside=True)
                else:
                    self._keep(position, resource, json, url)
            except msgspec.ValidationError as error:
                self._quarantine(position, json, reason_of(error))

    @property
    def gathered(self) -> Gathered:
        """Everything that was sent with the orders, as the target of references."""
        return Gathered(Source(SourceState.PRESENT), [resource for resource, _, _ in self.found], by_url=self.by_url)

    @staticmethod
    def is_order(resource: Resource) -> bool:
        return resource.resourceType in _ORDERS and status_of(resource) != "entered-in-error"

    def order(
        self,
        position: int,
        resource: Resource,
        json: bytes,
        url: str,
        targets: Targets,
        taken: Collection[Drug],
        terminology: Terminology,
        unread: list[Unread],
    ) -> Order:
        kind = resource.resourceType or ""
        prior = resource.priorPrescription
        reference = f"{kind}/{resource.id or url}" if resource.id or url else ""
        drug = None
        if kind in _DRUG_ORDERS:
            drug = read_drug(resource, SOURCE, targets, terminology, unread, ordered=True)
        return Order(
            reference=reference,
            resource_type=kind,
            key=reference or f"#{position}",
            drug=drug,
            selected=self.is_selected(resource, url),
            action="stop" if _ends(resource, drug, taken) else "start",
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
        if self.nobodys:
            every = len(orders) + self.unread + len(self.nobodys)
            notes.append(f"{len(self.nobodys)} of {every} draft orders do not say whose they are")
        if self.unread:
            notes.append(f"only {len(orders)} of {len(orders) + self.unread} draft orders were read, because there are too many")
        wanted = len(set(self.selections or ()))
        unmet = wanted - sum(order.selected for order in orders) - sum(self.is_selected(*one) for one in self.nobodys)
        if wanted and unmet > 0:
            notes.append(f"{unmet} of {wanted} selected orders are not among the draft orders")
        if notes:
            return Source(SourceState.PARTIAL, "context", "; ".join(notes))
        return Source(SourceState.PRESENT if orders else SourceState.EMPTY, "context")

    def _keep(self, position: int, resource: Resource, json: bytes, url: str) -> None:
        if resource.resourceType is None:
            self._quarantine(position, b"{}", "resourceType: missing")
            return
        if resource.resourceType not in _KNOWN and resource.resourceType.lower() in _LIKE_AN_ORDER:
            self._quarantine(position, b"{}", "resourceType: is not that of an order")
            return
        key = bare_id(url)
        self.found.append((resource, json, key))
        if resource.resourceType == "Patient":
            keep_url(resource, url, self.by_url)
        elif key and key != resource.id:
            self.by_url[key] = resource

    def _quarantine(self, position: int, json: bytes, reason: str) -> None:
        kind = _type_of(json)
        if not kind or kind in _KNOWN or kind == "Bundle":
            self.quarantined.append(Quarantined(SOURCE, position, kind, reason))


def _ends(resource: Resource, drug: Drug | None, taken: Collection[Drug]) -> bool:
    """Whether an order stops or pauses a therapy."""
    status = status_of(resource)
    if status == "on-hold":
        own = set(drug.ingredients) if drug is not None else set()
        return any(not own.isdisjoint(one.ingredients) for one in taken)
    return status in _STOPPED or bool(resource.doNotPerform)


def _entries(raw: bytes) -> list[Raw]:
    """The entries of a Bundle; an order without a Bundle around it counts as one.

    Raises msgspec.ValidationError where it is neither.
    """
    bundle = _decode_bundle(raw)
    if bundle is not None and isinstance(bundle.resourceType, str) and bundle.resourceType in _ORDERS:
        return [Raw(b'{"resource":' + raw + b"}")]
    if bundle is None or not bundle.entry:
        if bundle is not None and isinstance(bundle.resourceType, str) and bundle.resourceType != "Bundle":
            raise msgspec.ValidationError
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
