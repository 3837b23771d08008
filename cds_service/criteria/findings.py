"""Define the finding of a criterion: met, unmet or unknown, with its evidence.

Missing data is unknown; complete data without a match is unmet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Literal, TypeAlias

import msgspec

from cds_service.criteria.facts import Allergy, Drug, Lab, Order, Patient, Problem


class Truth(IntEnum):
    """The truth of a criterion, ordered so that Kleene's AND is the lowest."""

    UNMET = 0
    UNKNOWN = 1
    MET = 2


# The members once more as module names, because looking a member up in its enumeration is slow and this is the hot path.
IS_UNMET, IS_UNKNOWN, IS_MET = Truth.UNMET, Truth.UNKNOWN, Truth.MET

Evidence: TypeAlias = Lab | Drug | Problem | Allergy | Order | Patient
OnError = Callable[[str, Exception], None]  # the name of a criterion or card, and what it raised
Cause = Literal["", "not_recorded", "not_readable", "not_obtained", "failed"]


class Finding(msgspec.Struct, frozen=True, gc=False):
    """The finding of one criterion.

    `cause` of an unknown: `not_recorded`: complete data without a record; `not_readable`: a record that cannot be used;
    `not_obtained`: the data did not arrive; `failed`: the evaluation raised. `note`: the cause in words for a clinician.
    """

    truth: Truth
    evidence: tuple[Evidence, ...] = ()
    cause: Cause = ""
    note: str = ""
    words: str = ""  # the laboratory's unreadable text, as sent
    alarming: bool = False  # the unreadable value may need action today, whatever the workflow


UNMET = Finding(IS_UNMET)
MET = Finding(IS_MET)

Conditions: TypeAlias = tuple[tuple[str, Truth], ...]  # names of criteria, each with the truth that it must have


def conditions(when: Iterable[str], unless: Iterable[str]) -> Conditions:
    """Return the conditions that each of `when` is met and each of `unless` is unmet: an unknown one holds in neither."""
    return (*((name, IS_MET) for name in when), *((name, IS_UNMET) for name in unless))


def hold(required: Conditions, findings: Mapping[str, Finding]) -> bool:
    """Tell whether all conditions hold; those after one that does not are not evaluated."""
    for name, truth in required:  # noqa: SIM110 - this is the hot path
        if findings[name].truth is not truth:
            return False
    return True
