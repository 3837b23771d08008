"""Adapt cards to what an EHR can do, as `cards/dialects.yaml` describes it. Pure.

A dialect changes the form of a card and the suggestions that it offers, never whether it is shown, its indicator or its detail:
every EHR gets the full information. A suggestion is offered as a whole or not at all, with one exception: several tests or
procedures to order (ServiceRequests) are independent of each other, so an EHR that takes one action at a time gets one suggestion
for each. Everything here except `shortened` runs once, when the cards load.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from cds_service.files.conversion_errors import Keys, suggestion
from cds_service.knowledge.card_file import ActionFile, CardFile, DialectFile, Resource, SuggestionFile

PLAIN = "plain"  # the name of plain CDS Hooks in dialects.yaml
_CONCEPTS = ("medicationCodeableConcept", "code")  # the members that say what is ordered


class Offer(msgspec.Struct, frozen=True):
    """A suggestion in a dialect.

    `file`: the suggestion, or one part of it with its own id. `whole`: the id of the whole suggestion.
    """

    file: SuggestionFile
    whole: str


def topic_code(code: str, dialect: DialectFile) -> str:
    """Return the topic code of a card in a dialect, always the same: EHRs key lockouts and overrides on it."""
    return "".join(char for char in code if char not in dialect.topic_drops)


def shortened(summary: str, limit: int) -> str:
    """Cut `summary` between words to at most `limit` characters, with an ellipsis."""
    if len(summary) <= limit:
        return summary
    kept, _, _ = summary[:limit].rpartition(" ")
    return f"{(kept or summary[: limit - 1]).rstrip(' ,;:.(')}…"


def creatable(orders: Mapping[str, Resource], dialect: DialectFile) -> dict[str, Resource]:
    """Return the `orders` (by name) that an EHR can create, with its codes."""
    return {
        name: coded
        for name, order in orders.items()
        if dialect.creates is None or order["resourceType"] in dialect.creates
        if (coded := _coded(order, dialect)) is not None
    }


def offers(card: CardFile, orders: Mapping[str, Resource], dialect: DialectFile) -> list[Offer]:
    """Return the suggestions of a card that an EHR can act on, in the order of the offer.

    Where an EHR would let its user choose several alternatives (see `narrowed`), only the first that applies may be offered;
    recommended ones come first.
    """
    created = creatable(orders, dialect)
    found = [part for item in card.suggestions for part in _parts(item, orders, created, dialect)]
    return sorted(found, key=lambda offer: not offer.file.recommended) if narrowed(card, dialect) else found


def narrowed(card: CardFile, dialect: DialectFile) -> bool:
    """Tell whether only one suggestion may be offered: alternatives for an EHR without "at-most-one"."""
    return dialect.any_only and card.selection == "at-most-one"


def _parts(
    item: SuggestionFile, orders: Mapping[str, Resource], created: Mapping[str, Resource], dialect: DialectFile
) -> Iterator[Offer]:
    able = [_can(action, orders, created, dialect) for action in item.actions]
    if dialect.one_action and len(item.actions) > 1:
        if not all(
            action.type == "create" and orders[action.resource]["resourceType"] == "ServiceRequest" for action in item.actions
        ):
            return  # a removal without its replacement, or a drug without its monitoring, is different advice
        for number, (action, can) in enumerate(zip(item.actions, able, strict=True), 1):
            if can:
                part = msgspec.structs.replace(item, id=f"{item.id}.{number}", label=action.description, actions=[action])
                yield Offer(part, item.id)
    elif all(able):
        actions = item.actions
        if dialect.medication_first:  # one transaction in the order of FHIR, not of the list (CDS Hooks 2.0, Suggestion)
            actions = sorted(actions, key=lambda action: not _names_medication(action, orders))
        yield Offer(msgspec.structs.replace(item, actions=actions), item.id)


def _can(action: ActionFile, orders: Mapping[str, Resource], created: Mapping[str, Resource], dialect: DialectFile) -> bool:
    match action.type:
        case "create":
            return action.resource in created
        case "update":
            return dialect.updates is None or orders[action.resource]["resourceType"] in dialect.updates
    return dialect.deletes


def _names_medication(action: ActionFile, orders: Mapping[str, Resource]) -> bool:
    """Tell whether the resource of an action has a medication with text and code; a changed order does."""
    if action.type == "update":
        return True
    concept = orders[action.resource].get("medicationCodeableConcept", {}) if action.type == "create" else {}
    return bool(concept.get("text") and concept.get("coding") and concept["coding"][0].get("code"))


def _coded(order: Resource, dialect: DialectFile) -> Resource | None:
    """Return the order with only the codes that the EHR accepts, by its system names; None where none."""
    if dialect.code_systems is None:
        return order
    for concept in _CONCEPTS:
        if concept in order:
            codings = [coding for one in order[concept].get("coding", []) if (coding := _coding(one, dialect)) is not None]
            return {**order, concept: {**order[concept], "coding": codings}} if codings else None
    return None


def _coding(coding: Resource, dialect: DialectFile) -> Resource | None:
    if (own := dialect.codes.get(_key(coding))) is not None:
        display = own.display or coding.get("display", "")
        return {"system": own.system, "code": own.code, **({"display": display} if display else {})}
    system = (dialect.code_systems or {}).get(coding["system"])
    return {**coding, "system": system} if system is not None else None


def _key(coding: Resource) -> str:
    return f"{coding['system']}|{coding['code']}"


def dialect_problems(
    dialects: Mapping[str, DialectFile], cards: Iterable[str], orders: Mapping[str, Resource]
) -> Iterator[tuple[Keys, str]]:
    """Yield the errors of dialects: (keys of the place in dialects.yaml, error and remedy)."""
    if PLAIN not in dialects:
        yield (), f"must have `{PLAIN}`, for EHRs without a dialect"
    known = {
        _key(coding) for order in orders.values() for concept in _CONCEPTS for coding in order.get(concept, {}).get("coding", [])
    }
    for name, dialect in dialects.items():
        for key in dialect.codes:
            if key not in known:
                yield (name, "codes", key), f"no order has this code{suggestion(key, known)}"
        codes: dict[str, str] = {}
        for card in cards:
            code = topic_code(card, dialect)
            if not 0 < len(code) <= dialect.topic_limit:
                yield (name, "topic_limit"), f"the topic code of {card} has {len(code)} characters"
            if code in codes:
                yield (name, "topic_drops"), f"{codes[code]} and {card} would both be `{code}`"
            codes[code] = card
