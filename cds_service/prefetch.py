"""The CDS Hooks services and their prefetch templates, derived from what the cards of each hook look at.

Templates stay inside the restricted query subset (CDS Hooks 2.0, "Prefetch query restrictions"), repeat no parameter, and
there is one key per FHIR resource type, because an EHR pays for each key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import assert_never

import msgspec

from cds_service.card_file import ServicesFile
from cds_service.criteria.kinds import (
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
    include: dict[str, str] = {}  # by key: what brings along what a search's results refer to

    def templates(self, *, include: bool) -> dict[str, str]:
        """The prefetch templates; `include`: for an EHR that supports `_include`, which CDS Hooks does not promise."""
        if not include:
            return self.prefetch
        return {key: template + self.include.get(key, "") for key, template in self.prefetch.items()}


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
                include={key: more for key, more in file.include.items() if key in keys},
            )
        )
    return tuple(services)


def _needs(criteria: Iterable[Criterion]) -> tuple[set[str], set[str]]:
    """(prefetch keys, analytes) that these criteria look at."""
    keys: set[str] = set()
    analytes: set[str] = set()
    for criterion in criteria:
        more_keys, more_analytes = _needs_of(criterion)
        keys |= more_keys | ({"labs"} if more_analytes else set())
        analytes |= more_analytes
    return keys, analytes


def _needs_of(criterion: Criterion) -> tuple[set[str], set[str]]:
    """The same for one criterion; whoever asks for analytes need not name the key of the labs."""
    drugs = {"statements", "prescriptions"}
    match criterion:
        case LabCriterion(analyte="egfr"):  # computed from creatinine, age and sex where no eGFR is reported
            return {"patient"}, {"egfr", "creatinine"}
        case LabCriterion(analyte="calcium"):  # corrected for albumin where one was sent
            return set(), {"calcium", "albumin"}
        case LabCriterion(analyte=analyte):
            return set(), {analyte}
        case DrugCriterion(started_after=analyte, before_sets=sets):
            return drugs | ({"problems"} if sets else set()), set() if analyte is None else {analyte}
        case CountCriterion(sets=sets):
            return drugs | ({"problems"} if sets else set()), set()
        case ReasonCriterion(of=of):
            return {"problems"} | (drugs if of == "order or medication" else set()), set()  # a reason can refer to a problem
        case OrderCriterion(action=action):
            return {"prescriptions"} if action == "switch" else set(), set()
        case ProblemCriterion(newer_than="egfr"):
            return {"patient", "problems"}, {"egfr", "creatinine"}
        case ProblemCriterion(sets=sets, newer_than=analyte):
            return {"problems"}, ({"pregnancy_status"} if "pregnancy" in sets else set()) | ({analyte} if analyte else set())
        case AllergyCriterion():
            return {"allergies"}, set()
        case AgeCriterion():
            return {"patient"}, set()
        case DoseCriterion() | HookCriterion() | JurisdictionCriterion() | AnyCriterion() | AllCriterion():
            return set(), set()  # of the order, the call and the site; what a group needs its members say
        case _:
            assert_never(criterion)
