"""Find the resources that a medication refers to: contained in it, or in any source of the call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from cds_service.fhir.gathered import Gathered
from cds_service.fhir.resources import Reference, Resource, bare_id, listed


class Targets:
    """The Medications and Conditions of all sources, by id."""

    def __init__(self, sources: Iterable[Gathered]) -> None:
        self.sources = list(sources)

    @cached_property
    def medications(self) -> Mapping[str, Resource]:
        """Return Medications by bare id."""
        return self._index("Medication")

    @cached_property
    def conditions(self) -> Mapping[str, Resource]:
        """Return Conditions by bare id."""
        return self._index("Condition")

    def _index(self, resource_type: str) -> Mapping[str, Resource]:
        found: dict[str, Resource] = {}
        for source in self.sources:
            found.update((key, one) for key, one in source.by_url.items() if one.resourceType == resource_type)
            found.update((one.id, one) for one in source.resources if one.resourceType == resource_type and one.id)
        return found

    def medication(self, contained: list[Resource] | Resource | None, reference: Reference) -> Resource | None:
        """Return the Medication or Substance that `reference` leads to; None where it was not sent."""
        if is_contained(reference):
            return next(in_resource(contained, reference), None)
        return self.medications.get(bare_id(reference.reference))

    def condition(self, contained: list[Resource] | Resource | None, reference: Reference) -> Resource | None:
        """Return the Condition that `reference` leads to; None where it was not sent."""
        if is_contained(reference):
            return next((one for one in in_resource(contained, reference) if one.resourceType == "Condition"), None)
        return self.conditions.get(bare_id(reference.reference)) if may_be_condition(reference) else None


def is_contained(reference: Reference) -> bool:
    """Tell whether a reference leads to a contained resource."""
    return (reference.reference or "").startswith("#")


def in_resource(contained: list[Resource] | Resource | None, reference: Reference) -> Iterator[Resource]:
    """Yield the contained resources with the id of `reference`, with or without "#"."""
    key = bare_id(reference.reference)
    return (one for one in listed(contained) if one.id and one.id.removeprefix("#") == key)


def may_be_condition(reference: Reference) -> bool:
    """Tell whether a reference may lead to a condition: it names that type or none."""
    before, _, _ = (reference.reference or "").partition("/_history")[0].rpartition("/")
    return before.rpartition("/")[2] in ("", "Condition")
