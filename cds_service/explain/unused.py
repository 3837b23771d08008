"""List the resources that were sent and that no fact came from. Pure.

It is the first place to look when a card should have fired and did not; the usual cause is a local code. Each resource is given
to its reader alone, so that the result agrees with the reading. An active drug is a fact whether or not it is recognised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from cds_service.criteria.escaping import cleaned
from cds_service.criteria.facts import Facts, Source, SourceState
from cds_service.explain.explanation import Unused
from cds_service.fhir.gathered import Gathered
from cds_service.fhir.panels import flattened
from cds_service.fhir.resources import Resource, first, pairs, texts
from cds_service.read.allergies import read_allergies
from cds_service.read.conditions import read_pregnancy, read_problems
from cds_service.read.lab_identity import meaning_of, status_of
from cds_service.read.labs import read_labs
from cds_service.read.medications import read_drugs
from cds_service.read.reference_targets import Targets
from cds_service.terminology.terminology import Terminology


def unused(sent: Mapping[str, Gathered], facts: Facts, terminology: Terminology) -> list[Unused]:
    """Return the resources of `sent` (by prefetch key) that are not in `facts`, with the reason.

    Sources that failed as a whole and entries that could not be decoded are left out: `Facts.sources` and `Facts.quarantined`
    have those.
    """
    failed = Source(SourceState.ERROR)
    return [
        _unused(resource, name, because)
        for name, gathered in sent.items()
        if facts.sources.get(name, failed).state is not SourceState.ERROR
        for resource in gathered.resources
        if (because := _reason(resource, name, gathered, facts, terminology))
    ]


def _reason(resource: Resource, name: str, gathered: Gathered, facts: Facts, terminology: Terminology) -> str:
    """Return why the reader of the source `name` takes no fact from a resource.

    "" where it takes one.
    """
    alone = [resource]
    match name:
        case _ if resource.resourceType == "Medication":
            return ""  # other resources refer to it
        case "labs":
            pregnancy = read_pregnancy(alone, facts.now, terminology, name)
            series, _ = read_labs(flattened(alone, {}), facts.patient, facts.now, terminology, name)
            if series or _any(pregnancy):
                return ""
            if status_of(resource) == "denied":
                return f"its status is {cleaned(resource.status or '') or 'missing'}"
            known = meaning_of(resource, terminology).coding
            return "no card needs this result, or it has no value" if known else "no card looks for its code"
        case "problems":
            if _any(read_problems(alone, facts.now, terminology, name)):
                return ""
            concept = first(resource.code)
            if resource.resourceType != "Condition":
                return "it is not a Condition"
            if terminology.problem(pairs(concept), texts(concept)).sets:
                return "it is past, excluded, or not confirmed"
            return "no card looks for its code, or for what its text names"
        case "allergies":
            found = _any(read_allergies(alone, terminology, name))
            return "" if found else "no card looks for its substance, or it is over or refuted"
        case "statements" | "prescriptions":
            only_this = msgspec.structs.replace(gathered, resources=alone)
            found = _any(read_drugs(only_this, name, Targets([gathered]), facts.now, terminology, []))
            return "" if found else "it is not active, by its status, intent or period"
        case _:
            return ""


def _any(found: Iterator[object]) -> bool:
    return next(found, None) is not None


def _unused(resource: Resource, name: str, because: str) -> Unused:
    concept = first(resource.code) or resource.medicationCodeableConcept
    return Unused(
        reference=cleaned(f"{resource.resourceType}/{resource.id}" if resource.id else str(resource.resourceType)),
        source=name,
        text=cleaned(next(iter(texts(concept)), "")),
        code=", ".join(cleaned("|".join(pair).strip("|")) for pair in pairs(concept)),
        because=because,
    )
