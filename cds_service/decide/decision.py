"""Define the decision of one card and its possible outcomes."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.facts import ORDERS_NOT_SENT, Order
from cds_service.knowledge.knowledge import Card

NOT_CHECKED = "not-checked"  # the topic of the notice, and its name in the log


class Outcome(StrEnum):
    """The outcomes of a decision.

    `judge` gives the first five; `choose` the last three. A drawing that fails gives FAILED too.
    """

    FIRED = "fired"
    NOT_FIRED = "not_fired"
    COULD_NOT_CHECK = "could_not_check"
    NOT_APPLICABLE = "not_applicable"  # cards do not apply to this patient; `reason` says why
    FAILED = "failed"  # the evaluation or the drawing raised; counted, logged, in the notice
    REPEATED = "repeated"  # fired; suppressed by the repeat rule, as it was shown before
    GAVE_WAY = "gave_way"  # fired; suppressed, as another shown card covers its subject
    CAPPED = "capped"  # fired; suppressed by the limit on cards in one response


# These once more as module names, because looking a member up in its enumeration is slow.
FIRED, NOT_FIRED = Outcome.FIRED, Outcome.NOT_FIRED


class Decision(msgspec.Struct, frozen=True):
    """The decision of one card about the patient or about one order.

    A later stage that changes a decision makes a new one.
    """

    card: Card
    outcome: Outcome
    findings: Evaluator
    order: Order | None = None
    row: int = -1  # position in the card's table, where it fired
    unknown: tuple[str, ...] = ()  # criteria that were unknown and mattered, in the order of the card
    reason: str = ""  # for could_not_check and not_applicable: in words for a clinician
    words: str = ""  # for could_not_check: the laboratory's unreadable text, as sent
    in_notice: bool = False  # for could_not_check and failed: the notice of the response lists it
    gave_way_to: str = ""  # for gave_way: id of the card that covers its subject
    about: str = ""  # names of what the card is about, for the repeat rule; set where it fired and has one
    repeats: str = (
        ""  # uuid of the earlier shown card: for repeated, and for could_not_check where that was a notice that said so
    )
    error: str = ""  # for failed: class of the exception

    @property
    def shows(self) -> bool:
        """Tell whether the card is shown: it fired, is not suppressed, and is live."""
        return self.outcome is FIRED and self.card.live

    @property
    def lacks_orders(self) -> bool:
        """Tell whether the card could not be checked because the call had no draft orders."""
        return self.outcome is Outcome.COULD_NOT_CHECK and self.reason == ORDERS_NOT_SENT

    @property
    def said_before(self) -> bool:
        """Tell whether the notice would list the card, had the same user not been told already."""
        return self.outcome is Outcome.COULD_NOT_CHECK and bool(self.repeats)

    @property
    def indicator(self) -> Literal["", "info", "warning", "critical"]:
        """Return the indicator of the row that holds; "" where no row does."""
        return self.card.file.table[self.row].indicator if self.row >= 0 else ""
