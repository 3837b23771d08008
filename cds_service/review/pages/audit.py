"""Make the page of the audit: who opened, revealed, exported or changed what. For auditors, who see nothing else."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from cds_service.access.audit_rows import MOST_ROWS, actions, audit_rows
from cds_service.alert_log.instants import micros
from cds_service.review.page import BASE, BadFormError, Page, PageRequest, PageRoute
from cds_service.review.timeline import local

_ROWS = 100
_COLUMNS = ("seq", "time", "reader", "action", "object", "reason", "detail")
_PARAMETERS = ("reader", "action", "from", "to", "before", "rows")


def draw(asked: PageRequest) -> Page:
    """Return a page of entries; `before` in the address says where it begins, `rows` how many it has."""
    query, zone = asked.query, ZoneInfo(asked.settings.time_zone)
    if any(name not in _PARAMETERS for name in query):
        raise BadFormError(f"The audit has no filter of this name; it has {', '.join(_PARAMETERS)}")
    limit = _number(query.get("rows", ""), "rows", MOST_ROWS) or _ROWS
    until = _day(query.get("to", ""), zone)
    found = audit_rows(
        asked.database,
        reader=query.get("reader", ""),
        action=query.get("action", ""),
        since=_moment(_day(query.get("from", ""), zone)),
        until=_moment(until + timedelta(days=1) if until else None),
        before=_number(query.get("before", ""), "before", 2**62),
        limit=limit + 1,
    )
    rows = [_row(one, zone) for one in found[:limit]]
    before = rows[-1]["seq"] if len(found) > limit else None
    kept = {name: query[name] for name in _PARAMETERS if query.get(name) and name != "before"}
    only_html = {
        "asked": {name: query.get(name, "") for name in _PARAMETERS},
        "actions": actions(asked.database),
        "next_link": f"{BASE}/audit?{urlencode({**kept, 'before': before})}" if before else "",
        "csv_link": f"{BASE}/audit.csv?{urlencode({**kept, 'rows': MOST_ROWS})}",
        "most": MOST_ROWS,
    }
    return Page("Audit", "audit.html", {"entries": rows, "before": before}, only_html, rows=rows, columns=_COLUMNS)


def _row(one: dict[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    return {"time": local(one["at"], zone).isoformat(sep=" ", timespec="seconds"), **one}


def _day(text: str, zone: ZoneInfo) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), zone)
    except ValueError:
        raise BadFormError("from and to must be dates, such as 2026-09-01") from None


def _moment(at: datetime | None) -> int | None:
    return micros(at) if at is not None else None


def _number(text: str, name: str, most: int) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:20]) <= most:
        raise BadFormError(f"{name} must be a whole number from 1 to {most}")
    return int(text)


ROUTE = PageRoute("/audit", draw, "auditor", nav="Audit", csv=True)
