"""Decide and draw once more what the facts of a record say, without I/O and without a clock."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cds_service.alert_log.evaluation_rows import evaluations_json
from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.criteria.facts import Facts, Order, PriorCard
from cds_service.decide.choose import choose
from cds_service.decide.decision import Decision
from cds_service.decide.judge import judge
from cds_service.present.card_template import Drawn, Shown
from cds_service.replay.knowledge import Cards

# The order that a suggestion changes is not kept. One stands in for it that can be changed, or one that can't.
CHANGEABLE = (
    b'{"resourceType":"MedicationRequest","status":"draft","intent":"order","subject":{"reference":"Patient/x"},'
    b'"medicationCodeableConcept":{"text":"x"}}'
)
UNCHANGEABLE = b"{}"
KEPT_CHANGE = b'{"resourceType":"MedicationRequest"}'  # what the record holds in place of a changed order


class Judged(msgspec.Struct, frozen=True):
    """Decisions before any is held back, each with its drawn card or None."""

    facts: Facts
    decisions: list[Decision]
    drawn: list[Drawn | None]


class Again(msgspec.Struct, frozen=True):
    """A decided record. Cards are ordered as those of a body: shown, in shadow, held back."""

    decisions: list[Decision]
    shown: list[Shown]
    shadows: list[Shown]
    held_back: list[Shown]
    facts: Facts

    def evaluations(self) -> bytes:
        """Return the evaluations as a body holds them."""
        return evaluations_json(self.decisions, AS_KEPT, self.facts)

    def cards(self) -> list[bytes]:
        """Return the cards' JSON, each changed order as a body holds it."""
        return [_kept(one) for one in (*self.shown, *self.shadows, *self.held_back)]


class _AsKept(Pseudonyms):
    """Pass through the ids in a record's facts, which are hashes already."""

    def __init__(self) -> None:
        dict.__init__(self)

    def __call__(self, kind: str, value: str) -> str:
        return value

    def order(self, order: Order) -> str:
        return order.key


AS_KEPT = _AsKept()


def decide_again(facts: Facts, cards: Cards, hook_instance: str, dialect: str, stand_in: bytes = CHANGEABLE) -> Again:
    """Decide the facts of a record with `cards`, with the cards shown before that the record names."""
    judged = judge_again(facts, cards, hook_instance, dialect, stand_in)
    return choose_again(judged, facts.prior_cards, cards, hook_instance, dialect)


def judge_again(facts: Facts, cards: Cards, hook_instance: str, dialect: str, stand_in: bytes = CHANGEABLE) -> Judged:
    """Judge and draw. A card that raises is FAILED, with the class of its error, as in a call."""
    if facts.orders:
        change = msgspec.structs.replace
        facts = change(facts, orders=tuple([change(order, raw=stand_in) for order in facts.orders]))
    decisions = judge(facts, cards.knowledge, _nothing)
    decisions, drawn = cards.presenter.draw(decisions, facts, hook_instance, _nothing, dialect)
    return Judged(facts, decisions, drawn)


def choose_again(judged: Judged, prior: Sequence[PriorCard], cards: Cards, hook_instance: str, dialect: str) -> Again:
    """Choose which cards are shown, where those in `prior` were shown before."""
    knowledge, presenter = cards.knowledge, cards.presenter
    facts = judged.facts
    chosen = choose(
        judged.decisions,
        prior,
        hook=facts.hook,
        now=facts.now,
        answer_counts=knowledge.engineering.answer_counts.span,
        most=knowledge.labels.most_cards,
    )
    shown, shadows = presenter.compose(chosen, judged.drawn, facts, hook_instance, dialect)
    return Again(chosen, shown, shadows, presenter.held_back(chosen, judged.drawn, facts, dialect), facts)


def _nothing(name: str, error: Exception) -> None:
    """Take note of a failure: the decision names it, and no metric of the service must count it once more."""


def _kept(one: Shown) -> bytes:
    body = one.body
    for changed in one.changed_orders:
        body = body.replace(changed, KEPT_CHANGE)
    return body
