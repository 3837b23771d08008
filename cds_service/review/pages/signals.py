"""Make the inbox of signals, and do what was chosen for several of them at once."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.responses import Response

from cds_service.review.page import BadFormError, Page, PageRequest, PageRoute, see_other, whole_number
from cds_service.review.reviewer import remember, reviewer_of
from cds_service.review.signal_actions import BULK, ActionError, act
from cds_service.review.signal_rows import COLUMNS, may_act, row, seen_by
from cds_service.review.timeline import local
from cds_service.signals.finding import KINDS
from cds_service.signals.inbox import OPEN, STATES
from cds_service.signals.store import ran_at, watches

_VIEWS = ("open", *STATES, "all")
_NOT_FINE = ("learning", "no_data")


def draw(asked: PageRequest) -> Page:
    """Return the inbox: what is open, or the state that the address names."""
    view = asked.query.get("state", "open")
    if view not in _VIEWS:
        raise BadFormError(f"state must be one of {', '.join(_VIEWS)}")
    found = seen_by(asked)
    counts = Counter(one.state for one in found)
    listed = [row(one, asked.today) for one in found if view == "all" or one.state == view or (view == "open" and one.is_open)]
    ran, zone = ran_at(asked.database), ZoneInfo(asked.settings.time_zone)
    data = {
        "counts": {state: counts[state] for state in STATES} | {"open": sum(counts[one] for one in OPEN), "all": len(found)},
        "view": view,
        "signals": listed,
        "watched": _watched(asked),
        "looked_at": local(ran, zone).isoformat(sep=" ", timespec="minutes") if ran is not None else None,
    }
    at = whole_number(asked.query.get("at", ""))
    only_html = {
        "states": STATES,
        **may_act(asked),
        "at": -1 if at is None else at,
        "done": _done(asked),
        "bulk": BULK,
    }
    return Page("Signals", "signals.html", data, only_html, rows=listed, columns=COLUMNS)


def _done(asked: PageRequest) -> dict[str, Any] | None:
    """Return the signal that was just archived, so that it can be undone with one click."""
    number = whole_number(asked.query.get("archived", ""))
    found = seen_by(asked, number) if number is not None else []
    return row(found[0], asked.today) if found and found[0].state == "archived" else None


def _watched(asked: PageRequest) -> list[dict[str, Any]]:
    """Return what the detectors could say, by kind; places of which they can't say anything are named with the reason."""
    found: dict[str, dict[str, Any]] = {
        kind: {"kind": kind, "title": title, "every": every, "normal": 0, "alarm": 0, "learning": 0, "no_data": 0, "silent": []}
        for kind, (title, every) in KINDS.items()
    }
    for one in watches(asked.database):
        found[one.kind][one.state] += 1
        if one.state in _NOT_FINE:
            found[one.kind]["silent"].append({**one.place._asdict(), "state": one.state, "why": one.why})
    return [one for kind, one in found.items() if kind not in ("verdict", "release_step")]


def change(asked: PageRequest) -> Page | Response:
    """Do the chosen thing for all chosen signals, once that is confirmed."""
    what = asked.form.get("what", "")
    chosen = {whole_number(name.removeprefix("id_")) for name in asked.form if name.startswith("id_")}
    found = [one for one in seen_by(asked) if one.id in chosen]
    if what not in BULK:
        raise BadFormError(f"Choose what to do: {', '.join(BULK.values())}")
    if not found:
        raise BadFormError("No signal was chosen: tick the boxes of those that are meant")
    if asked.form.get("confirm") != "yes":
        rows = [row(one, asked.today) for one in found]
        only_html = {"what": what, "title_of": BULK[what], "value": asked.form.get("value", "")}
        return Page(f"{BULK[what]}?", "signals_confirm.html", {"signals": rows}, only_html)
    try:
        for one in found:
            act(asked, one, what, asked.form)
    except ActionError as error:
        raise BadFormError(str(error)) from None
    return remember(see_other(f"/signals?{urlencode({'state': asked.form.get('state') or 'open'})}"), reviewer_of(asked))


ROUTE = PageRoute("/signals", draw, "viewer", nav="Signals", csv=True, post=change, post_role="reviewer", scoped=True)
