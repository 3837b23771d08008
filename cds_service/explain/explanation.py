"""Define an explanation: why each card fired or did not.

Its JSON is the output of `explain --json`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from cds_service.criteria.facts import Quarantined, Source
from cds_service.decide.decision import Outcome
from cds_service.explain.evidence import EvidenceRow
from cds_service.knowledge.card_file import Indicator

TruthWord = Literal["met", "unmet", "unknown"]
Effect = Literal["holds", "stops", "unsure"]


class CriterionExplanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Explain one criterion of a card.

    It stops the card, leaves it unsure, or holds: is as wanted, or makes no difference.
    """

    name: str
    says: str  # the criterion in English
    wanted: Literal["met", "unmet"]
    truth: TruthWord
    effect: Effect
    found: str = ""  # the evidence in words, else what was searched or why it is unknown
    cause: str = ""  # of an unknown: not_recorded, not_readable, not_obtained, failed
    policy: str = ""  # of an unknown: what the card does with it
    evidence: list[EvidenceRow] = []
    members: list[CriterionExplanation] = []  # where it is a group
    source: list[str] = []  # what it rests on: ids of cards/sources.yaml, or engineering

    @property
    def because(self) -> str:
        """Return this criterion as a reason."""
        found = f" ({self.found})" if self.found else ""
        found += f" [{', '.join(self.source)}]" if self.source else ""
        if self.truth == "unknown":
            carried = "; the card then counts it as not met" if self.effect == "stops" else ""
            return f"not known: {self.says}{found}{carried}"
        return f"{'not met' if self.truth == 'unmet' else 'it does not fire where this is met'}: {self.says}{found}"


class RowExplanation(msgspec.Struct):
    """Explain one row of a card's table."""

    number: int  # from 1
    indicator: Indicator
    summary: str  # with its placeholders
    truth: TruthWord
    reached: bool  # False: an earlier row holds, or the card's common conditions stop it
    criteria: list[CriterionExplanation]


class CardExplanation(msgspec.Struct, omit_defaults=True):
    """Explain one decision: a card about the patient, or about one order."""

    card: str
    title: str
    version: str
    outcome: Outcome
    because: str
    order: str = ""  # the order that it is about, in words
    row: int = 0  # with which it fired, from 1
    shadow: str = ""  # why it is logged and never shown
    said: bool = False  # whether the clinician gets a notice of what could not be checked
    said_before: bool = False  # whether the same user got that notice before, so that it is not given again
    stops: list[str] = []  # the criteria behind `because`: the card would go on if each had the other truth
    conditions: list[CriterionExplanation] = []
    rows: list[RowExplanation] = []
    other_orders: list[OrderExplanation] = []

    @property
    def shown(self) -> bool:
        return self.outcome is Outcome.FIRED and not self.shadow


class OrderExplanation(msgspec.Struct):
    """Explain why a card was not decided for an order."""

    order: str
    because: str


class Unused(msgspec.Struct, frozen=True):
    """Name a resource that was sent and that no card uses, with the reason."""

    reference: str  # "Condition/123"; the type alone where it has no id
    source: str  # name of the prefetch key
    text: str
    code: str  # "system|code" of each coding, joined with ", "
    because: str


class Explanation(msgspec.Struct):
    """Explain all decisions of one response, in the order of the cards' ranks."""

    hook: str
    now: datetime
    sources: dict[str, Source]
    read: list[EvidenceRow]
    quarantined: list[Quarantined]
    unused: list[Unused]
    cards: list[CardExplanation]
    elsewhere: dict[str, list[str]]  # cards that are not evaluated at this hook, with their hooks; none: retired
