"""Count the requests that never became a call, by the minute."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime

from cds_service.alert_log.records import RefusalRecord

_MOST = 1000  # kinds of one minute; more are counted under the reason "other"
_Kind = tuple[datetime, str, str, str, int, str]  # start of the minute, tenant, client, hook, status, reason


class Refusals:
    """The counts of the present minute, and of the one before until they are taken."""

    def __init__(self) -> None:
        self._counts: Counter[_Kind] = Counter()
        self._since = 0.0  # of time.monotonic: when the first of these was counted

    def __bool__(self) -> bool:
        return bool(self._counts)

    def count(self, at: datetime, tenant: str, client: str, hook: str, status: int, reason: str) -> None:
        """Count one. `at`: aware."""
        if not self._counts:
            self._since = time.monotonic()
        kind = (at.replace(second=0, microsecond=0), tenant, client, hook, status, reason)
        if len(self._counts) >= _MOST and kind not in self._counts:
            kind = (*kind[:5], "other")
        self._counts[kind] += 1

    def of_past_minutes(self) -> list[RefusalRecord]:
        """Take the counts once the first of them is a minute old."""
        return self.taken() if self._counts and time.monotonic() - self._since >= 60 else []

    def taken(self) -> list[RefusalRecord]:
        """Take all counts."""
        counts, self._counts = self._counts, Counter()
        return [RefusalRecord(*kind, n) for kind, n in counts.items()]
