"""What happens in every call, noted in plain Python, which costs next to nothing, and moved into the metrics by `flush`.

That is done once a second and before anybody looks; a process that is killed loses the counts of its last second.
All functions are called on the event loop's thread.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TypeVar

from prometheus_client import Counter as Metric
from prometheus_client import Histogram

from cds_service import metrics
from cds_service.criteria.facts import Unread
from cds_service.decision import Decision
from cds_service.present import NOT_CHECKED, Shown
from cds_service.timings import Timings

L = TypeVar("L", bound=tuple[str, ...])

_decisions: Counter[tuple[str, str]] = Counter()
_cards: Counter[tuple[str, str, str]] = Counter()
_not_checked: Counter[str] = Counter()
_calls: Counter[tuple[str, str]] = Counter()
_seconds: defaultdict[str, list[float]] = defaultdict(list)
_unread: Counter[tuple[str]] = Counter()
_phases: list[dict[str, float]] = []


def note_answer(
    service: str, decisions: Iterable[Decision], shown: Iterable[Shown], shadows: Iterable[Shown], unread: Iterable[Unread] = ()
) -> None:
    """Counts what was decided and shown in an answer, and what was not understood."""
    for code in unread:
        _unread[code.kind,] += 1
    for decision in decisions:
        _decisions[decision.card.id, decision.outcome] += 1
    for one in shown:
        if one.decision is None:
            _not_checked[service] += 1
        _cards[one.decision.card.id if one.decision is not None else NOT_CHECKED, one.indicator, "live"] += 1
    for one in shadows:
        if one.decision is not None:
            _cards[one.decision.card.id, one.indicator, "shadow"] += 1


def note_call(service: str, status: int, seconds: float, timings: Timings) -> None:
    """Counts a call that has ended."""
    _calls[service, str(status)] += 1
    _seconds[service].append(seconds)
    _phases.append(timings.phases)


def flush() -> None:
    """Moves what was noted into the metrics."""
    _move(metrics.CALLS, _calls)
    _move(metrics.DECISIONS, _decisions)
    _move(metrics.CARDS, _cards)
    _move(metrics.UNREAD_CODES, _unread)
    for service, number in _not_checked.items():
        metrics.NOT_CHECKED.labels(service).inc(number)
    _not_checked.clear()
    for service, durations in _seconds.items():
        _observe(metrics.CALL_SECONDS.labels(service), durations)
    _seconds.clear()
    by_phase: defaultdict[str, list[float]] = defaultdict(list)
    for phases in _phases:
        for phase, milliseconds in phases.items():
            by_phase[phase].append(milliseconds / 1000)
    _phases.clear()
    for phase, durations in by_phase.items():
        _observe(metrics.PHASE_SECONDS.labels(phase), durations)


def _move(counter: Metric, noted: Counter[L]) -> None:
    for labels, number in noted.items():
        counter.labels(*labels).inc(number)
    noted.clear()


def _observe(histogram: Histogram, durations: Iterable[float]) -> None:
    for seconds in durations:
        histogram.observe(seconds)
