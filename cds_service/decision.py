"""The decision of one card, and how it can end."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.facts import Order
from cds_service.knowledge import Card


class Outcome(StrEnum):
    FIRED = "fired"
    NOT_FIRED = "not_fired"
    COULD_NOT_CHECK = "could_not_check"
    REPEATED = "repeated"  # fired, and was shown about the same not long ago
    CAPPED = "capped"  # fired, and there were enough louder cards
    GAVE_WAY = "gave_way"  # fired, and folded into a card that speaks about the same
    NOT_APPLICABLE = "not_applicable"  # no card speaks about this patient; `reason` says why
    FAILED = "failed"  # the evaluation broke; counted, logged, and said


class Decision(msgspec.Struct):
    """What one card decided, about the patient or about one order."""

    card: Card
    outcome: Outcome
    findings: Evaluator
    order: Order | None = None
    row: int = -1  # of the card's table, where it fired
    unknown: tuple[str, ...] = ()  # criteria that were unknown and mattered, in the order of the card
    reason: str = ""  # for could_not_check and not_applicable: in words for a clinician
    words: str = ""  # for could_not_check: what a laboratory wrote that could not be read, as it was sent
    say: bool = False  # for could_not_check and failed: the clinician is told
    hushed: bool = False  # it would be said, and a card that is shown speaks about the same
    gave_way_to: str = ""
    about: str = ""  # what the card is about, where it fired and its repetition depends on it
    repeats: str = ""  # for repeated: uuid of the card that was shown before
    error: str = ""  # class of the exception, where it failed
