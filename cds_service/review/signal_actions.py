"""Do what a reviewer chose about a signal; each action is an appended row that says who, when and what."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date

import msgspec

from cds_service.alert_log.instants import micros
from cds_service.replay.backtest import open_backtest
from cds_service.review.page import PageRequest
from cds_service.review.reviewer import reviewer_of
from cds_service.review.verdicts import VerdictError, reviewer_name
from cds_service.rollups.days import SiteDays, as_number
from cds_service.settings import Settings
from cds_service.signals.axes import AxesError, axes_of
from cds_service.signals.closing import later_cases, why_not_closed
from cds_service.signals.inbox import Signal
from cds_service.signals.store import add_entry

MOST_COMMENT = 4000  # characters
_BACKTEST = re.compile("[0-9a-z]{1,64}")
# What can be done for several at once.
BULK: Mapping[str, str] = {"archived": "Archive until they escalate", "assigned": "Assign", "reopened": "Open again"}


class ActionError(ValueError):
    """Raised where something can't be done. The text is for the reviewer."""


def act(asked: PageRequest, signal: Signal, what: str, form: Mapping[str, str]) -> None:
    """Append what was chosen to the signal's entries. Raises ActionError, AuditError, DatabaseError."""
    if what not in _VALUES:
        raise ActionError("There is no such action")
    try:
        who = reviewer_name(reviewer_of(asked))
    except VerdictError as error:
        raise ActionError(str(error)) from None
    value = _VALUES[what](asked, signal, form)
    asked.audit("change signal", f"/review/signals/{signal.id}", "", {"what": what})
    add_entry(asked.database, signal.id, micros(asked.now), who, what, value)


def _archived(_: PageRequest, signal: Signal, __: Mapping[str, str]) -> str:
    """Return the size that it has to outgrow."""
    return f"{max((one.size for one in signal.sightings[-7:]), default=1.0):g}"


def _reopened(_: PageRequest, __: Signal, ___: Mapping[str, str]) -> str:
    return ""


def _assigned(_: PageRequest, __: Signal, form: Mapping[str, str]) -> str:
    given = form.get("value", "").strip()
    try:
        return reviewer_name(given) if given else ""
    except VerdictError as error:
        raise ActionError(str(error)) from None


def _due(_: PageRequest, __: Signal, form: Mapping[str, str]) -> str:
    given = form.get("value", "")
    try:
        return str(as_number(date.fromisoformat(given))) if given else ""
    except ValueError:
        raise ActionError("Give the due date as 2026-12-24") from None


def _axes(_: PageRequest, __: Signal, form: Mapping[str, str]) -> str:
    try:
        return msgspec.json.encode(axes_of(form)).decode()
    except AxesError as error:
        raise ActionError(str(error)) from None


def _comment(_: PageRequest, __: Signal, form: Mapping[str, str]) -> str:
    given = form.get("value", "").replace("\r\n", "\n").strip()
    if not given:
        raise ActionError("The comment is empty")
    if len(given) > MOST_COMMENT:
        raise ActionError(f"The comment has {len(given)} characters; at most {MOST_COMMENT} are kept")
    return given


def _resolved(asked: PageRequest, signal: Signal, form: Mapping[str, str]) -> str:
    """Return what proves that it is over: a backtest, or what is asked of signals without one."""
    backtest = form.get("backtest", "").strip()
    if backtest:
        if not _finished(asked.settings, backtest):
            raise ActionError("There is no finished backtest with this id; /review/backtests lists them")
        return f"backtest {backtest}"
    later = later_cases(asked.database, SiteDays(asked.settings.time_zone), signal)
    if why := why_not_closed(signal, later, asked.today):
        raise ActionError(f"It can't be closed yet: {why}. A backtest would do, too")
    return f"{later.right} later cases seen right" if signal.place.card else "not seen for a week"


def _finished(settings: Settings, backtest: str) -> bool:
    """Return whether there is a backtest of this id with a result."""
    if not _BACKTEST.fullmatch(backtest):
        return False
    try:
        return open_backtest(settings, backtest).result is not None
    except FileNotFoundError:
        return False


_VALUES: Mapping[str, Callable[[PageRequest, Signal, Mapping[str, str]], str]] = {
    "archived": _archived,
    "reopened": _reopened,
    "assigned": _assigned,
    "due": _due,
    "axes": _axes,
    "comment": _comment,
    "resolved": _resolved,
}
