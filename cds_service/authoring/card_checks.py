"""Check the content of cards besides their cases: numbers, lengths, links, complete orders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from cds_service.authoring.cases import Run
from cds_service.authoring.source_links import refused_links
from cds_service.authoring.typed_numbers import typed_numbers
from cds_service.files.yaml_file import Problem
from cds_service.knowledge.card_file import Resource
from cds_service.knowledge.knowledge import Card, Knowledge

MOST_LINKS = 3  # sources that a card names as links; its page has all

_MOVE = "move what is not urgent to its `page`"


def content_problems(folder: Path, knowledge: Knowledge, runs: Iterable[Run]) -> list[Problem]:
    """Return what is wrong with the content of the cards in `folder` (`cards/`).

    `runs` are the results of their cases.
    """
    problems = [*typed_numbers(folder, knowledge), *too_long(runs), *incomplete_orders(knowledge), *too_many_links(knowledge)]
    return problems + [Problem("cards/sources.yaml", 1, name, message) for name, message in refused_links(knowledge.sources)]


def too_long(runs: Iterable[Run]) -> Iterator[Problem]:
    """Report cards whose longest case exceeds the card's length; summary and detail are counted."""
    longest: dict[str, tuple[int, int, Run]] = {}
    for run in runs:
        for one in run.own:
            card = msgspec.json.decode(one.body)
            size = len(card["summary"]) + len(card["detail"])
            lines = sum(1 for line in card["detail"].splitlines() if line.strip())
            before = longest.get(run.case.card.id)
            if before is None or (size, lines) > before[:2]:
                longest[run.case.card.id] = (size, lines, run)
    for size, lines, run in longest.values():
        room = run.case.card.file.length
        if size > room.characters:
            yield run.case.problem(f"the card has {size} characters and may have {room.characters}; {_MOVE}")
        elif room.lines and lines > room.lines:
            yield run.case.problem(f"the card has {lines} lines and may have {room.lines}; {_MOVE}")


def incomplete_orders(knowledge: Knowledge) -> Iterator[Problem]:
    """Report offered drug orders that lack something a clinician needs to sign them."""
    for name, order in knowledge.orders.items():
        if order.get("resourceType") == "MedicationRequest" and "status" in order:  # the others change a draft
            place = knowledge.order_places[name]
            for lacking in _lacking(order):
                yield Problem(place.file, place.line, name, f"is not a complete order: it has no {lacking}")


def _lacking(order: Resource) -> Iterator[str]:
    dosage: Resource = next(iter(order.get("dosageInstruction", [])), {})
    dose = next((one["doseQuantity"] for one in dosage.get("doseAndRate", []) if "doseQuantity" in one), None)
    if dose is None:
        yield "dose (`dosageInstruction[0].doseAndRate[0].doseQuantity`)"
    elif str(dose.get("value", "")) not in dosage.get("text", ""):
        yield "text of the dosage that says its dose"
    if "frequency" not in dosage.get("timing", {}).get("repeat", {}) and "asNeededBoolean" not in dosage:
        yield "frequency (`dosageInstruction[0].timing.repeat`)"
    if "route" not in dosage:
        yield "route (`dosageInstruction[0].route`)"
    if not (order.get("reasonCode") or order.get("reasonReference")):
        yield "reason (`reasonCode`)"


def too_many_links(knowledge: Knowledge) -> Iterator[Problem]:
    """Report cards with more links than `MOST_LINKS`."""
    for card in knowledge.cards:
        if len(card.file.links) > MOST_LINKS:
            yield _of(
                card, "links", f"names {len(card.file.links)} sources; keep the {MOST_LINKS} most important; its page lists all"
            )


def _of(card: Card, path: str, message: str) -> Problem:
    return Problem(f"cards/{card.id}/card.yaml", 1, path, message)
