"""Make the page that puts what runs in shadow beside what is live: rates, cases, where the card would have stood."""

from __future__ import annotations

from collections import Counter
from typing import Any
from zoneinfo import ZoneInfo

from cds_service.review.filter_bar import filter_bar, period
from cds_service.review.page import BASE, Page, PageNotFoundError, PageRequest, PageRoute
from cds_service.review.pages.log import evaluation_number
from cds_service.review.shadow import Content, contents, positions
from cds_service.review.timeline import local
from cds_service.rollups.days import Bounds, SiteDays
from cds_service.rollups.log_rows import newest

_MOST_CASES = 100
_DAYS = 14
_COLUMNS = (
    "version",
    "content_hash",
    "mode",
    "first",
    "last",
    "fired",
    "evaluated",
    "live",
    "shadow",
    "held_back",
    "difference",
    "low",
    "high",
)


def draw(asked: PageRequest) -> Page:
    """Return each content of the card with its rate, and the newest cases of those in shadow."""
    database, card = asked.database, asked.path["card"]
    today = asked.knowledge.card(card)
    if today is None and database.names.id(card) is None:
        raise PageNotFoundError("Neither the cards of this service nor the log know a card of this name")
    chosen = asked.filter(days=_DAYS)
    days = SiteDays(asked.settings.time_zone)
    first, last = chosen.since or chosen.until or asked.today, chosen.until or asked.today
    zone = ZoneInfo(asked.settings.time_zone)
    rows = [_row(one, zone) for one in contents(database, card, Bounds(days.bounds(first).start, days.bounds(last).end), chosen)]
    shadowed = chosen.between(first, last).without("card", "mode").with_values("card", card).with_values("mode", "shadow")
    page = newest(database, days, shadowed, limit=_MOST_CASES)
    places = positions(database, page.rows, asked.knowledge)
    cases = [
        {
            "time": local(one.received_at, zone).isoformat(sep=" ", timespec="seconds"),
            "version": one.version,
            "indicator": one.indicator,
            "state": one.state,
            "client": one.client,
            "hook": one.hook,
            "position": places[bytes(one.call_id), one.position],
            "path": f"{BASE}/cases/{bytes(one.call_id).hex()}/{one.card}/{evaluation_number(database, one)}",
        }
        for one in page.rows
    ]
    data: dict[str, Any] = {
        "card": card,
        "status": today.file.status if today is not None else "",
        "period": period(chosen),
        "contents": rows,
        "cases": cases,
        "positions": dict(sorted(Counter(str(one["position"]) for one in cases if one["state"] == "shown").items())),
        "more": page.before is not None,
    }
    only_html = {
        "filters": filter_bar(database, chosen.without("card"), asked.knowledge, asked.settings.time_zone, ("client",)),
        "may_open": asked.reader.may("reviewer"),
    }
    return Page(f"Shadow beside live: {card}", "shadow.html", data, only_html, rows=rows, columns=_COLUMNS)


def _row(one: Content, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "version": one.version,
        "content_hash": one.content_hash,
        "mode": one.mode,
        "first": local(one.first, zone).date().isoformat(),
        "last": local(one.last, zone).date().isoformat(),
        "fire_rate": one.fire_rate,
        "fired": one.fire_rate.numerator,
        "evaluated": one.fire_rate.denominator,
        **{name: getattr(one, name) for name in ("live", "shadow", "held_back", "difference", "low", "high")},
    }


ROUTE = PageRoute("/cards/{card}/shadow", draw, "viewer", csv=True, scoped=True)
