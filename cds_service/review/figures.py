"""Turn counts of the roll-ups into the rates of cards and clients, as `review.definitions` defines them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple, TypeVar

import msgspec

from cds_service.database import Database
from cds_service.decide.decision import NOT_CHECKED
from cds_service.knowledge.knowledge import Knowledge
from cds_service.review.rate import ENOUGH_COVERAGE, Rate, bounds, per_100, share
from cds_service.rollups.filter import Filter
from cds_service.rollups.queries import (
    Cards,
    Evaluations,
    card_counts,
    denominators,
    evaluation_counts,
    reason_counts,
)

Counted = TypeVar("Counted", Cards, Evaluations)


class Reasons(NamedTuple):
    """Overridden cards. Both numbers are of the counts of reasons, which follow fewer filters than those of cards."""

    overridden: int
    given: int  # with a reason


NO_REASONS = Reasons(0, 0)
NO_CARDS = Cards({}, *(0 for _ in range(9)))
NO_EVALUATIONS = Evaluations({}, {}, 0)


class CardFigures(msgspec.Struct, frozen=True):
    """All figures of one card under a filter."""

    card: str
    title: str
    version: str  # that the service has now; "" where the card is no longer among them
    status: str
    shown: int
    held_back: int  # fired, and not shown: repeated, gave way, capped
    fire_rate: Rate
    per_100_orders: Rate | None  # None for a card that is about no order
    acceptance: Rate
    coverage: Rate
    override: Rate
    reasoned: Rate
    repeat: Rate
    could_not_check: Rate


class Counts(msgspec.Struct, frozen=True):
    """What the roll-ups hold of all cards under a filter, each table read once."""

    cards: Mapping[str, Cards]  # by card
    evaluations: Mapping[str, Evaluations]
    reasons: Mapping[str, Reasons]
    orders: int

    @classmethod
    def of(cls, database: Database, chosen: Filter) -> Counts:
        """Read them."""
        return cls(
            by_name(card_counts(database, chosen), "card"),
            by_name(evaluation_counts(database, chosen), "card"),
            reasons_given(database, chosen),
            orders_of(database, chosen),
        )

    def figures(self, knowledge: Knowledge) -> list[CardFigures]:
        """Return the figures of each card, in the order of the service's cards, others after them."""
        known = [one.id for one in knowledge.cards]
        listed = [one for one in known if one in self.evaluations or one in self.cards]
        listed += sorted((self.cards.keys() | self.evaluations.keys()) - set(known))
        return [
            card_figures(
                one,
                knowledge,
                self.cards.get(one, NO_CARDS),
                self.evaluations.get(one, NO_EVALUATIONS),
                self.reasons.get(one, NO_REASONS),
                self.orders,
            )
            for one in listed
        ]

    def all_cards(self) -> Cards:
        """Return the counts of all cards together."""
        names = [field.name for field in fields(Cards) if field.name != "of"]
        return Cards({}, **{name: sum(getattr(one, name) for one in self.cards.values()) for name in names})

    def all_evaluations(self) -> Evaluations:
        """Return the evaluations of all cards together."""
        outcomes: Counter[str] = Counter()
        for one in self.evaluations.values():
            outcomes.update(one.outcomes)
        return Evaluations({}, outcomes, sum(one.not_applicable for one in self.evaluations.values()))


def card_figures(
    card: str, knowledge: Knowledge, cards: Cards, evaluations: Evaluations, reasons: Reasons, orders: int
) -> CardFigures:
    """Return the figures of one card from its counts; `orders`: distinct orders of the calls."""
    found = knowledge.card(card)
    return CardFigures(
        card=card,
        title=title_of(knowledge, card),
        version=found.file.version if found else "",
        status=found.file.status if found else "",
        shown=cards.shown,
        held_back=cards.held_back,
        fire_rate=fire_rate(evaluations),
        per_100_orders=None if cards.shown and not cards.about_orders else per_100_orders(cards, orders),
        acceptance=acceptance(cards),
        coverage=coverage(cards),
        override=bounds("override", cards.overridden, cards.shown - cards.accepted, cards.shown),
        reasoned=share("reasoned", reasons.given, reasons.overridden),
        repeat=share("repeat", cards.repeated, cards.shown),
        could_not_check=could_not_check(evaluations),
    )


def title_of(knowledge: Knowledge, card: str) -> str:
    """Return the title of a card; its id where the service no longer has it."""
    if card == NOT_CHECKED:
        return "Notice of what was not checked"
    found = knowledge.card(card)
    return found.file.title if found else card


def by_name(rows: Sequence[Counted], name: str) -> dict[str, Counted]:
    """Return counts by the value of one field."""
    return {str(row.of[name]): row for row in rows}


def reasons_given(database: Database, chosen: Filter) -> dict[str, Reasons]:
    """Return how many cards were overridden, and how many of them with a reason, by card."""
    found: dict[str, Reasons] = {}
    for row in reason_counts(database, chosen):
        overridden, given = found.get(row["card"], NO_REASONS)
        found[row["card"]] = Reasons(overridden + row["n"], given + (row["n"] if row["reason"] else 0))
    return found


def orders_of(database: Database, chosen: Filter) -> int:
    """Return the distinct orders of the calls of all hooks.

    An order is counted at the hook of its first call: of one hook alone, the orders that were selected before they were signed
    would be missing.
    """
    return next((row.orders for row in denominators(database, chosen.without("hook"))), 0)


def fire_rate(evaluations: Evaluations) -> Rate:
    """Return how often the criteria were met, of what could be decided."""
    return share("fire_rate", evaluations.fired, evaluations.checked)


def could_not_check(evaluations: Evaluations) -> Rate:
    """Return how often a card could not be checked, of what applied."""
    unchecked = evaluations.could_not_check + evaluations.failed
    return share("could_not_check", unchecked, evaluations.checked + unchecked)


def coverage(cards: Cards) -> Rate:
    """Return how many shown cards got feedback."""
    return share("coverage", cards.answered, cards.shown)


def acceptance(cards: Cards) -> Rate:
    """Return how many were accepted, of those with feedback."""
    low = bool(cards.shown) and cards.answered < ENOUGH_COVERAGE * cards.shown
    return share("acceptance", cards.accepted, cards.answered, low_coverage=low)


def per_100_orders(cards: Cards, orders: int) -> Rate:
    """Return shown cards about orders for each 100 orders."""
    return per_100("per_100_orders", cards.about_orders, orders)


def flat(figures: CardFigures) -> Mapping[str, Any]:
    """Return the figures as one row for CSV, each rate as five columns."""
    row: dict[str, Any] = {}
    for name in figures.__struct_fields__:
        value = getattr(figures, name)
        if name in RATES:
            for part in ("numerator", "denominator", "value", "low", "high"):
                row[f"{name}_{part}"] = None if value is None else getattr(value, part)
        else:
            row[name] = value
    return row


RATES = ("fire_rate", "per_100_orders", "acceptance", "coverage", "override", "reasoned", "repeat", "could_not_check")
