"""Fold the log lines of refusals: the first of each kind in a minute are written, and one summary of all of them.

Who sends a thousand bad calls a second would otherwise fill the disk. The summary says from which addresses most of them came.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import NamedTuple

from cds_service.telemetry.events import Event, Line, tell

AT_FIRST = 10  # lines of a kind in a minute that are written
MINUTE = 60.0  # seconds
_FOLDED = frozenset({Event.CALLER_REFUSED, Event.CONNECTION_REFUSED, Event.REFUSED})
_MOST_KINDS = 200  # in a minute; more are counted as "other"
_MOST_PEERS = 1000  # that are counted by address, of each kind
_NAMED = 5  # addresses in a summary
_OTHERS = "others"


class _Kind(NamedTuple):
    event: Event
    why: str
    client: str
    status: int


class RefusalLines(logging.Filter):
    """Count refusals by kind and address, and let the first lines of each kind pass. Any thread may log."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, never going back."""
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: defaultdict[_Kind, Counter[str]] = defaultdict(Counter)
        self._since = 0.0  # when the first of these was counted

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the line is to be written."""
        line = record.msg
        if not isinstance(line, Line) or line.event not in _FOLDED:
            return True
        fields = line.fields
        kind = _Kind(line.event, str(fields.get("why", "-")), str(fields.get("client", "-")), int(str(fields.get("status", 401))))
        peer = str(fields.get("peer", "-"))
        with self._lock:
            if not self._counts:
                self._since = self._clock()
            if kind not in self._counts and len(self._counts) >= _MOST_KINDS:
                kind = _Kind(line.event, "other", "-", 0)
            peers = self._counts[kind]
            peers[peer if peer in peers or len(peers) < _MOST_PEERS else _OTHERS] += 1
            return peers.total() <= AT_FIRST

    def summarise(self) -> None:
        """Write a line for each kind of the last minute, once it is over."""
        with self._lock:
            if not self._counts or self._clock() - self._since < MINUTE:
                return
            counts, self._counts = self._counts, defaultdict(Counter)
        for kind, peers in counts.items():
            tell(
                Event.REFUSALS,
                kind=kind.event.label,
                why=kind.why,
                client=kind.client,
                status=kind.status,
                count=peers.total(),
                peers=_most(peers),
            )


def _most(peers: Counter[str]) -> str:
    named = [one for one in peers.most_common(_NAMED + 1) if one[0] != _OTHERS][:_NAMED]
    rest = peers.total() - sum(count for _, count in named)
    return ", ".join([*(f"{peer} ({count})" for peer, count in named), *([f"{_OTHERS} ({rest})"] if rest else [])])
