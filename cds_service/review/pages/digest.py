"""Make the page of the weekly digest; its Markdown stands on it to be copied."""

from __future__ import annotations

import msgspec

from cds_service.review.digest import WeekError, digest, markdown, week_days
from cds_service.review.page import BadFormError, Page, PageRequest, PageRoute
from cds_service.review.signal_rows import seen_by
from cds_service.rollups.days import SiteDays, as_date, plus


def draw(asked: PageRequest) -> Page:
    """Return the digest of the week in the address, else of the last whole one."""
    try:
        first, last = week_days(asked.query.get("week", ""), asked.today)
    except WeekError as error:
        raise BadFormError(str(error)) from None
    chosen = asked.filter(other=("week",)).between(first, last)
    days = SiteDays(asked.settings.time_zone)
    found = digest(asked.database, chosen, asked.knowledge, days, seen_by(asked), asked.today)
    text = markdown(found, asked.settings.time_zone)
    weeks = {name: _week(plus(first, step)) for name, step in (("before", -7), ("after", 7))}
    only_html = {"weeks": weeks, "newest": plus(last, 7) < asked.today}
    return Page(f"Week {found.week}", "digest.html", {"digest": msgspec.to_builtins(found), "markdown": text}, only_html)


def _week(day: int) -> str:
    week = as_date(day).isocalendar()
    return f"{week.year}-W{week.week:02d}"


ROUTE = PageRoute("/digest", draw, "viewer", nav="Digest")
