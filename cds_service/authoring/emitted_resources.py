"""Check that the cards emit valid FHIR, and report the result of `cards check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from cds_service.authoring.cases import Run
from cds_service.criteria.numbers import KINDS, number_fields
from cds_service.fhir.validation import problems_r4b
from cds_service.files.yaml_file import Problem
from cds_service.knowledge.card_file import CardFile
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.overlay import CASES


def emitted_problems(knowledge: Knowledge, runs: Iterable[Run]) -> list[Problem]:
    """Return a problem for each emitted resource that is not FHIR R4B.

    These are the resources of cards shown in cases, and all order templates.
    """
    problems: list[Problem] = []
    for run in runs:
        for one in run.evaluation.shown if run.evaluation is not None else ():
            for resource in resources_in(msgspec.json.decode(one.body)):
                problems += [
                    run.case.problem(f"emits an invalid {resource.get('resourceType')}: {wrong}")
                    for wrong in problems_r4b(resource)
                ]
    for name, template in knowledge.orders.items():
        if "status" in template:  # the others are fields that change a draft order
            filled = msgspec.json.decode(msgspec.json.encode(template).replace(b"{patient.reference}", b"Patient/example"))
            place = knowledge.order_places[name]
            problems += [Problem(place.file, place.line, name, f"is not FHIR R4B: {wrong}") for wrong in problems_r4b(filled)]
    return problems


def report(knowledge: Knowledge, runs: Sequence[Run], emitted: Iterable[Problem]) -> tuple[list[str], bool]:
    """Return the lines that `cds-service cards check` prints, and whether all checks passed.

    With an overlay, the cases of `cards/` and those of the site are counted separately. Where the first fail, the site has
    changed what the card does: either the overlay is wrong or it needs cases of its own.
    """
    emitted = list(emitted)
    own = [run for run in runs if run.case.of_site]
    base = [run for run in runs if not run.case.of_site]
    lines = [str(problem) for problem in (*(problem for run in own for problem in run.problems), *emitted)]
    changed = Counter(run.case.card.id for run in base if run.problems)
    if knowledge.overlay is not None and changed:
        lines.append("With the overlay, these cases of cards/ no longer pass:")
    lines += [str(problem) for run in base for problem in run.problems]
    if knowledge.overlay is not None:
        lines += [
            f"overlay: {number} of {card}; if the site intends this, write what it expects into overlay/{card}/{CASES}"
            for card, number in changed.items()
        ]
        lines.append(f"overlay {knowledge.overlay_hash[:12] or 'without knowledge'}: {_count(own)}")
    lines.append(f"{len(knowledge.cards)} cards, {_count(base)}")
    return lines, not emitted and not any(run.problems for run in runs)


def _count(runs: Sequence[Run]) -> str:
    failed = sum(1 for run in runs if run.problems)
    return f"{len(runs)} cases: {len(runs) - failed} passed, {failed} failed"


def resources_in(card: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the resources that the suggestions of a card would create or update."""
    return [action["resource"] for item in card.get("suggestions", []) for action in item["actions"] if "resource" in action]


def card_schema() -> str:
    """Return the JSON schema of a card file, for completion and checks in editors."""
    schema = msgspec.json.schema(CardFile)
    for kind, struct in KINDS.items():
        for field in number_fields(kind):  # a number, or the name of one in thresholds.yaml
            properties = schema["$defs"][struct.__name__]["properties"]
            if properties[field].get("type") != "object":
                properties[field] = {"type": ["number", "string", "null"]}
    return msgspec.json.format(msgspec.json.encode(schema, order="deterministic")).decode() + "\n"
