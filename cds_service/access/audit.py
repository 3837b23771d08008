"""Keep the audit: an append-only table in which each entry carries the hash of the one before.

What is shown or handed out is entered first, in a transaction of its own: where the entry can't be written, nothing is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec

from cds_service.alert_log.instants import micros
from cds_service.clock import Clock
from cds_service.database import Database, DatabaseError, DatabasePool

FIRST = bytes(32)  # stands where the first entry has the hash of the one before
_LOCK = 0x61756474  # one process at a time appends
_APPEND = """INSERT INTO review.audit (seq, at, reader, action, object, reason, detail, before, hash)
    VALUES (:seq, :at, :reader, :action, :object, :reason, :detail, :before, :hash)"""


class AuditError(Exception):
    """Raised where an entry can't be written. What it stands for must not happen then."""


class Head(msgspec.Struct, frozen=True):
    """The newest entry: its number, from 1, and its hash (SHA-256)."""

    seq: int
    hash: bytes


def entry_hash(row: Mapping[str, Any]) -> bytes:
    """Return the hash of an entry: SHA-256 over that of the entry before and the fields as a JSON array."""
    fields = [row[name] for name in ("seq", "at", "reader", "action", "object", "reason", "detail")]
    return sha256(bytes(row["before"]) + msgspec.json.encode(fields)).digest()


def head(database: Database) -> Head | None:
    """Return the newest entry; None where there is none yet. Raises DatabaseError."""
    row = database.one("SELECT seq, hash FROM review.audit ORDER BY seq DESC LIMIT 1")
    return Head(row["seq"], bytes(row["hash"])) if row is not None else None


def append(
    database: Database, at: int, reader: str, action: str, object_: str, reason: str = "", detail: Mapping[str, Any] | None = None
) -> Head:
    """Append an entry and return it as the new head; not inside a transaction of the caller.

    `at`: µs since 1970; `reader`: a name; `object_`: what it was done to, an address or a filter, no patient data; `detail`: more
    of it, kept as JSON. Raises AuditError.
    """
    try:
        with database.exclusive(_LOCK), database.transaction():
            last = head(database)
            row: dict[str, Any] = {
                "seq": last.seq + 1 if last is not None else 1,
                "at": at,
                "reader": reader,
                "action": action,
                "object": object_,
                "reason": reason,
                "detail": msgspec.json.encode(detail, order="sorted").decode() if detail else "",
                "before": last.hash if last is not None else FIRST,
            }
            row["hash"] = entry_hash(row)
            database.execute(_APPEND, **row)
    except DatabaseError as error:
        raise AuditError(f"The audit can't be written, so nothing was shown or handed out: {error}") from error
    return Head(row["seq"], row["hash"])


class AuditLog:
    """Append to the audit with a connection of its own, which no page holds."""

    def __init__(self, pool: DatabasePool, clock: Clock) -> None:
        """`pool`: of connections that write the review database."""
        self._pool = pool
        self._clock = clock

    def append(self, reader: str, action: str, object_: str, reason: str = "", detail: Mapping[str, Any] | None = None) -> Head:
        """Append an entry with the time of the clock; see `append`. Raises AuditError."""
        try:
            with self._pool.borrow() as database:
                return append(database, micros(self._clock()), reader, action, object_, reason, detail)
        except DatabaseError as error:
            raise AuditError(f"The audit can't be written, so nothing was shown or handed out: {error}") from error
