"""Make the page of data that cards needed and did not have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cds_service.explain.sentences import Sentences
from cds_service.knowledge.knowledge import Knowledge
from cds_service.review.empty import why_empty
from cds_service.review.figures import could_not_check, title_of
from cds_service.review.filter_bar import filter_bar, period
from cds_service.review.links import Links
from cds_service.review.newest_calls import newest_calls
from cds_service.review.page import Page, PageRequest, PageRoute
from cds_service.rollups.queries import evaluation_counts, missing_counts

_MOST_ROWS = 40  # on the page; JSON and CSV have all
_MOST_CLIENTS = 5  # with a column of their own; the CSV has all


def draw(asked: PageRequest) -> Page:
    """Return what was missing, by card, criterion, cause and client."""
    database, chosen, knowledge = asked.database, asked.filter(), asked.knowledge
    sentences = Sentences(knowledge.criteria, knowledge.terminology)
    counts = [_missing(knowledge, sentences, row) for row in missing_counts(database, chosen, _BY)]
    listed = _first(_sums(counts, "client"), _MOST_CLIENTS)
    missing = [_across_clients(rows, listed) for rows in _groups(counts, "criterion", "cause")]
    causes = [_across_clients(rows, listed) for rows in _groups(counts, "cause")]
    by_client = [(one.of["client"], could_not_check(one)) for one in evaluation_counts(database, chosen, ("client",))]
    by_client.sort(key=lambda one: (-(one[1].value or 0), str(one[0])))
    newest = newest_calls(database, chosen, asked.settings.time_zone)
    unread = [{"client": one.client, **code} for one in newest for code in one.unread]
    unread.sort(key=lambda one: (-one["calls"], one["client"], one["kind"], one["code"]))
    data = {
        "period": period(chosen),
        "clients": [{"client": client, "could_not_check": rate} for client, rate in by_client],
        "listed_clients": listed,
        "causes": [{name: one[name] for name in ("cause", "n", "clients", "other_clients")} for one in causes],
        "missing": missing,
        "looked_at": [{"client": one.client, "calls": one.calls, "damaged": one.damaged} for one in newest],
        "unread": unread,
        "empty": why_empty(database, chosen),
    }
    only_html = {
        "links": Links(chosen),
        "most_rows": _MOST_ROWS,
        "title_of": lambda card: title_of(knowledge, card),
        "filters": filter_bar(database, chosen, knowledge, asked.settings.time_zone, ("client", "hook", "card")),
    }
    columns = ("card", "title", "criterion", "says", "cause", "client", "n")
    return Page("Data", "data.html", data, only_html, rows=counts, columns=columns)


_BY = ("card", "criterion", "cause", "client")


def _sums(rows: Iterable[Mapping[str, Any]], name: str) -> dict[str, int]:
    """Return the sum of `n` by the values of a field, the largest first, equals by name."""
    sums: dict[str, int] = {}
    for row in rows:
        sums[row[name]] = sums.get(row[name], 0) + row["n"]
    return dict(sorted(sums.items(), key=lambda one: (-one[1], one[0])))


def _first(sums: Mapping[str, int], count: int) -> list[str]:
    return list(sums)[:count]


def _groups(rows: Iterable[dict[str, Any]], *names: str) -> list[list[dict[str, Any]]]:
    """Return the rows that have the same values, the group with the most evaluations first."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return [groups[key] for key in sorted(groups, key=lambda key: (-sum(row["n"] for row in groups[key]), key))]


def _across_clients(rows: Sequence[dict[str, Any]], listed: Sequence[str]) -> dict[str, Any]:
    """Return one row for what was missing, with its cards and a number for each of the listed clients."""
    of_client, total = _sums(rows, "client"), sum(row["n"] for row in rows)
    clients = [of_client.get(client, 0) for client in listed]
    return {
        **{name: rows[0][name] for name in ("criterion", "says", "cause")},
        "n": total,
        "cards": [{"card": card, "n": n} for card, n in _sums(rows, "card").items()],
        "clients": clients,
        "other_clients": total - sum(clients),
    }


def _missing(knowledge: Knowledge, sentences: Sentences, row: dict[str, Any]) -> dict[str, Any]:
    known = row["criterion"] in knowledge.criteria
    says = sentences.of(row["criterion"]) if known else row["criterion"].replace("_", " ")
    return row | {"title": title_of(knowledge, row["card"]), "says": says}


ROUTE = PageRoute("/data", draw, "viewer", nav="Data", csv=True, scoped=True)
