"""Draw the suggestions of a card as JSON, without needless ones. Pure.

Needless: another card offers the same, it was measured lately, or the patient takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from hashlib import sha1
from itertools import takewhile
from typing import Any
from uuid import UUID

import msgspec

from cds_service.criteria.facts import Facts, Order
from cds_service.criteria.findings import conditions
from cds_service.knowledge.card_file import Resource, SuggestionFile
from cds_service.knowledge.dialects import Offer
from cds_service.knowledge.templates import Template
from cds_service.present.changed_order import patched_order
from cds_service.terminology.terminology import Terminology

LABEL_LIMIT = 80
AGAIN = "repeat-"  # prefix of the names of orders that are offered despite a recent result
_NAMESPACE = UUID("5b0a6f4e-6c1f-5a53-9f5c-2f6b5f0a7c11").bytes
_CONCEPTS = ("medicationCodeableConcept", "code")

_encode = msgspec.json.Encoder().encode
Render = Callable[[str, str], str]  # (name, field) of a placeholder -> its text


def derived_uuid(name: str) -> str:
    """Return the UUID (version 5) of a name."""
    digest = sha1(_NAMESPACE + name.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def suggestion_uuid(card: str, suggestion: str) -> str:
    """Return the uuid of a suggestion of the card with the uuid `card`."""
    return derived_uuid(f"{card}|{suggestion}")


class Ordered(msgspec.Struct, frozen=True):
    """The order that an action would create.

    `key`: the same for the same test or drug in every card.
    """

    key: str
    analyte: str = ""  # of a laboratory test that a recent result makes needless
    ingredients: frozenset[str] = frozenset()


def ordered(name: str, resource: Resource, terminology: Terminology) -> Ordered:
    """Return what the order `name` of orders.yaml would order."""
    kind = resource["resourceType"]
    concept: Resource = next((resource[one] for one in _CONCEPTS if one in resource), {})
    codings = [(one.get("system"), one.get("code")) for one in concept.get("coding", [])]
    key = f"{kind} " + ("|".join(map(str, codings[0])) if codings else concept.get("text", name))
    if kind == "MedicationRequest":
        return Ordered(key, ingredients=frozenset(terminology.drug(codings, (concept.get("text", ""),)).ingredients))
    planned = any(field.startswith("occurrence") for field in resource)  # a series to come: one result does not make it needless
    lab = terminology.lab(codings[0][0], str(codings[0][1])) if codings and not planned and not name.startswith(AGAIN) else None
    return Ordered(key, analyte=lab.analyte if lab is not None else "")


class Needless:
    """The orders that need not be offered in one response.

    Those that it offers already, tests measured `lately`, drugs that the patient takes.
    """

    def __init__(self, facts: Facts, lately: timedelta) -> None:
        self._facts = facts
        self._lately = lately
        self.offered: set[str] = set()

    def __contains__(self, order: Ordered) -> bool:
        return (
            order.key in self.offered
            or (bool(order.analyte) and self._measured(order.analyte))
            or (bool(order.ingredients) and not order.ingredients.isdisjoint(self._taken))
        )

    def _measured(self, analyte: str) -> bool:
        series = self._facts.labs.get(analyte)
        since = self._facts.now - self._lately
        return series is not None and any(lab.effective.start >= since for lab in series.results if not lab.preliminary)

    @cached_property
    def _taken(self) -> frozenset[str]:
        """Return the ingredients of active medications and of draft orders that start one."""
        drafted = (order.drug for order in self._facts.orders if order.drug is not None and order.action == "start")
        return frozenset(name for drug in (*self._facts.drugs, *drafted) for name in drug.ingredients)


class Suggestion:
    """One suggestion as a JSON template; `cds-service cards check` validates its resources as R4B."""

    def __init__(
        self, offer: Offer, created: Mapping[str, Resource], orders: Mapping[str, Resource], terminology: Terminology
    ) -> None:
        self.file = item = offer.file
        self.whole = offer.whole
        self.required = conditions(item.when, item.unless)
        self._created = created
        self._update = next((orders[action.resource] for action in item.actions if action.type == "update"), None)
        self._deletes = any(action.type == "delete" for action in item.actions)
        creates = [action for action in item.actions if action.type == "create"]
        self._ordered = [ordered(action.resource, orders[action.resource], terminology) for action in creates]
        # A replacement is judged as a whole by the card; of several tests each may be left out.
        self._judged = bool(creates) and len(creates) == len(item.actions)
        self._tests = self._judged and all(orders[one.resource]["resourceType"] == "ServiceRequest" for one in creates)
        self._json = {tuple(range(len(item.actions))): Template(_encode(self._built(item)).decode())}
        self._all = tuple(range(len(item.actions)))

    def _built(self, item: SuggestionFile) -> dict[str, Any]:
        suggestion: dict[str, Any] = {"label": cut(item.label), "uuid": "{suggestion.uuid}"}
        if item.recommended:
            suggestion["isRecommended"] = True
        suggestion["actions"] = actions = []
        for action in item.actions:
            built: dict[str, Any] = {"type": action.type, "description": action.description}
            match action.type:
                case "create":
                    built["resource"] = self._created[action.resource]
                case "delete":
                    built["resourceId"] = "{order.reference}"
                case "update":
                    built["resource"] = msgspec.Raw(b"{order.changed}")
            actions.append(built)
        return suggestion

    def draw(self, card: str, render: Render, order: Order | None) -> DrawnSuggestion | None:
        """Draw the suggestion with all its actions, for the card with the uuid `card`.

        None where the order has no id to refer to, or can't be changed as suggested.
        """
        changed = patched_order(order, self._update) if self._update is not None and order is not None else b""
        named = order is not None and order.reference
        if (self._deletes and not named) or (self._update is not None and not changed):
            return None

        def render_json(name: str, field: str) -> str:
            if field == "uuid":
                return suggestion_uuid(card, self.file.id)
            if field == "changed":
                return changed.decode()
            return _encode(render(name, field))[1:-1].decode()

        return DrawnSuggestion(self, render_json, self._json[self._all].render(render_json).encode(), changed)

    def needed(self, needless: Needless) -> tuple[int, ...]:
        """Return the positions of the actions to offer: all, some of several tests, or none."""
        if not self._judged:
            return self._all
        needed = tuple(position for position, one in enumerate(self._ordered) if one not in needless)
        return needed if self._tests or len(needed) == len(self._all) else ()

    def keys(self, positions: Sequence[int]) -> list[str]:
        """Return the keys of what the actions at `positions` order."""
        return [self._ordered[position].key for position in positions] if self._judged else [one.key for one in self._ordered]

    def json(self, drawn: DrawnSuggestion, positions: tuple[int, ...]) -> bytes:
        """Return the JSON with the actions at `positions`; it cannot fail, as all actions were drawn before."""
        return drawn.whole_json if positions == self._all else self._template(positions).render(drawn.render).encode()

    def _template(self, positions: tuple[int, ...]) -> Template:
        """Return the template for `positions`, whose label names only their tests."""
        found = self._json.get(positions)
        if found is None:
            actions = [self.file.actions[position] for position in positions]
            label = _joined([action.description for action in actions])
            part = msgspec.structs.replace(self.file, label=cut(label), actions=actions)
            found = self._json[positions] = Template(_encode(self._built(part)).decode())
        return found


class DrawnSuggestion(msgspec.Struct, frozen=True, gc=False):
    """A suggestion for one patient; some actions may still be left out."""

    suggestion: Suggestion
    render: Render  # each placeholder as JSON
    whole_json: bytes
    changed_order: bytes  # the JSON of the received order as this suggestion changes it; b"" where it changes none


def _joined(descriptions: Sequence[str]) -> str:
    """Join descriptions into one label, with their common first words once."""
    words = [description.split() for description in descriptions]
    same = len(list(takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False))))
    return ", ".join([*descriptions[:1], *(" ".join(one[same:]) for one in words[1:])])


def cut(text: str) -> str:
    """Cut `text` to `LABEL_LIMIT` characters."""
    return text if len(text) <= LABEL_LIMIT else f"{text[: LABEL_LIMIT - 1].rstrip()}…"
