"""Sort results by time, newest first; their order in a Bundle never counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby
from operator import attrgetter
from typing import Literal

from cds_service.criteria.facts import Lab

_start, _has_time, _value = attrgetter("effective.start"), attrgetter("effective.has_time"), attrgetter("value")
_Severity = Callable[[Lab], Decimal]  # higher for the more severe of two results
_NEVER = datetime.min.replace(tzinfo=UTC)


def newest_first(labs: Iterable[Lab], worse: Literal["low", "high", ""]) -> list[Lab]:
    """Return the results of one analyte, newest first by the time of the sample.

    At one time: the later issued first, else the confirmed, else the more severe. The same value at one time counts once.
    `worse`: the more severe end of the scale (`Analyte.worse`).
    `issued` decides only where all results of that time have one. A result with a date but no time can't be put before or after
    a timed one of its day: where `issued` doesn't decide, the more severe of it and the newest timed one counts as the newer.
    """
    ordered = list(labs)
    if len(ordered) < 2:
        return ordered
    severity = _value if worse == "high" else _negative
    if all(map(_has_time, ordered)):
        return _timed(ordered, severity)
    ordered.sort(key=_day, reverse=True)
    return [lab for _, day in groupby(ordered, _day) for lab in _one_day(list(day), severity)]


def _timed(labs: list[Lab], severity: _Severity) -> list[Lab]:
    labs.sort(key=_start, reverse=True)
    return [lab for _, same in groupby(labs, _start) for lab in _one_time(list(same), severity)]


def _one_time(labs: list[Lab], severity: _Severity) -> list[Lab]:
    if len(labs) > 1:
        labs = _each_once(labs)
        all_issued = all(lab.issued is not None for lab in labs)
        labs.sort(
            key=lambda lab: (lab.issued or _NEVER if all_issued else _NEVER, not lab.preliminary, severity(lab)), reverse=True
        )
    return labs


def _each_once(labs: list[Lab]) -> list[Lab]:
    """Drop duplicates among results of one time: parts of a panel, and the preliminary one of a confirmed."""
    once: dict[tuple[Decimal, str, bool], Lab] = {}
    for lab in labs:
        key = lab.value, lab.comparator, lab.haemolysed
        other = once.get(key)
        if other is None or (other.preliminary and not lab.preliminary):
            once[key] = lab
    return list(once.values())


def _one_day(labs: list[Lab], severity: _Severity) -> list[Lab]:
    timed = [lab for lab in labs if lab.effective.has_time]
    if not timed or all(lab.issued is not None for lab in labs):
        return _one_time(labs, severity) if len(timed) < len(labs) else _timed(labs, severity)
    timed = _timed(timed, severity)
    dated = _one_time([lab for lab in labs if not lab.effective.has_time], severity)
    newest = severity(timed[0])
    return [lab for lab in dated if severity(lab) > newest] + timed + [lab for lab in dated if severity(lab) <= newest]


def _day(lab: Lab) -> str:
    return (lab.effective.text + "-01-01")[:10]  # in the sender's time zone, as dates are


def _negative(lab: Lab) -> Decimal:
    return -lab.value
