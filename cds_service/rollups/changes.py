"""Find the days whose counts may differ from what was counted, by the sequence numbers of new records.

Records are never changed and each source numbers its own in the order of their commits, so what came since the last look are
those above a watermark. A new record concerns

- its own day, and the next one, whose first hours look back 24 h for repeats;
- for feedback and withdrawals: the day of the card or call that they are about;
- where it comes late, to a day before the newest: the later days on which its orders and encounters counted as new so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from cds_service.database import Database
from cds_service.database.database import Row
from cds_service.rollups.days import QUARTER, SiteDays, days_between, plus

_KINDS = ("call", "withdrawal", "delivery", "refusal")  # kinds whose received_at says which day they concern
_REACH_NEXT_DAY = ("call", "withdrawal")

_FEEDBACK = """SELECT DISTINCT c.received_at / {quarter} AS quarter FROM log.feedback f
    JOIN log.card c ON c.uuid = f.card_uuid AND c.tenant = f.tenant AND c.client = f.client WHERE {new}"""
_LATER_ORDERS = """SELECT DISTINCT (SELECT min(l.received_at) FROM log.ordered l
        WHERE l.order_key = o.order_key AND l.received_at >= :end) AS later
    FROM log.call f JOIN log.ordered o ON o.received_at = f.received_at AND o.call_id = f.id
    WHERE {new} AND f.received_at >= :start AND f.received_at < :end"""
_LATER_ENCOUNTERS = """SELECT DISTINCT (SELECT min(l.received_at) FROM log.call l
        WHERE l.encounter = f.encounter AND l.received_at >= :end) AS later
    FROM log.call f WHERE {new} AND f.encounter IS NOT NULL AND f.received_at >= :start AND f.received_at < :end"""

_NEWEST = "SELECT seq, received_at FROM ({}) AS newest ORDER BY seq DESC LIMIT 1".format(
    " UNION ALL ".join(
        f"SELECT * FROM (SELECT seq, received_at FROM log.{kind} WHERE seq <= :seq ORDER BY seq DESC LIMIT 1)"
        for kind in (*_KINDS, "feedback")
    )
)


class _New(NamedTuple):
    """Which records, called `f` in statements, are new."""

    where: str
    parameters: Mapping[str, int]

    @classmethod
    def between(cls, database: Database, source: int, seen: int, last: int) -> _New:
        if database.dialect == "sqlite":  # its one source is the file itself
            return cls("f.seq > :seen AND f.seq <= :last", {"seen": seen, "last": last})
        return cls("f.source = :source AND f.seq > :seen AND f.seq <= :last", {"source": source, "seen": seen, "last": last})


def note_changes(database: Database, days: SiteDays) -> None:
    """Move the watermarks to the newest records and note the days that they concern; in a transaction of the caller."""
    for source in _sources(database):
        seen = database.one("SELECT id, seq FROM review.rolled_source WHERE source = :source", source=source["number"])
        known = seen is not None and seen["id"] == _identity(database, source, seen["seq"])
        if seen is not None and known and seen["seq"] == source["last_seq"]:
            continue
        if seen is not None and known and seen["seq"] < source["last_seq"]:
            new = _New.between(database, source["number"], seen["seq"], source["last_seq"])
            note_days(database, _changed(database, days, new))
        else:  # a new source, another file, or one from a backup: nothing is known of what was counted from it
            note_days(database, all_days(database, days))
        database.execute(
            "INSERT INTO review.rolled_source (source, id, seq) VALUES (:number, :id, :last_seq) "
            "ON CONFLICT (source) DO UPDATE SET id = excluded.id, seq = excluded.seq",
            **source | {"id": _identity(database, source, source["last_seq"])},
        )


def _identity(database: Database, source: Row, seq: int) -> bytes:
    """Return what tells a source, as it was at its record `seq`, from others: its id and the time of its newest record then.

    A file that was restored from a backup keeps its id and gives the lost numbers out again, to records of other moments. In
    PostgreSQL its new records come under another number of the source.
    """
    mark = database.one(_NEWEST, seq=seq) if database.dialect == "sqlite" else None
    return bytes(source["id"]) + (mark["received_at"].to_bytes(8) if mark else b"")


def note_days(database: Database, found: Iterable[int]) -> None:
    """Note days to be counted anew, but for those whose records were deleted."""
    state = database.one("SELECT first_day FROM review.rollup_state")
    first = state["first_day"] if state else 0
    database.execute_many(
        "INSERT INTO review.dirty_day (day) VALUES (:day) ON CONFLICT DO NOTHING",
        [{"day": day} for day in sorted(set(found)) if day >= first],
    )


def _sources(database: Database) -> list[Row]:
    if database.dialect == "postgres":
        return database.rows("SELECT number, id, last_seq FROM log.source ORDER BY number")
    return database.rows("SELECT 0 AS number, id, last_seq FROM log.source")


def all_days(database: Database, days: SiteDays) -> set[int]:
    """Return every day that has a record or a count."""
    found = {row["day"] for row in database.rows("SELECT day FROM review.rolled_day")}
    for kind in ("call", "refusal"):
        row = database.one(f"SELECT min(received_at) AS first, max(received_at) AS last FROM log.{kind}")
        if row and row["first"] is not None:
            found.update(days_between(days.day_of(row["first"]), days.day_of(row["last"])))
    return found


def _changed(database: Database, days: SiteDays, new: _New) -> Iterator[int]:
    for kind in _KINDS:
        statement = f"SELECT DISTINCT f.received_at / {QUARTER} AS quarter FROM log.{kind} f WHERE {new.where}"
        for day in _days_of(database, days, statement, new):
            yield day
            if kind in _REACH_NEXT_DAY:
                yield plus(day, 1)
            if kind == "call":
                yield from _later(database, days, day, new)
    yield from _days_of(database, days, _FEEDBACK.format(quarter=QUARTER, new=new.where), new)


def _days_of(database: Database, days: SiteDays, statement: str, new: _New) -> set[int]:
    return {days.day_of(row["quarter"] * QUARTER) for row in database.rows(statement, **new.parameters)}


def _later(database: Database, days: SiteDays, day: int, new: _New) -> Iterator[int]:
    """Return the later days of the orders and encounters of new calls. In a day that goes on there are none."""
    bounds = days.bounds(day)
    if database.one("SELECT 1 AS one FROM log.call WHERE received_at >= :end LIMIT 1", end=bounds.end) is None:
        return
    for statement in (_LATER_ORDERS, _LATER_ENCOUNTERS):
        for row in database.rows(statement.format(new=new.where), start=bounds.start, end=bounds.end, **new.parameters):
            if row["later"] is not None:
                yield days.day_of(row["later"])
