"""Find a card that fires no more, from evaluations in a row that did not fire."""

from __future__ import annotations

from math import log

from cds_service.signals.baseline import ALPHA, Baseline


class ZeroFire:
    """The evaluations since the card last fired."""

    def __init__(self) -> None:
        self.since_fired = 0

    def add(self, fired: int, checked: int, usual: Baseline) -> bool:
        """Add a day, and return whether that many evaluations without a firing are less likely than ALPHA.

        (1 - rate) ^ n, with n divided by the variance of days beyond chance.
        """
        self.since_fired = 0 if fired else self.since_fired + checked
        return self.since_fired / usual.sigma**2 * log(1 - usual.rate) < log(ALPHA)
