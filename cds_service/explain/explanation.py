"""The shape of an explanation: why each card fired or did not. `explain` makes it; as JSON it is what `explain --json` prints."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from cds_service.criteria.facts import Quarantined, Source
from cds_service.decide.decision import Outcome
from cds_service.explain.evidence import Seen
from cds_service.knowledge.card_file import Indicator

TruthWord = Literal["met", "unmet", "unknown"]
Effect = Literal["holds", "stops", "unsure"]


class Look(msgspec.Struct, frozen=True, omit_defaults=True):
    """One criterion of a card. It stops the card, leaves it unsure, or holds: is as wanted, or makes no difference."""

    name: str
    says: str  # the criterion in English
    wanted: Literal["met", "unmet"]
    truth: TruthWord
    effect: Effect
    found: str = ""  # the evidence in words, else where it looked or why it is not known
    cause: str = ""  # of an unknown: not_recorded, not_readable, not_obtained, failed
    policy: str = ""  # of an unknown: what the card does with it
    evidence: list[Seen] = []
    members: list[Look] = []  # where it is a group
    source: list[str] = []  # on whose word the card looks at it: ids of cards/sources.yaml, or engineering

    @property
    def because(self) -> str:
        """This criterion as a reason."""
        found = f" ({self.found})" if self.found else ""
        found += f" [{', '.join(self.source)}]" if self.source else ""
        if self.truth == "unknown":
            carried = "; the card then counts it as not met" if self.effect == "stops" else ""
            return f"not known: {self.says}{found}{carried}"
        return f"{'not met' if self.truth == 'unmet' else 'it is silent where this is met'}: {self.says}{found}"


class RowLook(msgspec.Struct):
    """One row of a card's table."""

    number: int  # from 1
    indicator: Indicator
    summary: str  # with its placeholders
    truth: TruthWord
    reached: bool  # False: an earlier row holds, or the card's common conditions stop it
    criteria: list[Look]


class CardLook(msgspec.Struct, omit_defaults=True):
    """One decision: a card about the patient, or about one order."""

    card: str
    title: str
    version: str
    outcome: Outcome
    because: str
    order: str = ""  # the order that it is about, in words
    row: int = 0  # that it fired with, from 1
    shadow: str = ""  # why it is logged and never shown
    said: bool = False  # what could not be checked is told to the clinician
    stops: list[str] = []  # the criteria behind `because`; were all of them otherwise, the card would go on
    conditions: list[Look] = []
    rows: list[RowLook] = []
    other_orders: list[OrderLook] = []

    @property
    def shown(self) -> bool:
        return self.outcome is Outcome.FIRED and not self.shadow


class OrderLook(msgspec.Struct):
    """An order that the card was not decided for."""

    order: str
    because: str


class Unused(msgspec.Struct, frozen=True):
    """A resource that was sent and of which the cards have nothing."""

    reference: str  # "Condition/123"; the type alone where it has no id
    source: str  # name of the prefetch key
    text: str
    code: str  # "system|code" of each coding, joined with ", "
    because: str


class Explanation(msgspec.Struct):
    """All decisions of one answer, in the order of the cards' ranks."""

    hook: str
    now: datetime
    sources: dict[str, Source]
    read: list[Seen]
    quarantined: list[Quarantined]
    unused: list[Unused]
    cards: list[CardLook]
    elsewhere: dict[str, list[str]]  # cards that do not speak at this hook, with the hooks at which they do
