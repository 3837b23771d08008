"""Count codes, units and prefetch keys of each day that is over, from the bodies of its calls.

Bodies are decompressed one by one, which takes long for a page and for counting a day every few seconds: so each day is counted
once it is over, and again only where the counts of the log say that it has changed since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from cds_service.alert_log.body import decode_body
from cds_service.alert_log.call_bodies import decompressor
from cds_service.alert_log.compression import CompressionError
from cds_service.criteria.facts import Unread
from cds_service.database import Database
from cds_service.rollups.days import HOUR, SiteDays, plus

DAYS = 63  # before today that are counted: four weeks that are looked at, four before each, and the rest of a week
_JOIN = {
    "sqlite": "body.seq = c.seq",
    "postgres": "body.tenant = c.tenant AND body.received_at = c.received_at AND body.call_id = c.id",
}
_BODIES = """SELECT c.tenant, c.client, body.content FROM log.call c JOIN log.body ON {join}
    WHERE c.received_at >= :start AND c.received_at < :end AND c.repeat_of IS NULL"""
UNREADABLE = "unreadable"  # the kind under which damaged bodies are counted


class _Lab(msgspec.Struct):
    code: str = ""
    reported_unit: str = ""


class _Series(msgspec.Struct):
    results: list[_Lab] = []


class _Drug(msgspec.Struct):
    code: str = ""
    recognised_by: str = ""


class _Facts(msgspec.Struct):
    """The members of facts that hold codes; the others are skipped."""

    labs: dict[str, _Series] = {}
    drugs: list[_Drug] = []
    unread: list[Unread] = []


_facts = msgspec.json.Decoder(_Facts | None)


def count_bodies(database: Database, days: SiteDays, today: int) -> int:
    """Count the days before `today` that changed since they were counted; return how many. Raises DatabaseError."""
    rows = database.rows(
        "SELECT r.day, r.computed_at FROM review.rolled_day r LEFT JOIN review.body_day b ON b.day = r.day "
        "WHERE r.day >= :first AND r.day < :today AND (b.counted_of IS NULL OR b.counted_of <> r.computed_at) ORDER BY r.day",
        first=plus(today, -DAYS),
        today=today,
    )
    for row in rows:
        _count_day(database, days, row["day"], row["computed_at"])
    return len(rows)


def _count_day(database: Database, days: SiteDays, day: int, counted_of: int) -> None:
    codes: Counter[tuple[Any, ...]] = Counter()
    sources: Counter[tuple[Any, ...]] = Counter()
    unpack = decompressor(database)
    bounds = days.bounds(day)
    for start in range(bounds.start, bounds.end, HOUR):  # an hour at a time, so that few bodies are in memory
        for row in database.rows(_BODIES.format(join=_JOIN[database.dialect]), start=start, end=start + HOUR):
            client = (database.names.text(row["tenant"]), database.names.text(row["client"]))
            try:
                body = decode_body(unpack(bytes(row["content"])))
                facts = _facts.decode(body.facts)
            except (CompressionError, msgspec.DecodeError, ValueError):  # damaged, or written by a newer program
                codes[(*client, UNREADABLE, "", "", 0)] += 1
                continue
            codes.update((*client, *one) for one in set(_codes(facts)))
            sources.update((*client, *one) for one in _sent(body.sources))
    with database.transaction():
        for table in ("body_code", "body_source"):
            database.execute(f"DELETE FROM review.{table} WHERE day = :day", day=day)  # noqa: S608 - names of this module
        _insert(database, "body_code", ("tenant", "client", "kind", "system", "code", "known"), day, codes)
        _insert(database, "body_source", ("tenant", "client", "name", "sent"), day, sources)
        database.execute(
            "INSERT INTO review.body_day (day, counted_of) VALUES (:day, :of) "
            "ON CONFLICT (day) DO UPDATE SET counted_of = excluded.counted_of",
            day=day,
            of=counted_of,
        )


def _insert(database: Database, table: str, columns: tuple[str, ...], day: int, counts: Counter[tuple[Any, ...]]) -> None:
    names = ("day", *columns, "n")
    database.execute_many(
        f"INSERT INTO review.{table} ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})",  # noqa: S608
        [dict(zip(names, (day, *key, n), strict=True)) for key, n in counts.items()],
    )


def _codes(facts: _Facts | None) -> Iterator[tuple[str, str, str, int]]:
    """Yield kind, system, code, and 1 where it was understood, of what one call held; a call counts each once."""
    if facts is None:
        return
    for analyte, series in facts.labs.items():
        for lab in series.results:
            if lab.code:
                yield ("lab", *_split(lab.code), 1)
            yield ("unit", analyte, lab.reported_unit, 1)
    for drug in facts.drugs:
        if drug.code and drug.recognised_by:
            yield ("drug", *_split(drug.code), 1)
    for one in facts.unread:
        yield (one.kind, one.system, one.code, 0)


def _split(code: str) -> tuple[str, str]:
    system, _, own = code.rpartition("|")
    return system, own


def _sent(sources: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
    """Yield each prefetch key, and 1 where the client sent it."""
    for name, source in sources.get("states", {}).items():
        if source.get("origin", "none") != "context":
            yield name, int(source.get("origin") == "prefetch")
