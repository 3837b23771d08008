"""Rewrite rows of version 0.1.0 into the tables of today, a few at a time, while services write.

Each transaction writes some calls anew, the newest first, and deletes their old rows: where it is stopped, the next run goes on.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from cds_service.alert_log.old_records import FACTS_VERSION, old_call, old_feedback, old_quarantine, old_repeats
from cds_service.alert_log.old_schema import OLD_TABLES
from cds_service.alert_log.reading import has_old_rows
from cds_service.alert_log.records import FeedbackRecord
from cds_service.alert_log.rows import Rows
from cds_service.alert_log.store import Store

_CALLS = 100  # per transaction at most
_HOLDS = 0.005  # seconds after which a transaction takes no further call, as each commit of a service waits for it
_SHARE = 4  # times as long as a transaction and its checkpoint took is the pause after them, in which others get disk and lock
_LONGEST = 2.0  # seconds
_OTHERS = 500


class Compacted(msgspec.Struct, frozen=True):
    """How far the rewriting is: calls rewritten and left, and those of them that no version wrote and that stay as they are."""

    done: int
    left: int
    unreadable: int


KeepReason = Callable[[FeedbackRecord], FeedbackRecord]


def compact(path: Path, keep_reason: KeepReason, *, monotonic: Callable[[], float] = time.monotonic) -> Iterator[Compacted]:
    """Rewrite all old rows of the file; yield the progress after each transaction.

    `keep_reason` leaves of a feedback's reason what may be kept for ever: version 0.1.0 kept it as it was sent, and it is to
    stand among the names, which are never deleted. The old tables go at the end, unless some rows can't be read: those stay.
    Raises what `Store` raises.
    """
    with closing(Store(path)) as store:
        yield from _Compacting(store, keep_reason, monotonic).run()


class _Compacting:
    def __init__(self, store: Store, keep_reason: KeepReason, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._monotonic = monotonic
        self._keep_reason = keep_reason
        self._done = self._unreadable = 0

    def run(self) -> Iterator[Compacted]:
        with self._store.transaction() as rows:
            if not has_old_rows(rows.connection):
                return
            connection = rows.connection
            rows.execute("PRAGMA secure_delete = ON")  # else the deleted rows stay readable in free pages
            left, before = rows.execute("SELECT count(*), coalesce(max(seq), 0) + 1 FROM old_call").fetchone()
        # No checkpoint inside a commit, while writers wait for the lock: it is made after each, beside them.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        total = left
        after: int | None = 0
        while after is not None:  # feedback first, because cards are looked up with it in the new table
            with self._store.transaction() as rows:
                after = self._some_feedback(rows, after)
        while before is not None:
            began = self._monotonic()
            with self._store.transaction() as rows:
                before = self._some_calls(rows, before)
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # waits for nobody; its syncs take the disk's time
            took = self._monotonic() - began
            yield Compacted(self._done, total - self._done - self._unreadable, self._unreadable)
            time.sleep(min(_SHARE * took, _LONGEST))
        with self._store.transaction() as rows:
            for row in _fetched(rows, "SELECT * FROM old_quarantine ORDER BY seq", ()):
                rows.add([old_quarantine(row)])
            rows.execute("DELETE FROM old_quarantine")
        self._drop()

    def _some_calls(self, rows: Rows, before: int) -> int | None:
        """Rewrite the newest calls below `before`; return where to go on, None at the end."""
        found = _fetched(rows, "SELECT * FROM old_call WHERE seq < ? ORDER BY seq DESC LIMIT ?", (before, _CALLS))
        ends = self._monotonic() + _HOLDS
        for row in found:
            cards = _fetched(rows, "SELECT * FROM old_card WHERE call_seq = ? ORDER BY position", (row["seq"],))
            rows.execute("SAVEPOINT one")
            try:
                call = old_call(row, cards)
                rows.call(call, FACTS_VERSION)
                for again in old_repeats(row, call):
                    rows.repeat(again, call.id)
                rows.flush()
            except (ValueError, TypeError, msgspec.DecodeError, sqlite3.IntegrityError):
                rows.execute("ROLLBACK TO one")
                rows.forget()
                self._unreadable += 1
            else:
                rows.execute("DELETE FROM old_card WHERE call_seq = ?", (row["seq"],))
                rows.execute("DELETE FROM old_call WHERE seq = ?", (row["seq"],))
                self._done += 1
            rows.execute("RELEASE one")
            before = int(row["seq"])
            if self._monotonic() >= ends:
                break
        return before if found else None

    def _some_feedback(self, rows: Rows, after: int) -> int | None:
        found = _fetched(rows, "SELECT * FROM old_feedback WHERE seq > ? ORDER BY seq LIMIT ?", (after, _OTHERS))
        for row in found:
            sender = None if row["client"] else rows.execute(_SENDER, (row["card_uuid"],)).fetchone()
            rows.add([self._keep_reason(one) for one in old_feedback(row, sender)])
            rows.execute("DELETE FROM old_feedback WHERE seq = ?", (row["seq"],))
        return int(found[-1]["seq"]) if found else None

    def _drop(self) -> None:
        with self._store.transaction() as rows:
            if rows.execute("SELECT 1 FROM old_call LIMIT 1").fetchone() is None:
                for name in sorted(OLD_TABLES, key="call".__eq__):  # `old_card` refers to `old_call`
                    rows.execute(f"DROP TABLE old_{name}")


# Feedback from before its sender was kept came from whoever was shown the card.
_SENDER = """SELECT client, tenant FROM old_card JOIN old_call ON old_call.seq = call_seq
    WHERE uuid = ? ORDER BY old_card.seq DESC LIMIT 1"""


def _fetched(rows: Rows, query: str, values: tuple[int, ...]) -> list[sqlite3.Row]:
    cursor = rows.execute(query, values)
    cursor.row_factory = sqlite3.Row
    return cursor.fetchall()
