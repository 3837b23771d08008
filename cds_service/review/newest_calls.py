"""Look into the newest calls of each client, for what no roll-up counts: clocks, queries, codes that were not understood.

Bodies are read one by one, so a page looks at a bounded number of calls and says how many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from statistics import median
from typing import Any

import msgspec

from cds_service.alert_log.call_bodies import read_body
from cds_service.alert_log.compression import CompressionError
from cds_service.criteria.facts import Unread
from cds_service.database import Database
from cds_service.rollups.counting import conditions
from cds_service.rollups.days import SiteDays, plus
from cds_service.rollups.filter import Filter
from cds_service.rollups.queries import call_counts
from cds_service.rollups.rollup import rollup_state

CALLS = 60  # of each client
_DAYS = 35
_CLIENTS = 8  # those with the most calls
_MOST_CROSSED = 50_000  # calls of all clients on the days that are looked into, so that a rare one costs no scan

_NEWEST = """SELECT * FROM log.call WHERE received_at >= :start AND received_at < :end{where} AND repeat_of IS NULL
    ORDER BY received_at DESC LIMIT :limit"""


class Looked(msgspec.Struct, frozen=True):
    """What the newest calls of one client say."""

    client: str
    calls: int  # how many were looked at
    damaged: int  # of them, those whose record could not be read
    clock_ms: float | None  # middle of the client's clock minus ours; None where no token told it
    queries: int  # to its FHIR server
    query_ms: float | None  # middle of their times
    query_slowest_ms: float | None
    queries_failed: int  # no response, or a status of 400 or more
    unread: list[dict[str, Any]]  # kind, system, code, meaning, calls; the most frequent first


class _Facts(msgspec.Struct):
    """The member of facts that is looked at; the others are skipped."""

    unread: list[Unread] = []


_facts = msgspec.json.Decoder(_Facts | None)


def newest_calls(database: Database, chosen: Filter, time_zone: str) -> list[Looked]:
    """Look into the newest calls of the clients with the most calls, under the client and hook of the filter.

    Only the last weeks of the filter's days are looked into: a clock of last spring says nothing of today.
    """
    last = rollup_state(database).last_day
    if last is None:
        return []
    until = min(chosen.until or last, last)
    asked = chosen.without(*(chosen.names - {"client", "tenant", "hook"}))
    asked = asked.between(max(chosen.since or 0, plus(until, 1 - _DAYS)), until)
    days_of: dict[str, Counter[int]] = {}
    of_day: Counter[int] = Counter()
    for row in call_counts(database, asked.without("client", "hook"), ("day",)):
        of_day[row["day"]] += row["n"]
    for row in call_counts(database, asked, ("day", "client")):
        days_of.setdefault(row["client"], Counter())[row["day"]] += row["n"]
    clients = sorted(days_of, key=lambda one: (-days_of[one].total(), one))[:_CLIENTS]
    return [
        _look(client, list(_calls(database, asked, client, _since(days_of[client], of_day), SiteDays(time_zone))), database)
        for client in clients
    ]


def _since(own: Counter[int], all_calls: Counter[int]) -> tuple[int, int]:
    """Return the first and last day to look into: the newest that hold enough calls of the client."""
    newest = sorted(own, reverse=True)
    found = crossed = 0
    first = newest[0]
    for day in newest:
        crossed += sum(n for between, n in all_calls.items() if day <= between < first)
        if found >= CALLS or crossed > _MOST_CROSSED:
            break
        found += own[day]
        first = day
    return first, newest[0]


def _calls(database: Database, asked: Filter, client: str, days: tuple[int, int], site: SiteDays) -> Iterator[dict[str, Any]]:
    where, parameters = conditions(database, asked.without("client"), ("tenant", "hook"))
    yield from database.rows(
        _NEWEST.format(where=f" AND client = :client{where}"),
        start=site.bounds(days[0]).start,
        end=site.bounds(days[1]).end,
        client=database.names.id(client),
        limit=CALLS,
        **parameters,
    )


def _look(client: str, calls: list[dict[str, Any]], database: Database) -> Looked:
    unread: Counter[tuple[str, str, str, str]] = Counter()
    times: list[float] = []
    failed = damaged = 0
    for call in calls:
        try:
            body = read_body(database, call)
            facts = None if body is None else _facts.decode(body.facts)
        except (CompressionError, msgspec.DecodeError, ValueError):  # damaged, or written by a newer program
            damaged += 1
            continue
        if body is None:
            continue
        unread.update({(one.kind, one.system, one.code, one.meaning) for one in facts.unread} if facts else ())
        for query in body.sources.get("queries", ()):
            times.append(query["ms"])
            failed += not 0 < (query["status"] or 0) < 400
    most_unread = sorted(unread.items(), key=lambda one: (-one[1], one[0]))
    offsets = [call["clock_offset_ms"] for call in calls if call["clock_offset_ms"] is not None]
    return Looked(
        client=client,
        calls=len(calls),
        damaged=damaged,
        clock_ms=median(offsets) if offsets else None,
        queries=len(times),
        query_ms=median(times) if times else None,
        query_slowest_ms=max(times, default=None),
        queries_failed=failed,
        unread=[dict(zip(("kind", "system", "code", "meaning", "calls"), (*key, n), strict=True)) for key, n in most_unread],
    )
