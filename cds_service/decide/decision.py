"""Hold what one card decided, and the ways in which a decision can end."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.facts import Order
from cds_service.knowledge.knowledge import Card


class Outcome(StrEnum):
    """How a decision ends: the first five come from `judge`, the others from `choose` and from a drawing that fails."""

    FIRED = "fired"
    NOT_FIRED = "not_fired"
    COULD_NOT_CHECK = "could_not_check"
    NOT_APPLICABLE = "not_applicable"  # no card speaks about this patient; `reason` says why
    FAILED = "failed"  # the evaluation or the drawing broke; counted, logged, and said
    REPEATED = "repeated"  # fired, and was shown about the same not long ago
    GAVE_WAY = "gave_way"  # fired, and folded into a card that speaks about the same
    CAPPED = "capped"  # fired, and there were enough louder cards


class Decision(msgspec.Struct, frozen=True):
    """What one card decided, about the patient or about one order. A later stage makes a new one where it decides otherwise."""

    card: Card
    outcome: Outcome
    findings: Evaluator
    order: Order | None = None
    row: int = -1  # of the card's table, where it fired
    unknown: tuple[str, ...] = ()  # criteria that were unknown and mattered, in the order of the card
    reason: str = ""  # for could_not_check and not_applicable: in words for a clinician
    words: str = ""  # for could_not_check: what a laboratory wrote that could not be read, as it was sent
    say: bool = False  # for could_not_check and failed: the clinician is told
    gave_way_to: str = ""  # for gave_way: id of the card that speaks about the same
    about: str = ""  # what the card is about, where it fired and its repetition depends on it
    repeats: str = ""  # for repeated: uuid of the card that was shown before
    error: str = ""  # class of the exception, where it failed

    @property
    def shows(self) -> bool:
        """Whether this is a card that is shown to a clinician: it fired, nothing held it back, and it is live."""
        return self.outcome is Outcome.FIRED and self.card.live

    @property
    def indicator(self) -> Literal["", "info", "warning", "critical"]:
        """The indicator of the row that holds; "" where no row does."""
        return self.card.file.table[self.row].indicator if self.row >= 0 else ""
