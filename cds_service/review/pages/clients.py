"""Make the page of clients: who called, how it ended, how long it took, what never became a call."""

from __future__ import annotations

from collections import Counter
from typing import Any

from cds_service.database import Database
from cds_service.review.empty import why_empty
from cds_service.review.figures import NO_CARDS, NO_EVALUATIONS, could_not_check, coverage
from cds_service.review.filter_bar import filter_bar, period
from cds_service.review.links import Links
from cds_service.review.newest_calls import newest_calls
from cds_service.review.page import Page, PageRequest, PageRoute
from cds_service.review.rate import Rate, share
from cds_service.rollups.queries import (
    Latency,
    call_counts,
    card_counts,
    evaluation_counts,
    latency,
    refusal_counts,
)

_BY = ("tenant", "client")
_NO_CALLS = Latency({}, [])


def draw(asked: PageRequest) -> Page:
    """Return a row for each client that called or was refused."""
    database, chosen = asked.database, asked.filter()
    calls = call_counts(database, chosen, (*_BY, "status", "outcome"))
    refusals = refusal_counts(database, chosen.without("reason"), (*_BY, "status", "reason"))
    cards = {_key(one.of): one for one in card_counts(database, chosen, _BY)}
    evaluations = {_key(one.of): one for one in evaluation_counts(database, chosen, _BY)}
    times = {_key(one.of): one for one in latency(database, chosen, _BY)}
    last = {_key(row): row["day"] for row in call_counts(database, chosen, ("day", *_BY))}  # in the order of days
    clients: list[dict[str, Any]] = []
    for key in sorted({_key(row) for row in (*calls, *refusals)}):
        own = [row for row in calls if _key(row) == key]
        time = times.get(key, _NO_CALLS)
        clients.append(
            {
                "tenant": key[0],
                "client": key[1],
                "calls": sum(row["n"] for row in own),
                "repeats": sum(row["repeats"] for row in own),
                "failed": _failed(own),
                "refused": sum(row["n"] for row in refusals if _key(row) == key),
                **{name: time.percentile(part) for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))},
                "shown": cards.get(key, NO_CARDS).shown,
                "coverage": coverage(cards.get(key, NO_CARDS)),
                "could_not_check": could_not_check(evaluations.get(key, NO_EVALUATIONS)),
                "last_day": last.get(key),
            }
        )
    clients.sort(key=lambda one: (-one["calls"], -one["refused"], one["tenant"], one["client"]))
    data = {
        "period": period(chosen),
        "clients": clients,
        "statuses": sorted(calls, key=_by_number),
        "refusals": sorted(refusals, key=_by_number),
        "newest": [
            {name: getattr(one, name) for name in one.__struct_fields__ if name != "unread"}
            for one in newest_calls(database, chosen, asked.settings.time_zone)
        ],
        "quarantined": _quarantined(database),
        "empty": "" if clients else why_empty(database, chosen),
    }
    only_html = {
        "links": Links(chosen),
        "endings": _endings(calls, [one["client"] for one in clients if one["calls"]]),
        "filters": filter_bar(database, chosen, asked.knowledge, asked.settings.time_zone, ("client", "hook")),
    }
    rows = [one | {name: one[name].numerator for name in ("failed", "coverage", "could_not_check")} for one in clients]
    return Page("Clients", "clients.html", data, only_html, rows=rows, columns=_COLUMNS)


_COLUMNS = (
    *("tenant", "client", "calls", "repeats", "failed", "refused", "p50", "p95", "p99", "shown"),
    *("coverage", "could_not_check", "last_day"),
)


def _by_number(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return by what rows are sorted: the largest number first, equals by their words."""
    return (-row["n"], *(str(value) for name, value in row.items() if name != "n"))


def _key(row: Any) -> tuple[str, str]:
    return str(row["tenant"]), str(row["client"])


def _endings(calls: list[dict[str, Any]], clients: list[str]) -> dict[str, Any]:
    """Return how calls ended, a row for each status and outcome with a number for each client."""
    listed = list(dict.fromkeys(clients))
    counts: Counter[tuple[int, str, str]] = Counter()
    for row in calls:
        counts[row["status"], row["outcome"], row["client"]] += row["n"]
    rows = [
        (status, outcome, [counts[status, outcome, client] for client in listed])
        for status, outcome in sorted({(status, outcome) for status, outcome, _ in counts})
    ]
    return {"clients": listed, "rows": rows}


_QUARANTINED = """SELECT tenant, client, kind, error, count(*) AS n, max(received_at) AS last FROM log.quarantine
    GROUP BY tenant, client, kind, error ORDER BY n DESC, last DESC, error LIMIT 50"""


def _quarantined(database: Database) -> list[dict[str, Any]]:
    """Return what was sent or written and is in no figure, by who sent it and why, of the whole log; never its content."""
    name = database.names.text
    return [
        {**{field: name(row[field]) for field in ("tenant", "client", "kind")}, "error": row["error"], "n": row["n"]}
        for row in database.rows(_QUARANTINED)
    ]


def _failed(rows: list[dict[str, Any]]) -> Rate:
    """Return how many calls ended with a status of 500 or more."""
    return share("failed", sum(row["n"] for row in rows if row["status"] >= 500), sum(row["n"] for row in rows))


ROUTE = PageRoute("/clients", draw, "viewer", nav="Clients", csv=True, scoped=True)
