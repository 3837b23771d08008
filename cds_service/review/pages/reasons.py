"""Make the page of reasons for overriding."""

from __future__ import annotations

from typing import Any

from cds_service.knowledge.knowledge import Knowledge
from cds_service.review.empty import why_empty
from cds_service.review.figures import title_of
from cds_service.review.filter_bar import filter_bar, period
from cds_service.review.links import Links
from cds_service.review.page import Page, PageRequest, PageRoute
from cds_service.review.rate import share
from cds_service.rollups.queries import reason_counts


def draw(asked: PageRequest) -> Page:
    """Return the reasons of each card, the most frequent first."""
    database, chosen = asked.database, asked.filter()
    rows = reason_counts(database, chosen)
    of_card: dict[str, int] = {}
    for row in rows:
        of_card[row["card"]] = of_card.get(row["card"], 0) + row["n"]
    overridden, comments = sum(of_card.values()), sum(row["comments"] for row in rows)
    reasons = [_reason(asked.knowledge, row, of_card[row["card"]]) for row in rows]
    reasons.sort(key=lambda one: (-one["overridden"], one["card"], one["reason"]))
    data = {
        "period": period(chosen),
        "overridden": overridden,
        "reasoned": share("reasoned", sum(row["n"] for row in rows if row["reason"]), overridden),
        "commented": share("commented", comments, overridden),
        "reasons": reasons,
        "empty": "" if rows else why_empty(database, chosen) or "No shown card was overridden, as far as was reported.",
    }
    only_html = {
        "links": Links(chosen),
        "filters": filter_bar(database, chosen, asked.knowledge, asked.settings.time_zone),
    }
    columns = ("card", "title", "reason", "says", "overridden", "of", "share", "comments")
    return Page("Reasons for overriding", "reasons.html", data, only_html, rows=reasons, columns=columns)


def _reason(knowledge: Knowledge, row: dict[str, Any], of_card: int) -> dict[str, Any]:
    return {
        "card": row["card"],
        "title": title_of(knowledge, row["card"]),
        "reason": row["reason"],
        "says": reason_text(knowledge, row["reason"]),
        "overridden": row["n"],
        "of": of_card,
        "share": row["n"] / of_card,
        "comments": row["comments"],
    }


def reason_text(knowledge: Knowledge, code: str) -> str:
    """Return what the EHR displays for a reason; the code itself for one that no card offers any more."""
    if not code:
        return "no reason given"
    offered = knowledge.overrides.get(code)
    return offered.display if offered else code


ROUTE = PageRoute("/reasons", draw, "viewer", nav="Reasons", csv=True, scoped=True)
