"""Find small changes that last, by adding up how far days lie from the baseline (Page 1954, Biometrika 41, 100)."""

from __future__ import annotations

ALLOWANCE = 0.5  # standard deviations that a day may differ without being counted
DECISION = 5.0  # the sum at which it alarms


class Cusum:
    """The two sums, upwards and downwards; each begins anew after its alarm."""

    def __init__(self) -> None:
        self._up = self._down = 0.0

    def add(self, z: float) -> bool:
        """Add a day, and return whether one of the sums alarms."""
        self._up = max(0.0, self._up + z - ALLOWANCE)
        self._down = max(0.0, self._down - z - ALLOWANCE)
        up, down = self._up > DECISION, self._down > DECISION
        if up:
            self._up = 0.0
        if down:
            self._down = 0.0
        return up or down
