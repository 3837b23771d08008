"""What a criterion finds: met, unmet or unknown, with its evidence.

"We could not look" is never "we looked and found nothing": the first is unknown, the second unmet.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Literal, TypeAlias

import msgspec

from cds_service.criteria.facts import Allergy, Drug, Lab, Order, Patient, Problem


class Truth(IntEnum):
    """The truth of a criterion, in the order in which Kleene's AND takes the lowest."""

    UNMET = 0
    UNKNOWN = 1
    MET = 2


# The members once more as module names, because looking a member up in its enumeration is slow and this is the hot path.
IS_UNMET, IS_UNKNOWN, IS_MET = Truth.UNMET, Truth.UNKNOWN, Truth.MET

Evidence: TypeAlias = Lab | Drug | Problem | Allergy | Order | Patient
OnError = Callable[[str, Exception], None]  # the name of a criterion or card, and what it raised
Cause = Literal["", "not_recorded", "not_readable", "not_obtained", "failed"]


class Finding(msgspec.Struct, frozen=True, gc=False):
    """What one criterion found.

    `cause` tells unknowns apart: `not_recorded` looked and there is nothing; `not_readable` there is something that cannot be
    used; `not_obtained` the data did not arrive; `failed` the evaluation itself broke. `note` says it to a clinician.
    """

    truth: Truth
    evidence: tuple[Evidence, ...] = ()
    cause: Cause = ""
    note: str = ""
    words: str = ""  # what a laboratory wrote that could not be read, as it was sent
    alarming: bool = False  # what could not be read may be a value that needs somebody today, in whatever workflow


UNMET = Finding(IS_UNMET)
MET = Finding(IS_MET)
