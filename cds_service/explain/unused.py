"""What was sent and is in no fact: the first thing to look at where a card should have fired and did not. Pure.

A local code is what most often stands behind it. Each resource is given to its reader by itself, so that this can't say anything
else than the reading did. A drug that is active is a fact whether or not it is recognised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from cds_service.criteria.escaping import cleaned
from cds_service.criteria.facts import Facts, Source, SourceState
from cds_service.explain.explanation import Unused
from cds_service.fhir.bundles import Gathered
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
    """The resources of `sent` (by prefetch key) that are not in `facts`, with the reason.

    Sources that failed as a whole and entries that could not be decoded are not among them: `Facts.sources` and
    `Facts.quarantined` have those.
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
    """Why the reader of the source `name` makes nothing of a resource; "" where it makes something of it."""
    alone = [resource]
    match name:
        case _ if resource.resourceType == "Medication":
            return ""  # what others refer to
        case "labs":
            pregnancy = read_pregnancy(alone, facts.now, terminology, name)
            series, _ = read_labs(flattened(alone, {}), facts.patient, facts.now, terminology, name)
            if series or _any(pregnancy):
                return ""
            if status_of(resource) == "denied":
                return f"its status is {cleaned(resource.status or '') or 'not said'}"
            known = meaning_of(resource, terminology).coding
            return "of this result nothing is needed, or it has no value" if known else "no card looks for its code"
        case "problems":
            if _any(read_problems(alone, facts.now, terminology, name)):
                return ""
            concept = first(resource.code)
            if resource.resourceType != "Condition":
                return "it is no problem"
            if terminology.problem(pairs(concept), texts(concept)).sets:
                return "it is past, excluded, or not confirmed"
            return "no card looks for its code, or for what its text names"
        case "allergies":
            found = _any(read_allergies(alone, terminology, name))
            return "" if found else "no card looks for its substance, or it is over or refuted"
        case "statements" | "prescriptions":
            just_it = msgspec.structs.replace(gathered, resources=alone)
            found = _any(read_drugs(just_it, name, Targets([gathered]), facts.now, terminology, []))
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
