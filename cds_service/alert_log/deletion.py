"""Delete old records from the log's file, few at a time, so that no commit of a service waits long.

What is deleted is overwritten (`secure_delete`), and the write-ahead log is emptied at the end, so that the disk keeps no copy.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cds_service.alert_log.commit_lock import CommitLock

CALLS_AT_ONCE = 50  # at most, in one transaction, for which every commit has to wait
_RECORDS_TO_A_CALL = 4  # others, which are small
_QUICK, _SLOW = 0.010, 0.025  # seconds of a transaction: below, the next is twice as large; above, half
_BUSY_MS = 5_000
_EMPTYING_MS = 20  # for which emptying the write-ahead log waits for readers, while commits wait for it
_EMPTYING_TRIES, _EMPTYING_PAUSE = 20, 0.1  # seconds between two tries

_OF_CALL = ("card", "ordered")  # by (received_at, call_id)
_OTHERS = ("delivery", "withdrawal", "feedback", "refusal", "quarantine", "sealed")
# Sealed texts and sealed inputs may have other ages than the rest.
_SEALED, _INPUTS = "sealed", "inputs"
_IS_INPUTS = "kind IS (SELECT id FROM name WHERE text = 'inputs')"


class _Call(NamedTuple):
    seq: int
    received_at: int
    id: bytes


class _Other(NamedTuple):
    seq: int
    received_at: int


class Deletion:
    """A connection that deletes what is older than a moment and below a sequence number. Context manager."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error where the file can't be opened."""
        self._connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=_BUSY_MS / 1000, isolation_level=None
        )
        self._lock = CommitLock(path)
        self._at_once = CALLS_AT_ONCE
        self._reached = dict.fromkeys(("call", *_OTHERS, _INPUTS), -(1 << 62))  # what is older is gone or kept
        self._connection.execute("PRAGMA secure_delete = ON")
        # No checkpoint inside a commit, while writers wait for the lock: it is made after each, beside them.
        self._connection.execute("PRAGMA wal_autocheckpoint = 0")
        self._connection.execute("CREATE TEMP TABLE kept (seq INTEGER PRIMARY KEY)")

    def __enter__(self) -> Deletion:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._lock.close()

    def keep(self, seqs: Iterable[int]) -> None:
        """Leave the records with these numbers, however old they are."""
        self._connection.executemany("INSERT OR IGNORE INTO kept VALUES (?)", ((seq,) for seq in seqs))

    def delete_some(self, before: int, below: int, sealed_before: int | None = None, inputs_before: int | None = None) -> int:
        """Delete the oldest calls with all that belongs to them, and other records, in one transaction.

        `before`: microseconds since 1970, `sealed_before` and `inputs_before` those of sealed texts and inputs where they differ;
        `below`: sequence number.
        Returns how many records went, 0 where there are none left. Raises sqlite3.Error, with nothing deleted.
        """
        calls = self._old_calls(before, below)
        ages = {_SEALED: sealed_before, _INPUTS: inputs_before}
        others = {
            name: self._old_records(name, before if (own := ages.get(name)) is None else own, below)
            for name in (*_OTHERS, _INPUTS)
        }
        if not calls and not any(others.values()):
            return 0
        self._in_one_transaction(lambda: self._delete(calls, others))
        # Only what is committed is behind us: a transaction that failed is tried again.
        if calls:
            self._reached["call"] = calls[-1].received_at
        self._reached |= {name: records[-1].received_at for name, records in others.items() if records}
        return len(calls) + sum(len(records) for records in others.values())

    def delete_key_pairs(self, old_key: int, below: int) -> int:
        """Delete some of the pairs of a generation of the hash key; return how many, 0 where there are none left."""
        query = "SELECT seq FROM key_pair WHERE old_key = ? AND seq < ? LIMIT ?"
        asked = (old_key, below, self._at_once * _RECORDS_TO_A_CALL)
        seqs: list[tuple[int]] = self._connection.execute(query, asked).fetchall()
        if seqs:
            self._in_one_transaction(lambda: self._connection.executemany("DELETE FROM key_pair WHERE seq = ?", seqs))
        return len(seqs)

    def delete_knowledge(self, before: int) -> int:
        """Delete archived knowledge of before that moment which no call needs, but for the newest. Return how many versions."""
        query = """SELECT hash FROM knowledge WHERE archived_at < ? AND archived_at < (SELECT max(archived_at) FROM knowledge)
            AND NOT EXISTS (SELECT 1 FROM call WHERE call.knowledge = hash)"""
        hashes = self._connection.execute(query, (before,)).fetchall()
        for one in hashes:  # each is large
            self._in_one_transaction(partial(self._connection.execute, "DELETE FROM knowledge WHERE hash = ?", one))
        return len(hashes)

    def empty_wal(self) -> bool:
        """Move the write-ahead log into the file and cut it to nothing. False where readers kept that from happening."""
        for _ in range(_EMPTYING_TRIES):
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            with self._lock:
                self._connection.execute(f"PRAGMA busy_timeout = {_EMPTYING_MS}")
                busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            if not busy:
                return True
            time.sleep(_EMPTYING_PAUSE)
        return False

    def rewrite(self) -> None:
        """Write the whole file anew, without the unused parts of its pages. Commits wait for all of it.

        Where SQLite splits a page, the old page may keep a copy of rows that moved, which no deletion finds. Raises
        sqlite3.Error.
        """
        with self._lock:
            self._connection.execute("VACUUM")

    def _in_one_transaction(self, work: Callable[[], object]) -> None:
        """Do the work while commits of others wait, and fit the size of the next to how long that took."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            began = time.perf_counter()
            try:
                work()
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # some errors have rolled back already
                    self._connection.execute("ROLLBACK")
                raise
            seconds = time.perf_counter() - began
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # waits for nobody and holds up nobody
        if seconds > _SLOW:
            self._at_once = max(1, self._at_once // 2)
        elif seconds < _QUICK:
            self._at_once = min(CALLS_AT_ONCE, 2 * self._at_once)

    def _old_calls(self, before: int, below: int) -> list[_Call]:
        found = self._connection.execute(
            """SELECT seq, received_at, id FROM call WHERE received_at >= ? AND received_at < ? AND seq < ?
                AND seq NOT IN (SELECT seq FROM kept) ORDER BY received_at LIMIT ?""",
            (self._reached["call"], before, below, self._at_once),
        )
        return [_Call(*row) for row in found]

    def _old_records(self, name: str, before: int, below: int) -> list[_Other]:
        of_kind = f"AND {'' if name == _INPUTS else 'NOT '}{_IS_INPUTS}" if name in (_SEALED, _INPUTS) else ""
        query = f"""SELECT seq, received_at FROM {_table(name)} WHERE received_at >= ? AND received_at < ? AND seq < ?
            {of_kind} AND seq NOT IN (SELECT seq FROM kept) ORDER BY received_at LIMIT ?"""  # noqa: S608 - names of this program
        asked = (self._reached[name], before, below, self._at_once * _RECORDS_TO_A_CALL)
        return [_Other(*row) for row in self._connection.execute(query, asked)]

    def _delete(self, calls: Collection[_Call], others: Mapping[str, Sequence[_Other]]) -> None:
        execute_many = self._connection.executemany
        for table in _OF_CALL:
            query = f"DELETE FROM {table} WHERE received_at = ? AND call_id = ?"  # noqa: S608 - names of this program
            execute_many(query, [(one.received_at, one.id) for one in calls])
        seqs: dict[str, Collection[_Call | _Other]] = {"body": calls, "call": calls, **others}
        for name, records in seqs.items():
            execute_many(f"DELETE FROM {_table(name)} WHERE seq = ?", [(one.seq,) for one in records])  # noqa: S608 - our names


def _table(name: str) -> str:
    return _SEALED if name == _INPUTS else name
