"""Derive the CDS Hooks services and their prefetch templates from the criteria of each hook.

Templates stay inside the restricted query subset (CDS Hooks 2.0, "Prefetch query restrictions"), repeat no parameter, and have
one key per FHIR resource type, because each key costs the EHR a query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from cds_service.criteria.kinds import Criterion
from cds_service.knowledge.card_file import ServicesFile
from cds_service.terminology.terminology import Terminology


class ServiceDefinition(msgspec.Struct, frozen=True):
    """One service of the discovery response. `prefetch`: key to template."""

    id: str
    hook: str
    title: str
    description: str
    prefetch: dict[str, str]
    usage_requirements: str
    include: dict[str, str] = {}  # by key: the `_include` parameters for the resources that results refer to

    def templates(self, *, include: bool) -> dict[str, str]:
        """Return the prefetch templates; `include`: for an EHR with `_include`, beyond the subset of CDS Hooks."""
        if not include:
            return self.prefetch
        return {key: template + self.include.get(key, "") for key, template in self.prefetch.items()}


def derive_services(
    file: ServicesFile, criteria_by_hook: Mapping[str, Iterable[Criterion]], terminology: Terminology
) -> tuple[ServiceDefinition, ...]:
    """Return the services of `file`, each with the templates that the criteria of its hook need."""
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
    """Return (prefetch keys, analytes) that these criteria look at."""
    keys: set[str] = set()
    analytes: set[str] = set()
    for criterion in criteria:
        needs = criterion.needs()
        keys |= needs.sources
        analytes |= needs.analytes
    return keys | ({"labs"} if analytes else set()), analytes
