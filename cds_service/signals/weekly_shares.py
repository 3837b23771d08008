"""Find shares that fell from one week to the next: cards accepted, prefetch keys sent; and cards that one user sees."""

from __future__ import annotations

from collections.abc import Sequence

from cds_service.signals.baseline import LIMIT
from cds_service.signals.proportions import difference_z

LEAST_ANSWERED = 10  # cards with feedback in the week
LEAST_CALLS = 20  # that a key was wanted for
LEAST_DROP = 0.1  # of a share, for a drop that is worth a look
LEAST_SHOWN = 20  # cards, before one user can hold most of them
MOST_OF_ONE = 0.5  # share


def dropped(now: int, of_now: int, before: int, of_before: int, least: int) -> float | None:
    """Return how far a share fell, in standard deviations; None where it did not, or there are fewer than `least`."""
    if of_now < least or of_before < least:
        return None
    if before / of_before - now / of_now < LEAST_DROP:
        return None
    z = difference_z(now, of_now, before, of_before)
    return -z if z < -LIMIT else None


def held_by_one(shown: Sequence[int]) -> float | None:
    """Return the share of the user who was shown most, where it is most of all; `shown`: by user."""
    total = sum(shown)
    share = max(shown, default=0) / total if total else 0.0
    return share if total >= LEAST_SHOWN and share > MOST_OF_ONE else None
