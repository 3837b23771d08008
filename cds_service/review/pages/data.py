"""Make the page of data that cards needed and did not have."""

from __future__ import annotations

from typing import Any

from cds_service.explain.sentences import Sentences
from cds_service.knowledge.knowledge import Knowledge
from cds_service.review.empty import why_empty
from cds_service.review.figures import could_not_check, title_of
from cds_service.review.filter_bar import filter_bar, period
from cds_service.review.links import Links
from cds_service.review.page import Page, PageRequest, PageRoute
from cds_service.rollups.queries import evaluation_counts, missing_counts

_MOST_ROWS = 100  # on the page; the CSV has all


def draw(asked: PageRequest) -> Page:
    """Return what was missing, by card, criterion, cause and client."""
    database, chosen, knowledge = asked.database, asked.filter(), asked.knowledge
    sentences = Sentences(knowledge.criteria, knowledge.terminology)
    missing = [_missing(knowledge, sentences, row) for row in missing_counts(database, chosen, _BY)]
    missing.sort(key=lambda one: (-one["n"], one["card"], one["criterion"], one["cause"], one["client"]))
    by_client = [(one.of["client"], could_not_check(one)) for one in evaluation_counts(database, chosen, ("client",))]
    by_client.sort(key=lambda one: -(one[1].value or 0))
    data = {
        "period": period(chosen),
        "clients": [{"client": client, "could_not_check": rate} for client, rate in by_client],
        "missing": missing[:_MOST_ROWS],
        "more_missing": max(len(missing) - _MOST_ROWS, 0),
        "empty": why_empty(database, chosen),
    }
    only_html = {
        "links": Links(chosen),
        "filters": filter_bar(database, chosen, knowledge, asked.settings.time_zone, ("client", "hook", "card")),
    }
    columns = ("card", "title", "criterion", "says", "cause", "client", "n")
    return Page("Data", "data.html", data, only_html, rows=missing, columns=columns)


_BY = ("card", "criterion", "cause", "client")


def _missing(knowledge: Knowledge, sentences: Sentences, row: dict[str, Any]) -> dict[str, Any]:
    known = row["criterion"] in knowledge.criteria
    says = sentences.of(row["criterion"]) if known else row["criterion"].replace("_", " ")
    return row | {"title": title_of(knowledge, row["card"]), "says": says}


ROUTE = PageRoute("/data", draw, nav="Data", csv=True)
