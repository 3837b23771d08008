"""The CDS Hooks services and their prefetch templates, derived from what the cards of each hook look at.

Templates stay inside the restricted query subset (CDS Hooks 2.0, "Prefetch query restrictions"), repeat no parameter, and
there is one key per FHIR resource type, because an EHR pays for each key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import assert_never

import msgspec

from cds_service.card_file import ServicesFile
from cds_service.criteria import (
    AgeCriterion,
    AllCriterion,
    AllergyCriterion,
    AnyCriterion,
    CountCriterion,
    Criterion,
    DoseCriterion,
    DrugCriterion,
    HookCriterion,
    JurisdictionCriterion,
    LabCriterion,
    OrderCriterion,
    ProblemCriterion,
    ReasonCriterion,
)
from cds_service.terminology import Terminology


class ServiceDefinition(msgspec.Struct, frozen=True):
    """One entry of the discovery answer. `prefetch` maps key to template."""

    id: str
    hook: str
    title: str
    description: str
    prefetch: dict[str, str]
    usage_requirements: str


def derive_services(
    file: ServicesFile, criteria_by_hook: Mapping[str, Iterable[Criterion]], terminology: Terminology
) -> tuple[ServiceDefinition, ...]:
    """The services of `file`, each with the templates that the criteria of its hook need."""
    services = []
    for service in file.services:
        keys, analytes = _needs(criteria_by_hook[service.hook])
        codes = ",".join(terminology.lab_codes(analytes))
        services.append(
            ServiceDefinition(
                id=service.id,
                hook=service.hook,
                title=service.title,
                description=service.description,
                prefetch={key: template.replace("{codes}", codes) for key, template in file.prefetch.items() if key in keys},
                usage_requirements=file.usage_requirements,
            )
        )
    return tuple(services)


def _needs(criteria: Iterable[Criterion]) -> tuple[set[str], set[str]]:
    """(prefetch keys, analytes) that these criteria look at."""
    keys: set[str] = set()
    analytes: set[str] = set()
    for criterion in criteria:
        match criterion:
            case LabCriterion(analyte=analyte):
                keys.add("labs")
                analytes.add(analyte)
                if analyte == "egfr":  # computed from creatinine, age and sex where no eGFR is reported
                    keys.add("patient")
                    analytes.add("creatinine")
            case DrugCriterion(started_after=analyte):
                keys |= {"statements", "prescriptions"}
                if analyte is not None:
                    keys.add("labs")
                    analytes.add(analyte)
            case CountCriterion(sets=sets):
                keys |= {"statements", "prescriptions", *(["problems"] if sets else [])}
            case ReasonCriterion(of=of):
                keys.add("problems")  # a reason can refer to one
                if of == "order or medication":
                    keys |= {"statements", "prescriptions"}
            case OrderCriterion(action=action):
                if action == "switch":
                    keys.add("prescriptions")
            case ProblemCriterion(sets=sets):
                keys.add("problems")
                if "pregnancy" in sets:
                    keys.add("labs")
                    analytes.add("pregnancy_status")
            case AllergyCriterion():
                keys.add("allergies")
            case AgeCriterion():
                keys.add("patient")
            case DoseCriterion() | HookCriterion() | JurisdictionCriterion() | AnyCriterion() | AllCriterion():
                pass  # of the order, the call and the site; what a group needs its members say
            case _:
                assert_never(criterion)
    return keys, analytes
