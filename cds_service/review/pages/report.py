"""Make the page of the monthly report."""

from __future__ import annotations

from cds_service.exports.month_figures import Month
from cds_service.review.monthly_report import monthly_report
from cds_service.review.page import Page, PageNotFoundError, PageRequest, PageRoute


def draw(asked: PageRequest) -> Page:
    """Return the report of the month in the address."""
    try:
        month = Month.parse(asked.path["month"])
    except ValueError as error:
        raise PageNotFoundError(f"There is no such report: {error}") from None
    report = monthly_report(asked.database, asked.knowledge, month, asked.filter(days=None))
    only_html = {"before": month.plus(-1).text, "after": month.plus(1).text}
    return Page(f"Alerts of {month.text}", "report.html", {"report": report}, only_html)


ROUTE = PageRoute("/report/{month}", draw, "viewer", scoped=True)
