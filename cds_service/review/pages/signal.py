"""Make the page of one signal: what was seen, what was done, and the forms to do more."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from starlette.responses import Response

from cds_service.changes.change import changes
from cds_service.review.charts import ControlChart, control_chart
from cds_service.review.page import Page, PageNotFoundError, PageRequest, PageRoute, see_other, whole_number
from cds_service.review.reviewer import remember, reviewer_of
from cds_service.review.signal_actions import ActionError, act
from cds_service.review.signal_rows import links_of, may_act, row, seen_by
from cds_service.review.statistics import Limits, laney_limits
from cds_service.review.timeline import local
from cds_service.rollups.days import SiteDays, as_date, plus
from cds_service.rollups.filter import Filter
from cds_service.signals import closing
from cds_service.signals.axes import AXES
from cds_service.signals.daily import stretches_by_place
from cds_service.signals.inbox import Entry, Signal
from cds_service.signals.stretches import Stretch
from cds_service.signals.words import Seen, says

_DAYS = 84  # in the chart
_DONE = {
    "axes": "Axes",
    "assigned": "Assigned to",
    "due": "Due",
    "comment": "Comment",
    "archived": "Archived until it escalates",
    "reopened": "Opened again",
    "resolved": "Closed",
}


def draw(asked: PageRequest, error: str = "") -> Page:
    """Return the page of the signal in the path. `error`: why its form was refused."""
    signal = _signal(asked)
    days, zone = SiteDays(asked.settings.time_zone), ZoneInfo(asked.settings.time_zone)
    later = closing.later_cases(asked.database, days, signal) if signal.place.card else closing.Later(0, 0)
    sightings = [
        {"day": one.day, "says": says(signal.kind, Seen(signal.place, signal.subject, one.detail)), "score": round(one.score, 1)}
        for one in reversed(signal.sightings)
    ]
    cut = _stretches(asked, signal)
    counted = _days(cut)
    data = {
        "signal": row(signal, asked.today),
        "sightings": sightings,
        "entries": [_entry(one, zone) for one in reversed(signal.entries)],
        "days": counted,
        "changes": [{"day": one.days[0].day, "change": one.change} for one in cut if one.change and one.days],
        "changes_of_it": [
            {"id": one.id, "card": one.card, "state": one.state} for one in changes(asked.database, signal=signal.id)
        ],
        "closing": {
            "missing": closing.why_not_closed(signal, later, asked.today),
            "right": later.right,
            "wanted": closing.RIGHT_CASES,
            "not_right": later.not_right,
        },
    }
    only_html = {
        "links": links_of(signal, asked.reader),
        "axes": AXES,
        "chart": _chart(cut, counted) if counted else None,
        "reviewer": reviewer_of(asked),
        **may_act(asked),
        "error": error,
        "quiet_days": closing.QUIET_DAYS,
    }
    columns = ("day", "score", "says")
    return Page(f"Signal {signal.id}", "signal.html", data, only_html, sightings, columns, 400 if error else 200)


def change(asked: PageRequest) -> Page | Response:
    """Do what the form says, and show the signal again, or go on in the inbox."""
    signal = _signal(asked)
    try:
        act(asked, signal, asked.form.get("what", ""), asked.form)
    except ActionError as error:
        return draw(asked, str(error))
    at = whole_number(asked.form.get("at", ""))
    back = f"/signals?archived={signal.id}&at={at}" if at is not None else f"/signals/{signal.id}"
    return remember(see_other(back), reviewer_of(asked))


def _signal(asked: PageRequest) -> Signal:
    found = seen_by(asked, int(asked.path["id"]))
    if not found:
        raise PageNotFoundError("There is no such signal")
    return found[0]


def _stretches(asked: PageRequest, signal: Signal) -> list[Stretch]:
    """Return the days of the signal's card at its client, cut where something changed; none for what is about no card."""
    place = signal.place
    if not place.card:
        return []
    last = min(plus(signal.last.day if signal.last is not None else asked.today, 14), plus(asked.today, -1))
    chosen = Filter.of(plus(last, 1 - _DAYS), last, tenant=place.tenant, client=place.client, card=place.card)
    return stretches_by_place(asked.database, chosen).get(place, [])


def _days(cut: list[Stretch]) -> list[dict[str, Any]]:
    """Return a row for each day, with the limits of its stretch; None on days without an evaluation."""
    rows = []
    for stretch in cut:
        limits = laney_limits([one.fired for one in stretch.days], [one.checked for one in stretch.days])
        for day, found in zip(stretch.days, limits, strict=True):
            one: dict[str, Any] = {"day": day.day, "fired": day.fired, "evaluated": day.checked}
            empty = {"rate": None, "centre": None, "low": None, "high": None, "outside": False}
            rows.append(one | (empty if found is None else {**found._asdict(), "outside": found.outside}))
    return rows


def _chart(cut: list[Stretch], days: list[dict[str, Any]]) -> ControlChart:
    limits = [None if one["rate"] is None else Limits(one["rate"], one["centre"], one["low"], one["high"]) for one in days]
    flags = [(one.days[0].day, one.change.removeprefix("version ")) for one in cut if one.change and one.days]
    numbers = [[one[name] for one in days] for name in ("day", "fired", "evaluated")]
    return control_chart(numbers[0], numbers[1], numbers[2], limits, flags)


def _entry(one: Entry, zone: ZoneInfo) -> dict[str, Any]:
    value = one.value
    if one.what == "axes":
        value = _axes_words(one)
    elif one.what == "due" and value:
        value = as_date(int(value)).isoformat()
    elif one.what == "archived":
        value = ""
    at = local(one.at, zone).isoformat(sep=" ", timespec="minutes")
    return {"at": at, "who": one.who, "what": one.what, "what_says": _DONE[one.what], "value": value}


def _axes_words(one: Entry) -> str:
    given = msgspec.json.decode(one.value)
    return "; ".join(f"{title}: {values[given[name]]}" for name, (title, values) in AXES.items() if given.get(name))


ROUTE = PageRoute("/signals/{id:number}", draw, "viewer", csv=True, post=change, post_role="reviewer", scoped=True)
