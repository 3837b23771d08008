"""Delete old records from the log's file, few at a time, so that no commit of a service waits long.

What is deleted is overwritten (`secure_delete`), and the write-ahead log is emptied at the end, so that the disk keeps no copy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from cds_service.alert_log.commit_lock import CommitLock

CALLS_AT_ONCE = 50  # in one transaction, for which every commit has to wait
_RECORDS_AT_ONCE = 200  # of others, which are small
_BUSY_MS = 5_000

_OF_CALL = ("card", "ordered")  # by (received_at, call_id)
_OTHERS = ("delivery", "withdrawal", "feedback", "refusal", "quarantine", "sealed")

Seq = tuple[int]


class _Call(NamedTuple):
    seq: int
    received_at: int
    id: bytes


class Deletion:
    """A connection that deletes what is older than a moment and below a sequence number. Context manager."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error where the file can't be opened."""
        self._connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=_BUSY_MS / 1000, isolation_level=None
        )
        self._lock = CommitLock(path)
        self._connection.execute("PRAGMA secure_delete = ON")
        # No checkpoint inside a commit, while writers wait for the lock: it is made after each, beside them.
        self._connection.execute("PRAGMA wal_autocheckpoint = 0")

    def __enter__(self) -> Deletion:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._lock.close()

    def delete_some(self, before: int, below: int, kept: Collection[int] = ()) -> int:
        """Delete the oldest calls with all that belongs to them, and other records, in one transaction.

        `before`: microseconds since 1970; `below`: sequence number; `kept`: sequence numbers that stay. Returns how many records
        went, 0 where there are none left. Raises sqlite3.Error, with nothing deleted.
        """
        calls = self._old_calls(before, below, kept)
        others = {table: self._old_records(table, before, below, kept) for table in _OTHERS}
        if not calls and not any(others.values()):
            return 0
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._delete(calls, others)
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # some errors have rolled back already
                    self._connection.execute("ROLLBACK")
                raise
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # waits for nobody and holds up nobody
        return len(calls) + sum(len(seqs) for seqs in others.values())

    def empty_wal(self) -> bool:
        """Move the write-ahead log into the file and cut it to nothing. False where a reader kept that from happening."""
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        with self._lock:
            busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def _old_calls(self, before: int, below: int, kept: Collection[int]) -> list[_Call]:
        found = self._connection.execute(
            "SELECT seq, received_at, id FROM call WHERE received_at < ? AND seq < ? ORDER BY received_at LIMIT ?",
            (before, below, CALLS_AT_ONCE + len(kept)),
        )
        return [_Call(*row) for row in found if row[0] not in kept][:CALLS_AT_ONCE]

    def _old_records(self, table: str, before: int, below: int, kept: Collection[int]) -> list[Seq]:
        """Return the first records of a table, up to one that is too young: there is no index on the time of all of them."""
        query = f"SELECT seq, received_at FROM {table} WHERE seq < ? ORDER BY seq LIMIT ?"  # noqa: S608 - names of this program
        found = self._connection.execute(query, (below, _RECORDS_AT_ONCE + len(kept)))
        return [(seq,) for seq, _ in takewhile(lambda row: row[1] < before, found) if seq not in kept]

    def _delete(self, calls: Collection[_Call], others: Mapping[str, Sequence[Seq]]) -> None:
        execute_many = self._connection.executemany
        for table in _OF_CALL:
            query = f"DELETE FROM {table} WHERE received_at = ? AND call_id = ?"  # noqa: S608 - names of this program
            execute_many(query, [(one.received_at, one.id) for one in calls])
        of_calls = [(one.seq,) for one in calls]
        for table, seqs in {"body": of_calls, "call": of_calls, **others}.items():
            execute_many(f"DELETE FROM {table} WHERE seq = ?", seqs)  # noqa: S608 - names of this program
