"""Flattens panels, components and reports into one list of Observations.

Members may be contained or referenced. A part takes from its panel what it does not state itself: patient, time, status, specimen
and notes. Only one level of references is followed, so that a circle does no harm.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from cds_service.fhir.resources import CodeableConcept, Reference, Resource, bare_id, first, listed, texts

REPORT = "DiagnosticReport"
_WITHDRAWN = frozenset({"entered-in-error", "cancelled"})
_DEEPEST = 10  # FHIR allows one; each is visited once, however deep


def flattened(observations: list[Resource], by_url: Mapping[str, Resource]) -> list[Resource]:
    """Return Observations and reports as Observations that contain no others, in order.

    The same list where none does. `by_url`: resources by the bare id of a `urn:` fullUrl that is not their own id. A member that
    was not sent and whose reference has a display is in the list without a value.
    """
    if not any(map(_holds_others, observations)):
        return observations
    at_hand = _at_hand(observations, by_url)
    held_by: dict[int, Resource] = {}
    missing: list[Resource] = []
    for one in observations:
        for reference in _references(one):
            member = at_hand.get(bare_id(reference.reference)) if reference.reference else None
            if member is not None and member is not one:
                held_by.setdefault(id(member), one)
            elif member is None and reference.display and not (reference.reference or "").startswith("#"):
                missing.append(_part(Resource(code=CodeableConcept(text=reference.display)), one))
    flat: list[Resource] = []
    for one in observations:
        holder = held_by.get(id(one))
        flat += _with_parts(one if holder is None else _part(one, holder), 1)
    return flat + missing


def out_of_reach(observations: list[Resource], by_url: Mapping[str, Resource]) -> int:
    """Count the results that were not sent: members without resource and display, and parts nested too deeply.

    Members of a panel with a value of its own, or of a withdrawn one, do not count.
    """
    at_hand = _at_hand(observations, by_url)
    count = 0
    for one in observations:
        if not _holds_others(one) or (one.status or "").lower() in _WITHDRAWN:
            continue
        if one.valueQuantity is None and not one.valueString:
            held = at_hand.keys() | {f"#{part.id.removeprefix('#')}" for part in listed(one.contained) if part.id}
            count += sum(not _is_reached(reference, held) for reference in _references(one))
        count += _too_deep(one, 1)
    return count


def _is_reached(reference: Reference, held: Collection[str]) -> bool:
    """Tell whether a member is among `held`, has a display, or is not an Observation."""
    sent = reference.reference or ""
    if reference.display or sent in held or bare_id(sent) in held:
        return True
    before, _, _ = sent.partition("/_history")[0].rpartition("/")
    return bool(before) and before.rpartition("/")[2] != "Observation"


def _too_deep(one: Resource, depth: int) -> int:
    parts = [part for part in listed(one.contained) if part.resourceType == "Observation"]
    if depth > _DEEPEST:
        return len(parts) + len(listed(one.component))
    return sum(_too_deep(part, depth + 1) for part in parts)


def contains_results(report: Resource) -> bool:
    """Tell whether a report contains Observations."""
    return any(one.resourceType == "Observation" for one in listed(report.contained))


def is_panel(observation: Resource) -> bool:
    """Tell whether an Observation has members or components, so that it needs no value."""
    return bool(observation.component or observation.hasMember or observation.related or contains_results(observation))


def _at_hand(observations: list[Resource], by_url: Mapping[str, Resource]) -> dict[str, Resource]:
    """Return the results that a reference can lead to, by bare id."""
    at_hand = {key: one for key, one in by_url.items() if one.resourceType == "Observation"}
    at_hand.update((one.id, one) for one in observations if one.resourceType == "Observation" and one.id)
    return at_hand


def _holds_others(one: Resource) -> bool:
    return (
        one.component is not None
        or one.contained is not None
        or one.hasMember is not None
        or one.related is not None
        or one.resourceType == REPORT
    )


def _references(one: Resource) -> Iterator[Reference]:
    for reference in (*listed(one.hasMember), *listed(one.result)):
        if isinstance(reference, Reference):
            yield reference
    for related in listed(one.related):
        if related.type == "has-member" and related.target is not None:
            yield related.target


def _with_parts(one: Resource, depth: int) -> Iterable[Resource]:
    if one.resourceType != REPORT:
        yield one
    if depth > _DEEPEST or not _holds_others(one):
        return
    withdrawn = (one.status or "").lower() in _WITHDRAWN  # with everything that stands only in it
    for part in listed(one.component):
        if isinstance(part, Resource):
            yield _part(msgspec.structs.replace(part, id=one.id), one)
    for part in listed(one.contained):
        if part.resourceType == "Observation":
            yield from _with_parts(_part(part if not withdrawn else msgspec.structs.replace(part, status=None), one), depth + 1)


def _part(part: Resource, holder: Resource) -> Resource:
    """Return `part` with what it does not state itself taken from `holder`."""
    given: dict[str, object] = {"resourceType": "Observation"}
    if part.subject is None and part.patient is None:
        given |= {"subject": holder.subject, "patient": holder.patient}
    if not (part.effectiveDateTime or part.effectiveInstant or part.effectivePeriod or part.issued):
        for name in ("effectiveDateTime", "effectiveInstant", "effectivePeriod", "issued"):
            given[name] = getattr(holder, name)
    if part.specimen is None:
        named = Reference(display=" ".join(texts(first(holder.code))))  # "Urine electrolytes"
        given["specimen"] = listed(holder.specimen) or [named]
    if part.contained is None and holder.contained is not None:
        given["contained"] = [one for one in listed(holder.contained) if one.resourceType in ("Specimen", "Patient")]
    for name in ("status", "note", "comment", "comments"):
        if getattr(part, name) is None:
            given[name] = getattr(holder, name)
    return msgspec.structs.replace(part, **given)
