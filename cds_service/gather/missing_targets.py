"""Find references to resources that the call did not bring and that a card could need. Pure.

A call brings a resource inside the one that refers to it, or in any of its Bundles. Not needed are a medication whose name
identifies one of the cards' drugs, and the references of prescriptions that have ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import httpx2
import msgspec

from cds_service.fhir.gathered import Gathered
from cds_service.fhir.resources import Reference, Resource, bare_id, first, listed, pairs, texts
from cds_service.outbound.base_urls import base_place, place
from cds_service.read.drug_status import DENIED, status_of
from cds_service.read.reference_targets import Targets
from cds_service.read.subject import ID

if TYPE_CHECKING:
    from cds_service.terminology.terminology import Terminology

_NO_RESULT = frozenset({"entered-in-error", "cancelled"})


class MissingTargets(msgspec.Struct):
    """Ids to read from the call's FHIR server, each once, those of draft orders first.

    `elsewhere` counts references to other servers.
    """

    ids: dict[str, list[str]]  # by resource type: Medication, Condition, Observation
    elsewhere: int = 0


def missing_targets(
    gathered: Mapping[str, Gathered], *, drafts: Gathered | None, base: str, terminology: Terminology
) -> MissingTargets:
    """Return the resources that `gathered` and `drafts` refer to and do not hold.

    `gathered` is by prefetch key; `drafts` is what came with the draft orders (`DraftEntries.gathered`).
    `base`: the FHIR base of the client; an absolute reference to another place is counted and never read.
    """
    finder = _Finder(gathered, drafts, base, terminology)
    finder.look()
    ids: dict[str, list[str]] = {}
    for kind, key in finder.found:
        ids.setdefault(kind, []).append(key)
    return MissingTargets(ids, len(finder.elsewhere))


class _Finder:
    def __init__(self, gathered: Mapping[str, Gathered], drafts: Gathered | None, base: str, terminology: Terminology) -> None:
        self.gathered = gathered
        self.drafts = drafts
        self.terminology = terminology
        self.base = base_place(base)
        self.targets = Targets([*gathered.values(), *([drafts] if drafts is not None else [])])
        self.found: dict[tuple[str, str], None] = {}
        self.elsewhere: set[str] = set()

    def look(self) -> None:
        lists = [self.gathered[name].resources for name in ("prescriptions", "statements") if name in self.gathered]
        for resource in self.drafts.resources if self.drafts is not None else ():
            if _refers(resource) and status_of(resource) != "entered-in-error":
                self._of_drug(resource)
        active_first = sorted((one for taken in lists for one in taken if _refers(one)), key=lambda one: one.status != "active")
        for resource in active_first:
            if status_of(resource) not in DENIED:
                self._of_drug(resource)
        labs = self.gathered["labs"].resources if "labs" in self.gathered else []
        if panels := [one for one in labs if one.hasMember is not None]:
            at_hand = {one.id for one in labs if one.id} | set(self.gathered["labs"].by_url)
            for panel in panels:
                self._of_panel(panel, at_hand)

    def _of_drug(self, resource: Resource) -> None:
        reference = resource.medicationReference
        medication = self._medication(resource, reference) if reference is not None else None
        if not self._is_known(resource, reference, medication):
            if reference is not None and medication is None:
                self._want("Medication", reference)
            for item in _items(medication):
                if not self._is_named(item) and self._medication(resource, item) is None:
                    self._want("Medication", item)
            return
        for reason in (*listed(resource.reasonReference), resource.reasonForUseReference):
            if reason is None or bare_id(reason.reference) in self.targets.conditions:
                continue
            if not (reason.display and self.terminology.reasons_in(reason.display)):
                self._want("Condition", reason)

    def _medication(self, resource: Resource, reference: Reference) -> Resource | None:
        key = bare_id(reference.reference)
        if (reference.reference or "").startswith("#"):
            return next((one for one in listed(resource.contained) if one.id and one.id.removeprefix("#") == key), Resource())
        return self.targets.medications.get(key) if key else None

    def _is_known(self, resource: Resource, reference: Reference | None, medication: Resource | None) -> bool:
        """Say whether the data at hand identifies one of the cards' drugs."""
        concepts = [resource.medicationCodeableConcept, first(medication.code) if medication is not None else None]
        codings = tuple(pair for concept in concepts for pair in pairs(concept))
        names = tuple(text for concept in concepts for text in texts(concept))
        if reference is not None and reference.display:
            names += (reference.display,)
        return bool(self.terminology.drug(codings, names).classes)

    def _is_named(self, reference: Reference) -> bool:
        return bool(reference.display and self.terminology.drug((), (reference.display,)).classes)

    def _of_panel(self, panel: Resource, at_hand: set[str]) -> None:
        """Find the missing results of a panel without a value of its own."""
        if panel.valueQuantity is None and panel.valueString is None and (panel.status or "").lower() not in _NO_RESULT:
            for member in listed(panel.hasMember):
                if bare_id(member.reference) not in at_hand:
                    self._want("Observation", member)

    def _want(self, kind: str, reference: Reference) -> None:
        """Record a target on the client's own server, or count it as elsewhere."""
        sent = reference.reference or ""
        if not sent or sent.startswith(("#", "urn:")):
            return
        own, _, version = sent.partition("/_history")
        before, _, key = own.rpartition("/")
        address, _, of = before.rpartition("/")
        if of != kind or not ID.fullmatch(key) or (version and not version.startswith("/")):
            return
        if address and not self._is_own(address):
            self.elsewhere.add(sent)
        else:
            self.found[kind, key] = None

    def _is_own(self, address: str) -> bool:
        """Return whether an address is that of the client's server.

        Its scheme doesn't count, because the registered one is asked.
        """
        try:
            there = place(httpx2.URL(address))
        except (httpx2.InvalidURL, UnicodeError):
            return False
        if there is None or self.base is None or there.host != self.base.host or there.segments != self.base.segments:
            return False
        return there.port == self.base.port or {there.port, self.base.port} == {80, 443}


def _refers(resource: Resource) -> bool:
    """Say whether a prescription refers to another resource for its medication or reason."""
    return (
        resource.medicationReference is not None
        or resource.reasonReference is not None
        or resource.reasonForUseReference is not None
    )


def _items(medication: Resource | None) -> Iterator[Reference]:
    """Return the ingredients of a medication that are references."""
    if medication is not None:
        ingredients = listed(medication.ingredient)
        if medication.product is not None:
            ingredients = [*ingredients, *(medication.product.ingredient or ())]
        for ingredient in ingredients:
            item = ingredient.itemReference or ingredient.item
            if item is not None:
                yield item
