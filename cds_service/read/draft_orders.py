"""Read draft entries into orders: the drug, whether it is selected, whether it starts or stops a therapy."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from cds_service.criteria.facts import ORDERS_NOT_SENT, Drug, Order, Quarantined, Source, SourceState, Unread
from cds_service.fhir.draft_entries import DRUG_ORDERS, ORDERS, SOURCE, Draft, DraftEntries
from cds_service.fhir.resources import Resource, bare_id
from cds_service.read.drug_status import status_of
from cds_service.read.medications import read_drug
from cds_service.read.reference_targets import Targets
from cds_service.read.subject import CallPatient, Ownership, subjects

if TYPE_CHECKING:
    from cds_service.terminology.terminology import Terminology

MAX_ORDERS = 50  # of one session that are read
_STOPPED = frozenset({"stopped", "completed", "cancelled", "ended"})


class WrongPatientError(ValueError):
    """A draft order is for another patient than the one that the call is about."""


class OwnDraft(NamedTuple):
    """An order of the call's patient. `position`: among the draft entries."""

    position: int
    draft: Draft
    selected: bool


class Drafts(msgspec.Struct):
    """The patient's orders of a session, the unreadable entries, and how complete the orders are."""

    orders: list[OwnDraft]
    quarantined: tuple[Quarantined, ...]
    source: Source


class _Orders(NamedTuple):
    """The orders among the draft entries, with their positions."""

    found: list[tuple[int, Draft]]
    without_patient: list[Draft]  # left out: their subject does not lead to a patient


def own_drafts(entries: DraftEntries | None, selections: list[str] | None, hook: str, call_patient: CallPatient) -> Drafts:
    """Return the orders among the draft entries; `entries` is None where none were sent.

    At order-select the orders that `selections` name are selected, at other hooks all are. An order without any subject is
    `call_patient`'s, because it is part of the call; one whose subject leads to no patient is left out, and then the orders are
    known in part only.

    Raises WrongPatientError where an order is for another patient than `call_patient`.
    """
    if entries is None:
        if hook == "patient-view":
            return Drafts([], (), Source(SourceState.EMPTY, "context"))
        return Drafts([], (), Source(SourceState.ABSENT, "context", ORDERS_NOT_SENT))
    if not entries.is_bundle:
        return Drafts([], (), Source(SourceState.ERROR, "context", "the draft orders are not a Bundle"))
    selected = _Selected(selections if hook == "order-select" else None)
    found, without_patient = _orders_of(entries, call_patient)
    too_many = max(len(found) - MAX_ORDERS, 0)
    if too_many:
        found.sort(key=lambda one: not selected.includes(one[1]))  # the selected ones first
    orders = [OwnDraft(position, draft, selected.includes(draft)) for position, draft in found[:MAX_ORDERS]]
    notes = (
        *_notes_on_entries(entries, orders, without_patient, too_many),
        *selected.note_on_missing(sum(order.selected for order in orders), without_patient),
    )
    complete = SourceState.PRESENT if orders else SourceState.EMPTY
    source = Source(SourceState.PARTIAL if notes else complete, "context", "; ".join(notes))
    return Drafts(orders, entries.quarantined[:MAX_ORDERS], source)


def _orders_of(entries: DraftEntries, call_patient: CallPatient) -> _Orders:
    orders = _Orders([], [])
    for position, draft in enumerate(entries.drafts):
        if draft.resource.resourceType not in ORDERS or status_of(draft.resource) == "entered-in-error":
            continue
        ownership = call_patient.ownership(draft.resource)
        if ownership is Ownership.OTHER_PATIENT:
            raise WrongPatientError
        if ownership is Ownership.UNSTATED and any(subjects(draft.resource)):
            orders.without_patient.append(draft)
        else:
            orders.found.append((position, draft))
    return orders


def read_order(own: OwnDraft, targets: Targets, taken: Collection[Drug], terminology: Terminology, unread: list[Unread]) -> Order:
    """Read the drug of an order, and whether it starts or ends a therapy.

    An order on hold pauses a therapy where its drug is `taken`; else it counts like any order. Codes that are not understood are
    added to `unread`.
    """
    draft, resource = own.draft, own.draft.resource
    kind, key = resource.resourceType or "", resource.id or draft.url
    reference = f"{kind}/{key}" if key else ""
    drug = read_drug(resource, SOURCE, targets, terminology, unread, ordered=True) if kind in DRUG_ORDERS else None
    prior = resource.priorPrescription
    return Order(
        reference=reference,
        resource_type=kind,
        key=reference or f"#{own.position}",
        drug=drug,
        selected=own.selected,
        action="stop" if _ends(resource, drug, taken) else "start",
        replaces=(prior.reference or "") if prior is not None else "",
        raw=draft.json,
    )


def _ends(resource: Resource, drug: Drug | None, taken: Collection[Drug]) -> bool:
    """Tell whether an order stops or pauses a therapy."""
    status = status_of(resource)
    if status == "on-hold":
        own = set(drug.ingredients) if drug is not None else set()
        return any(not own.isdisjoint(one.ingredients) for one in taken)
    return status in _STOPPED or bool(resource.doNotPerform)


def _notes_on_entries(
    entries: DraftEntries, orders: Collection[OwnDraft], without_patient: Collection[Draft], too_many: int
) -> Iterable[str]:
    """Yield the reasons why not all draft orders were read."""
    if bad := len(entries.quarantined):
        yield f"{bad} of {bad + len(entries.drafts)} draft orders could not be read"
    if unowned := len(without_patient):
        yield f"{unowned} of {len(orders) + too_many + unowned} draft orders do not say whose they are"
    if too_many:
        yield f"only {len(orders)} of {len(orders) + too_many} draft orders were read, because there are too many"


class _Selected:
    """The orders that the clinician has just selected; all where the hook has no selections."""

    def __init__(self, selections: list[str] | None) -> None:
        self.selections = selections

    def includes(self, draft: Draft) -> bool:
        """Tell whether a draft is selected."""
        return self.selections is None or any(_matches(selection, draft) for selection in self.selections)

    def note_on_missing(self, read: int, without_patient: Iterable[Draft]) -> Iterable[str]:
        """Yield a note where selections match no order that was read or left out; `read`: how many were."""
        wanted = len(set(self.selections or ()))
        missing = wanted - read - sum(map(self.includes, without_patient))
        if wanted and missing > 0:
            yield f"{missing} of {wanted} selected orders are not among the draft orders"


def _matches(selection: str, draft: Draft) -> bool:
    """Tell whether a reference in `selections` means a draft, by id or fullUrl and without another type."""
    wanted = bare_id(selection)
    if not wanted or wanted not in (draft.resource.id, draft.url):
        return False
    before = selection.partition("/_history")[0].rpartition("/")[0]
    return not before or before.rpartition("/")[2] == (draft.resource.resourceType or "") or selection.startswith("urn:")
