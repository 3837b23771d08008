"""Make the page of the alert log: cards that fired, newest first, with every filter in the address."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

import msgspec
from starlette.responses import Response

from cds_service.alert_log import micros
from cds_service.database import Database
from cds_service.review.case import CaseNotFoundError, body_of, cards_of, nth_of_card
from cds_service.review.empty import why_empty
from cds_service.review.filter_bar import filter_bar, period
from cds_service.review.page import BASE, BadFormError, Page, PageRequest, PageRoute, see_other
from cds_service.review.saved_views import save_view, saved_views
from cds_service.review.timeline import local
from cds_service.rollups.days import SiteDays
from cds_service.rollups.filter import Filter, FilterError
from cds_service.rollups.log_rows import LogRow, newest, not_applied
from cds_service.rollups.queries import facets

_FACETS = ("card", "client", "hook", "indicator", "response", "state", "mode", "version", "repeated", "tenant")
_MOST_OF_FACET = 8  # values that stand there at once; the others are behind a summary
_COLUMNS = (
    "time", "card", "version", "indicator", "state", "mode", "response", "reason", "ms", "client", "hook", "tenant", "path",
)  # fmt: skip


class Choice(msgspec.Struct, frozen=True):
    """One value of a facet: how many cards have it, and the address with it chosen, or without it where it is."""

    value: str
    n: int
    chosen: bool
    link: str


def draw(asked: PageRequest) -> Page:
    """Return one page of the log; `before` in the address says where it begins."""
    database, chosen = asked.database, asked.filter(other=("before",))
    days, zone = SiteDays(asked.settings.time_zone), ZoneInfo(asked.settings.time_zone)
    found = newest(database, days, chosen, asked.query.get("before") or None)
    rows = [_row(database, one, zone) for one in found.rows]
    query = urlencode(chosen.query())
    data = {
        "period": period(chosen),
        "rows": rows,
        "before": found.before,
        "facets": {
            name: [_choice(chosen, name, value, n) for value, n in values]
            for name, values in facets(database, chosen, _FACETS).items()
            if len(values) > 1 or name in chosen.names
        },
        "views": saved_views(database),
        "ignored": sorted(not_applied(chosen)),
        "empty": "" if rows else why_empty(database, chosen) or "Calls there were, but none in which a card fired as asked for.",
    }
    only_html = {
        "filters": filter_bar(database, chosen, asked.knowledge, asked.settings.time_zone),
        "removed": [
            (name.replace("_", " "), value, _link(_toggled(chosen, name, value)))
            for name, values in chosen.values
            for value in values
        ],
        "first": "before" in asked.query,
        "first_link": f"{BASE}/log?{query}",
        "next_link": f"{BASE}/log?{query}&{urlencode({'before': found.before})}" if found.before else "",
        "most": _MOST_OF_FACET,
        "view": query,
    }
    return Page("Alert log", "log.html", data, only_html, rows=rows, columns=_COLUMNS)


def keep_view(asked: PageRequest) -> Page | Response:
    """Keep the view of the form, or forget the one that it names."""
    query = asked.form.get("view", "")
    try:
        if query:  # what is kept can be read again
            pairs = parse_qsl(query, keep_blank_values=True)
            query = urlencode(Filter.from_query(pairs, asked.today).query())
        save_view(asked.database, asked.form.get("name", ""), query, at=micros(asked.now))
    except (FilterError, ValueError) as error:
        raise BadFormError(str(error)) from None
    return see_other(f"/log?{query}" if query else "/log")


def _row(database: Database, one: LogRow, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "time": local(one.received_at, zone).isoformat(sep=" ", timespec="seconds"),
        "card": one.card,
        "version": one.version,
        "indicator": one.indicator,
        "state": one.state,
        "mode": one.mode,
        "response": one.response,
        "reason": one.reason,
        "ms": round(one.us / 1000, 1) if one.us is not None else None,
        "client": one.client,
        "hook": one.hook,
        "tenant": one.tenant,
        "path": f"{BASE}/cases/{bytes(one.call_id).hex()}/{one.card}/{evaluation_number(database, one)}",
    }


def evaluation_number(database: Database, one: LogRow) -> int:
    """Return which evaluation of its card drew this one; only a card about orders can have several in a call."""
    if not one.about_order:
        return 1
    call = database.one("SELECT * FROM log.call WHERE received_at = :at AND id = :id", at=one.received_at, id=one.call_id)
    if call is None:
        return 1
    try:
        body = body_of(database, call)
    except CaseNotFoundError:
        return 1  # its page says why there is no more
    evaluations = [row for row in body.evaluations if row["card"] == one.card]
    return nth_of_card(evaluations, cards_of(database, call, one.card), one.position)


def _choice(chosen: Filter, name: str, value: str, n: int) -> Choice:
    return Choice(value, n, value in chosen[name], _link(_toggled(chosen, name, value)))


def _toggled(chosen: Filter, name: str, value: str) -> Filter:
    """Return the filter with the value chosen in addition, or without it where it is chosen."""
    values = [one for one in chosen[name] if one != value]
    if value not in chosen[name]:
        values.append(value)
    return chosen.with_values(name, *values) if values else chosen.without(name)


def _link(chosen: Filter) -> str:
    return f"{BASE}/log?{urlencode(chosen.query())}"


ROUTE = PageRoute("/log", draw, "viewer", nav="Log", csv=True, post=keep_view, post_role="reviewer", scoped=True)
