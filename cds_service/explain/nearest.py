"""Find the cards that came nearest to firing, for a response without cards. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cds_service.decide.decision import Outcome
from cds_service.explain.explanation import CardExplanation, CriterionExplanation, Explanation


class Near(NamedTuple):
    """A card that did not fire, and the criteria that it missed."""

    card: CardExplanation
    missed: list[CriterionExplanation]

    @property
    def words(self) -> str:
        """Return what it missed, in words."""
        return "; ".join(f"{'not met' if one.wanted == 'met' else 'it may not be met'}: {one.says}" for one in self.missed)


def nearest(explanation: Explanation, most: int = 3) -> list[Near]:
    """Return the cards that came nearest, at most `most`, the nearest first.

    Before all others come cards for which something in the chart speaks; among these the one that misses the fewest criteria, in
    its common conditions and the row of its table that came closest.
    """
    found = [_measured(card) for card in explanation.cards if card.outcome is Outcome.NOT_FIRED and not card.shadow]
    found.sort(key=lambda one: (one[1] == 0, len(one[0].missed), -one[1]))
    return [near for near, _ in found[:most] if near.missed]


def _measured(card: CardExplanation) -> tuple[Near, int]:
    """Return a card with what it missed, and how many of its criteria something in the chart meets."""
    closest = min(reversed(card.rows), key=lambda row: len(_missed(row.criteria)))  # equally close ones: the rarest come first
    criteria = [*card.conditions, *closest.criteria]
    spoken_for = sum(one.truth == one.wanted == "met" and bool(one.evidence) for one in criteria)
    return Near(card, _missed(criteria)), spoken_for


def _missed(criteria: Iterable[CriterionExplanation]) -> list[CriterionExplanation]:
    return [one for one in criteria if one.effect == "stops"]
