"""Delete old records from PostgreSQL by dropping partitions of whole months. What is held moves into new ones first.

A dropped partition is gone from the disk at once and costs the same however large it is. The tables that have no partitions are
small, and lose rows.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import msgspec

from cds_service.database import Database, DatabaseUnavailableError
from cds_service.retention.due import OF_KIND, Limits
from cds_service.shipping.partitions import Month
from cds_service.shipping.schema import LOCK
from cds_service.shipping.tables import PARTITIONED

# Readers and shippers queue behind a statement that waits for its lock, so it waits for this long and tries again.
_LOCK_MS = 200
_TRIES, _PAUSE = 50, 0.3  # seconds between two

_NAME = re.compile(r"call_([0-9]{4})_([0-9]{2})")
_CHILDREN = """SELECT c.relname AS name FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
    WHERE inhparent = to_regclass('log.call') ORDER BY c.relname"""
_OF_CALL = "held_call h WHERE h.received_at = o.received_at AND h.id = o.call_id"
_HELD = {  # what marks a row `o` as held
    "call": "held_call h WHERE h.received_at = o.received_at AND h.id = o.id",
    "feedback": "held_feedback h WHERE h.received_at = o.received_at AND h.id = o.id",
}
_OTHERS = {
    "withdrawal": "AND NOT EXISTS (SELECT 1 FROM held_call h WHERE h.received_at = o.received_at AND h.id = o.call_id)",
    "refusal": "",
    "quarantine": "AND NOT EXISTS (SELECT 1 FROM held_client h WHERE h.client = o.client)",
    **dict.fromkeys(
        ("sealed", "inputs"),
        "AND NOT EXISTS (SELECT 1 FROM held_call h WHERE h.id = o.of) "
        "AND NOT EXISTS (SELECT 1 FROM held_feedback h WHERE h.id = o.of)",
    ),
}
_UNNEEDED_KNOWLEDGE = """DELETE FROM log.knowledge WHERE archived_at < :before
    AND archived_at < (SELECT max(archived_at) FROM log.knowledge)
    AND NOT EXISTS (SELECT 1 FROM log.call WHERE call.knowledge = knowledge.hash)"""


def by_months(until: Limits) -> Limits:
    """Return the limits with which only whole months (UTC) of evidence are old."""
    month = Month.of(datetime.fromtimestamp(until.evidence // 1_000_000, UTC))
    return msgspec.structs.replace(until, evidence=month.begins)


def old_months(database: Database, until: Limits) -> list[Month]:
    """Return the months with partitions that are old as a whole."""
    found = [_NAME.fullmatch(row["name"]) for row in database.rows(_CHILDREN)]
    months = [Month(int(one[1]), int(one[2])) for one in found if one]
    return [month for month in months if month.after().begins <= until.evidence]


def drop_month(database: Database, month: Month) -> None:
    """Drop the partitions of a month, all in one transaction, but for what `holds.mark_held` has marked.

    Raises DatabaseUnavailableError where their locks could not be had in many tries.
    """
    for attempt in range(_TRIES):
        try:
            with database.transaction():
                database.execute(f"SET LOCAL lock_timeout = {_LOCK_MS}")
                database.rows("SELECT pg_advisory_xact_lock(:lock)", lock=LOCK)
                for table in PARTITIONED:
                    _drop(database, table, month)
        except DatabaseUnavailableError:
            if attempt == _TRIES - 1 or not database.usable:
                raise
            time.sleep(_PAUSE)
        else:
            return


def _drop(database: Database, table: str, month: Month) -> None:
    name = f"log.{table}_{month.partition}"
    if database.one("SELECT to_regclass(:name) AS found", name=name) == {"found": None}:
        return
    held, kept = _HELD.get(table, _OF_CALL), f"kept_{table}"
    database.execute(f"CREATE TEMP TABLE {kept} ON COMMIT DROP AS SELECT * FROM {name} o WHERE EXISTS (SELECT 1 FROM {held})")
    database.execute(f"DROP TABLE {name}")
    if database.one(f"SELECT 1 AS one FROM {kept} LIMIT 1") is not None:
        span = f"FROM ({month.begins}) TO ({month.after().begins})"
        database.execute(f"CREATE TABLE {name} PARTITION OF log.{table} FOR VALUES {span}")
        database.execute(f"INSERT INTO {name} SELECT * FROM {kept}")


def delete_others(database: Database, until: Limits) -> None:
    """Delete old rows of the tables without partitions, and of default partitions: of months that could not be true."""
    for name, unheld in _OTHERS.items():
        table, of_kind = ("sealed", OF_KIND[name]) if name in OF_KIND else (name, "")
        database.execute(f"DELETE FROM log.{table} o WHERE o.received_at < :before {of_kind} {unheld}", before=until.of(name))
    for table in PARTITIONED:
        unheld = f"AND NOT EXISTS (SELECT 1 FROM {_HELD.get(table, _OF_CALL)})"
        database.execute(f"DELETE FROM log.{table}_elsewhen o WHERE o.received_at < :before {unheld}", before=until.evidence)
    database.execute("DELETE FROM log.unshipped WHERE noted_at < :before", before=until.evidence)
    database.execute(_UNNEEDED_KNOWLEDGE, before=until.evidence)


def delete_key_pairs(database: Database, generation: int) -> None:
    """Delete the pairs of a generation of the hash key that no call has any more."""
    database.execute("DELETE FROM log.key_pair WHERE old_key = :generation", generation=generation)
