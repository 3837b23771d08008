"""Find what changed in a period: versions of cards, knowledge, clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cds_service.database import Database
from cds_service.knowledge.knowledge import Knowledge
from cds_service.review.figures import title_of
from cds_service.rollups.counting import span_of_days, totals
from cds_service.rollups.days import SiteDays, plus
from cds_service.rollups.filter import Filter
from cds_service.rollups.queries import first_seen
from cds_service.rollups.rollup import rollup_state

_CALLS = {"n": "sum(n)"}


def whats_new(database: Database, chosen: Filter, knowledge: Knowledge) -> list[dict[str, Any]]:
    """Return rows of day, what, which and card (its id, or ""), newest first.

    What was there on the first day of the log is not new.
    """
    state = rollup_state(database)
    if state.first_day is None:
        return []
    since = max(chosen.since or 0, plus(state.first_day, 1))
    until = chosen.until or 99991231
    if since > until:
        return []
    now, before = chosen.between(since, until), chosen.between(None, plus(since, -1))
    found = [
        *_versions(database, now, before, knowledge),
        *_clients(database, now, before),
        *_knowledge(database, SiteDays(state.time_zone), since, until),
    ]
    return sorted(found, key=lambda row: (-row["day"], row["what"], row["which"]))


def _versions(database: Database, now: Filter, before: Filter, knowledge: Knowledge) -> Iterator[dict[str, Any]]:
    known = {(row["card"], row["version"]) for row in totals(database, "evaluation", before, ("card", "version"), _CALLS)}
    for row in first_seen(database, "version", now):
        if (row["card"], row["version"]) not in known:
            title = title_of(knowledge, row["card"])
            yield {"day": row["first"], "what": "version of a card", "which": f"{title}: {row['version']}", "card": row["card"]}


def _clients(database: Database, now: Filter, before: Filter) -> Iterator[dict[str, Any]]:
    known = {row["client"] for row in totals(database, "call", before, ("client",), _CALLS)}
    for row in span_of_days(database, "call", now, ("client",)):
        if row["client"] not in known:
            yield {"day": row["first"], "what": "client", "which": row["client"] or "a client without a name", "card": ""}


def _knowledge(database: Database, days: SiteDays, since: int, until: int) -> Iterator[dict[str, Any]]:
    rows = database.rows(
        "SELECT hash, archived_at FROM log.knowledge WHERE archived_at >= :start AND archived_at < :end",
        start=days.bounds(since).start,
        end=days.bounds(plus(until, 1)).start if until < 99991231 else 2**62,
    )
    for row in rows:
        which = f"hash {database.names.text(row['hash'])[:12]}"
        yield {"day": days.day_of(row["archived_at"]), "what": "knowledge (cards, overlay)", "which": which, "card": ""}
