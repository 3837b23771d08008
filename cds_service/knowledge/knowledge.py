"""Hold the compiled cards with their shared criteria, citations, orders and texts.

`loader.read_knowledge` reads and checks the files. This module reads no file, and a `Knowledge` never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cds_service.criteria.findings import conditions
from cds_service.criteria.kinds import Criterion
from cds_service.files.yaml_file import Place
from cds_service.knowledge.card_file import (
    CardFile,
    DialectFile,
    LabelsFile,
    NoticeFile,
    OverrideFile,
    Policy,
    ServicesFile,
    SourceFile,
    SuggestionFile,
)
from cds_service.knowledge.names_used import named_in, with_children
from cds_service.knowledge.overlay import Overlay
from cds_service.knowledge.services import ServiceDefinition, derive_services
from cds_service.knowledge.templates import Template
from cds_service.knowledge.thresholds import Threshold
from cds_service.terminology.terminology import Terminology

ShadowRule = Callable[[CardFile, str], str]


def unless_active(card: CardFile, _: str) -> str:
    """Return why a card is not shown without a site's approvals: its status, unless it is active."""
    return "" if card.status == "active" else card.status


class Card:
    """One compiled card: names of criteria resolved, texts as templates.

    `live`: it is shown. Otherwise it runs in shadow, for the reason in `why_shadow`: it is evaluated and logged, never shown, and
    no card gives way to it.
    """

    def __init__(
        self, file: CardFile, content_hash: str, criteria: Mapping[str, Criterion], shadow: ShadowRule = unless_active
    ) -> None:
        self.file = file
        self.id = file.id
        self.hash = content_hash
        self.why_shadow = shadow(file, content_hash)
        self.live = not self.why_shadow
        self.criteria: dict[str, Criterion] = {name: criteria[name] for name in with_children(named_in(file), criteria)}
        self.groups = frozenset(name for name, criterion in self.criteria.items() if criterion.children)
        self.members = {
            name: [one for one in with_children([name], criteria) if one not in self.groups] for name in self.criteria
        }
        self.conditions = conditions(file.fire_when, file.unless)  # of all rows
        self.conditions_of_rows = [conditions(row.when, row.unless) for row in file.table]
        explaining = [name for paragraph in file.detail for name in paragraph.when]
        # By row: the criteria that a card which fires with it uses.
        self.used_with = [tuple(dict.fromkeys((*file.fire_when, *row.when, *explaining))) for row in file.table]
        self.summaries = [Template(row.summary) for row in file.table]
        self.paragraphs = [(conditions(one.when, one.unless), one.same_line, Template(one.text)) for one in file.detail]
        self._policies: dict[tuple[str, bool], Policy] = {}
        for name in self.criteria:
            self._policies[name, False] = file.on_unknown.get(name, "say_so")
            self._policies[name, True] = file.on_missing.get(name, "carry_on")

    def policy(self, criterion: str, *, missing: bool) -> Policy:
        """Return the policy where `criterion` is unknown; `missing`: the data are complete, nothing is recorded."""
        return self._policies[criterion, missing]

    @property
    def suggestions(self) -> list[SuggestionFile]:
        """Return the suggestions of the file."""
        return self.file.suggestions


class Knowledge:
    """All knowledge of one `cards/` folder.

    `hash`: of the content; with an overlay "<hash of cards/>+<hash of the overlay>". `overlay_hash`: its second part.
    """

    def __init__(
        self,
        *,
        cards: Sequence[Card],
        criteria: Mapping[str, Criterion],
        sources: Mapping[str, SourceFile],
        orders: Mapping[str, dict[str, Any]],
        overrides: Mapping[str, OverrideFile],
        services: ServicesFile,
        notice: NoticeFile,
        labels: LabelsFile,
        dialects: Mapping[str, DialectFile],
        terminology: Terminology,
        content_hash: str,
        thresholds: Mapping[str, Threshold] = MappingProxyType({}),
        named: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
        overlay: Overlay | None = None,
        order_places: Mapping[str, Place] | None = None,
    ) -> None:
        self.cards = tuple(sorted(cards, key=lambda card: (card.file.rank, card.id)))
        self.criteria = dict(criteria)
        self.sources = dict(sources)
        self.orders = dict(orders)
        self.overrides = dict(overrides)
        self.notice = notice
        self.labels = labels
        self.dialects = dict(dialects)
        self.terminology = terminology
        self.engineering = terminology.engineering
        self.thresholds = dict(thresholds)
        self.named = {name: dict(fields) for name, fields in named.items() if fields}  # criterion -> field -> threshold
        self.overlay = overlay
        self.overlay_hash = overlay.hash if overlay is not None else ""
        self.hash = f"{content_hash}+{self.overlay_hash}" if self.overlay_hash else content_hash
        self.order_places = dict(order_places or {})  # where each order was written
        self.per_order = frozenset(  # names of the criteria that depend on the order
            name for name in criteria if any(criteria[below].per_order for below in with_children([name], criteria))
        )
        self._at: dict[str, tuple[Card, ...]] = {
            service.hook: tuple(card for card in self.cards if service.hook in card.file.hooks and card.file.status != "retired")
            for service in services.services
        }
        needed = {hook: [item for card in at for item in card.criteria.values()] for hook, at in self._at.items()}
        self.services: tuple[ServiceDefinition, ...] = derive_services(services, needed, terminology)

    def cards_at(self, hook: str) -> tuple[Card, ...]:
        """Return the cards that are evaluated at a hook, drafts included, in rank order."""
        return self._at[hook]

    def card(self, card_id: str) -> Card | None:
        """Return the card with this id; None where there is none."""
        return next((card for card in self.cards if card.id == card_id), None)
