"""Limit how many calls one process takes from a client in a minute, where the client's registration says so."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable

from cds_service.telemetry.metrics import SHED
from cds_service.trust import Caller
from cds_service.wire.errors import TooManyCalls

MINUTE = 60.0  # seconds


class ClientLimits:
    """The calls of each client in the present minute. All methods run on the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, never going back."""
        self._clock = clock
        self._calls: Counter[str] = Counter()
        self._ends = -math.inf  # of the minute

    def take(self, caller: Caller) -> None:
        """Count a call. Raises TooManyCalls beyond `calls_per_minute` of the caller's client, over all its tenants."""
        if caller.calls_per_minute is None:
            return
        now = self._clock()
        if now >= self._ends:
            self._calls.clear()
            self._ends = now + MINUTE
        self._calls[caller.client] += 1
        if self._calls[caller.client] > caller.calls_per_minute:
            SHED.labels("client").inc()
            text = "This client has sent more calls than it is registered for; please try again when the minute is over"
            raise TooManyCalls(text, retry_after=math.ceil(self._ends - now))
