"""Stop requests to a server that fails: after failures in a row pause, then try one call.

Calls are counted, not requests: a call sends six requests at once, and one slow search should not cost the five good ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from cds_service.telemetry.events import Event, tell
from cds_service.telemetry.metrics import FHIR_BREAKERS

FAILURES = 3  # calls in a row without any response of the server
PAUSE_SECONDS = 30.0


class CircuitBreaker:
    """The circuit breaker of one server. Each `admit` that returns True must be followed by one `settle`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._open_until: float | None = None  # None: closed
        self._probing = False

    def admit(self) -> bool:
        """Say whether this call may ask the server. After a pause one call may, and the others wait for its result."""
        if self._open_until is None:
            return True
        if self._probing or self._clock() < self._open_until:
            return False
        self._probing = True
        FHIR_BREAKERS.labels("probed").inc()
        return True

    def settle(self, answered: bool | None, pause: float = 0) -> None:
        """Record how the call went.

        `answered`: True, the server answered; False, it failed; None, neither is known, as the call was abandoned.
        `pause`: seconds for which the server asked to be left alone (Retry-After), of which at most 30 are granted.
        """
        self._probing = False
        if answered and not pause:
            if self._open_until is not None:
                FHIR_BREAKERS.labels("closed").inc()
            self._failures, self._open_until = 0, None
        elif answered is not None:
            self._failures += 1
            if pause or self._failures >= FAILURES:
                self._open(min(pause, PAUSE_SECONDS) or PAUSE_SECONDS)

    def _open(self, seconds: float) -> None:
        if self._open_until is None:
            FHIR_BREAKERS.labels("opened").inc()
            tell(Event.FHIR_PAUSED, ms=seconds * 1000, count=self._failures)
        self._open_until = self._clock() + seconds
