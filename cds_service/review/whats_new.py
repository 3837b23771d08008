"""Find what changed in a period: versions of cards, knowledge, clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cds_service.database import Database
from cds_service.knowledge.knowledge import Knowledge
from cds_service.review.figures import title_of
from cds_service.rollups.counting import totals
from cds_service.rollups.days import SiteDays, plus
from cds_service.rollups.filter import Filter
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
    for card, version in _new(database, "evaluation", now, before, "card", "version"):
        day = _first_day(database, "evaluation", now, card=card, version=version)
        yield {"day": day, "what": "version of a card", "which": f"{title_of(knowledge, card)}: {version}", "card": card}


def _clients(database: Database, now: Filter, before: Filter) -> Iterator[dict[str, Any]]:
    for (client,) in _new(database, "call", now, before, "client"):
        day = _first_day(database, "call", now, client=client)
        yield {"day": day, "what": "client", "which": client or "a client without a name", "card": ""}


def _new(database: Database, table: str, now: Filter, before: Filter, *names: str) -> list[tuple[str, ...]]:
    """Return the values that are there now and were not before. Whole months of either are added up already."""
    found, known = (
        [tuple(str(row[name]) for name in names) for row in totals(database, table, chosen, names, _CALLS)]
        for chosen in (now, before)
    )
    return [one for one in found if one not in set(known)]


def _first_day(database: Database, table: str, now: Filter, **values: str) -> int:
    """Return the first day from the beginning of the filter on that has the values, which some day of it has."""
    where = "".join(f" AND {name} = :{name}" for name in values)
    row = database.one(
        f"SELECT min(day) AS day FROM review.daily_{table} WHERE day >= :since{where}",  # noqa: S608 - names of this module
        since=now.since,
        **{name: database.names.id(value) for name, value in values.items()},
    )
    assert row is not None  # noqa: S101 - an aggregate has a row
    return int(row["day"])


def _knowledge(database: Database, days: SiteDays, since: int, until: int) -> Iterator[dict[str, Any]]:
    rows = database.rows(
        "SELECT hash, archived_at FROM log.knowledge WHERE archived_at >= :start AND archived_at < :end",
        start=days.bounds(since).start,
        end=days.bounds(plus(until, 1)).start if until < 99991231 else 2**62,
    )
    for row in rows:
        which = f"hash {database.names.text(row['hash'])[:12]}"
        yield {"day": days.day_of(row["archived_at"]), "what": "knowledge (cards, overlay)", "which": which, "card": ""}
