"""Dialects: what an EHR can do with a card differs, and `cards/dialects.yaml` says how. Pure.

A dialect changes how a card is presented and which suggestions it offers, never whether it is shown, how loud it is or what its
detail says: an EHR that can do less is not told less. A suggestion is offered as a whole or not at all, with one exception:
several tests or procedures to order (ServiceRequests) are independent of each other, so that an EHR that takes one action at a
time gets one suggestion for each. Everything here happens once, when the cards load, but for `shortened`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from cds_service.files.conversion_errors import Keys, suggestion
from cds_service.knowledge.card_file import ActionFile, CardFile, DialectFile, Resource, SuggestionFile

PLAIN = "plain"  # the name of plain CDS Hooks in dialects.yaml
_CONCEPTS = ("medicationCodeableConcept", "code")  # where an order says what is ordered


class Offer(msgspec.Struct, frozen=True):
    """A suggestion as a dialect offers it: `file`, or one part of it with an id of its own; `whole` is the id of all of it."""

    file: SuggestionFile
    whole: str


def topic_code(code: str, dialect: DialectFile) -> str:
    """The topic code of a card in a dialect: the same at every call, as EHRs key lockouts and override reasons on it."""
    return "".join(char for char in code if char not in dialect.topic_drops)


def shortened(summary: str, limit: int) -> str:
    """`summary` cut between words, with an ellipsis, so that it has at most `limit` characters."""
    if len(summary) <= limit:
        return summary
    kept, _, _ = summary[:limit].rpartition(" ")
    return f"{(kept or summary[: limit - 1]).rstrip(' ,;:.(')}…"


def creatable(orders: Mapping[str, Resource], dialect: DialectFile) -> dict[str, Resource]:
    """Those of `orders` (by name) that an EHR can create, with the codes by which it orders them."""
    return {
        name: coded
        for name, order in orders.items()
        if dialect.creates is None or order["resourceType"] in dialect.creates
        if (coded := _coded(order, dialect)) is not None
    }


def offers(card: CardFile, orders: Mapping[str, Resource], dialect: DialectFile) -> list[Offer]:
    """The suggestions of a card that an EHR can act on, in the order in which they are offered.

    Where an EHR would let its user choose several of what are alternatives (see `narrowed`), only the first that applies may be
    offered; those that are recommended come first.
    """
    created = creatable(orders, dialect)
    found = [part for item in card.suggestions for part in _parts(item, orders, created, dialect)]
    return sorted(found, key=lambda offer: not offer.file.recommended) if narrowed(card, dialect) else found


def narrowed(card: CardFile, dialect: DialectFile) -> bool:
    """Whether only one suggestion of a card may be offered: they are alternatives, and the EHR can't be told so."""
    return dialect.any_only and card.selection == "at-most-one"


def _parts(
    item: SuggestionFile, orders: Mapping[str, Resource], created: Mapping[str, Resource], dialect: DialectFile
) -> Iterator[Offer]:
    able = [_can(action, orders, created, dialect) for action in item.actions]
    if dialect.one_action and len(item.actions) > 1:
        if not all(
            action.type == "create" and orders[action.resource]["resourceType"] == "ServiceRequest" for action in item.actions
        ):
            return  # a removal without what replaces it, or a drug without its monitoring, is another advice
        for number, (action, can) in enumerate(zip(item.actions, able, strict=True), 1):
            if can:
                part = msgspec.structs.replace(item, id=f"{item.id}.{number}", label=action.description, actions=[action])
                yield Offer(part, item.id)
    elif all(able):
        actions = item.actions
        if dialect.medication_first:  # one transaction, in FHIR's order and not in that of the list (CDS Hooks 2.0, Suggestion)
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
    """Whether the resource of an action has a medication with text and code; a changed order has that which was received."""
    if action.type == "update":
        return True
    concept = orders[action.resource].get("medicationCodeableConcept", {}) if action.type == "create" else {}
    return bool(concept.get("text") and concept.get("coding") and concept["coding"][0].get("code"))


def _coded(order: Resource, dialect: DialectFile) -> Resource | None:
    """The order with those of its codes that the EHR accepts, in its names of their systems; None where it accepts none."""
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
    """What is wrong with dialects: (keys of the place in dialects.yaml, what is wrong and what to do)."""
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
