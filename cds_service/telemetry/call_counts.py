"""Count events of every call in plain Python, and move the counts into the metrics once a second.

`flush` moves them, also before `/metrics` and `/health` answer; a process that is killed loses the counts of its last second.
All functions are called on the event loop's thread.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TypeAlias, TypeVar

from prometheus_client import Counter as Metric

from cds_service.telemetry import metrics
from cds_service.telemetry.timings import Timings

L = TypeVar("L", bound=tuple[str, ...])

Decided: TypeAlias = tuple[str, str]  # card id, outcome

_decisions: Counter[tuple[Decided, ...]] = Counter()  # of a whole call: most calls are decided alike
_cards: Counter[tuple[str, str, str]] = Counter()
_not_checked: Counter[str] = Counter()
_notices_repeated: Counter[str] = Counter()
_calls: Counter[tuple[str, str]] = Counter()
_seconds: defaultdict[str, list[float]] = defaultdict(list)
_unread: Counter[tuple[str]] = Counter()
_phases: list[dict[str, float]] = []


def count_answer(
    service: str,
    decisions: tuple[Decided, ...],
    cards: Iterable[tuple[str, str, str]],
    *,
    not_checked: bool,
    notice_repeated: bool,
    unread: Iterable[str] = (),
) -> None:
    """Count what an answer decided and showed.

    `decisions`: all of the call; `cards`: (card id, indicator, "live" or "shadow") of each card;
    `not_checked`: whether it says that something could not be checked; `notice_repeated`: whether it does not say again that
    draft orders were not sent; `unread`: kinds of the codes that were not understood.
    """
    _decisions[decisions] += 1
    for card in cards:
        _cards[card] += 1
    if not_checked:
        _not_checked[service] += 1
    if notice_repeated:
        _notices_repeated[service] += 1
    for kind in unread:
        _unread[kind,] += 1


def count_call(service: str, status: int, seconds: float, timings: Timings) -> None:
    """Count a call that has ended, `seconds` after it began."""
    _calls[service, str(status)] += 1
    _seconds[service].append(seconds)
    _phases.append(timings.phases)


def flush() -> int:
    """Move the counts into the metrics. Return how many calls have ended since the last time."""
    ended = _calls.total()
    _move(metrics.CALLS, _calls)
    _move(metrics.DECISIONS, _by_outcome())
    _move(metrics.CARDS, _cards)
    _move(metrics.UNREAD_CODES, _unread)
    for metric, counted in ((metrics.NOT_CHECKED, _not_checked), (metrics.NOTICES_REPEATED, _notices_repeated)):
        for service, number in counted.items():
            metric.labels(service).inc(number)
        counted.clear()
    for service, durations in _seconds.items():
        metrics.CALL_SECONDS.labels(service).observe_all(durations)
    _seconds.clear()
    by_phase: defaultdict[str, list[float]] = defaultdict(list)
    for phases in _phases:
        for phase, milliseconds in phases.items():
            by_phase[phase].append(milliseconds / 1000)
    _phases.clear()
    for phase, durations in by_phase.items():
        metrics.PHASE_SECONDS.labels(phase).observe_all(durations)
    return ended


def _by_outcome() -> Counter[Decided]:
    """Take the decisions counted so far, by card and outcome."""
    counted: Counter[Decided] = Counter()
    for decisions, number in _decisions.items():
        for decided in decisions:
            counted[decided] += number
    _decisions.clear()
    return counted


def _move(counter: Metric, counted: Counter[L]) -> None:
    for labels, number in counted.items():
        counter.labels(*labels).inc(number)
    counted.clear()
