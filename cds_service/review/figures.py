"""Work out the figures of cards from the counts of the roll-ups, as `review.definitions` defines them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from cds_service.decide.decision import Outcome
from cds_service.review.rate import ENOUGH_COVERAGE, Rate, bounds, per_100, share

Counts = Iterable[Mapping[str, Any]]  # rows of a roll-up, names as texts

_MET = frozenset((Outcome.FIRED, Outcome.REPEATED, Outcome.GAVE_WAY, Outcome.CAPPED))
_UNCHECKED = frozenset((Outcome.COULD_NOT_CHECK, Outcome.FAILED))


class Evaluations(msgspec.Struct, frozen=True):
    """How evaluations ended. Those that did not apply (no such order, patient has died) are in no number."""

    met: int  # fired, shown or held back
    unmet: int
    unchecked: int

    @classmethod
    def of(cls, rows: Counts) -> Evaluations:
        """Add up rows of `daily_evaluation`, which have `outcome`, `applies`, `n`."""
        met = unmet = unchecked = 0
        for row in rows:
            if not row["applies"]:
                continue
            if row["outcome"] in _MET:
                met += row["n"]
            elif row["outcome"] in _UNCHECKED:
                unchecked += row["n"]
            elif row["outcome"] == Outcome.NOT_FIRED:
                unmet += row["n"]
        return cls(met, unmet, unchecked)

    @property
    def decided(self) -> int:
        """Evaluations that fired or did not fire."""
        return self.met + self.unmet

    def fire_rate(self) -> Rate:
        """Return how often criteria were met, of what could be decided."""
        return share("fire_rate", self.met, self.decided)

    def could_not_check(self) -> Rate:
        """Return how often a card could not be checked, of what applied."""
        return share("could_not_check", self.unchecked, self.decided + self.unchecked)


class Shown(msgspec.Struct, frozen=True):
    """Cards of live mode that were shown, and what became of them."""

    shown: int
    about_orders: int
    accepted: int
    overridden: int
    repeated: int  # again within 24 hours

    @classmethod
    def of(cls, rows: Counts) -> Shown:
        """Add up rows of `daily_card` that have `mode`, `state`, `response`, `repeated_24h`, `about_order`, `n`."""
        found = [row for row in rows if row["mode"] == "live" and row["state"] == "shown"]
        return cls(
            shown=_sum(found),
            about_orders=_sum(row for row in found if row["about_order"]),
            accepted=_sum(row for row in found if row["response"] == "accepted"),
            overridden=_sum(row for row in found if row["response"] == "overridden"),
            repeated=_sum(row for row in found if row["repeated_24h"]),
        )

    @property
    def answered(self) -> int:
        """Cards with feedback."""
        return self.accepted + self.overridden

    def coverage(self) -> Rate:
        """Return how many cards got feedback."""
        return share("coverage", self.answered, self.shown)

    def acceptance(self) -> Rate:
        """Return how many were accepted, of those with feedback."""
        low = bool(self.shown) and self.answered < ENOUGH_COVERAGE * self.shown
        return share("acceptance", self.accepted, self.answered, low_coverage=low)

    def override(self) -> Rate:
        """Return between which bounds the share of overridden cards lies."""
        return bounds("override", self.overridden, self.shown - self.accepted, self.shown)

    def repeat(self) -> Rate:
        """Return how many were shown to the same patient within 24 hours before."""
        return share("repeat", self.repeated, self.shown)

    def per_100_orders(self, orders: int) -> Rate | None:
        """Return cards about orders for each 100 of `orders`; None for cards that are about no order."""
        if self.shown and not self.about_orders:
            return None
        return per_100("per_100_orders", self.about_orders, orders)


def _sum(rows: Counts) -> int:
    return sum(row["n"] for row in rows)


def grouped(rows: Counts, *names: str) -> dict[Any, list[Mapping[str, Any]]]:
    """Return the rows by the values of `names`: the value itself of one name, a tuple of several."""
    found: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        key = row[names[0]] if len(names) == 1 else tuple(row[name] for name in names)
        found.setdefault(key, []).append(row)
    return found


def summed(rows: Counts, *names: str) -> dict[Any, int]:
    """Return the sum of `n` by the values of `names`, the largest first, equals by name."""
    sums = {key: _sum(group) for key, group in grouped(rows, *names).items()}
    return dict(sorted(sums.items(), key=lambda item: (-item[1], str(item[0]))))


def percentile(buckets: Mapping[int, int], share_of_calls: float) -> int | None:
    """Return the upper bound in ms that this share of calls does not exceed; None where there are none."""
    total = sum(buckets.values())
    seen = 0
    for bound in sorted(buckets):
        seen += buckets[bound]
        if total and seen >= share_of_calls * total:
            return bound
    return None
