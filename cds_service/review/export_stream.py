"""Hand out one export as the body of a response, over a connection of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from threading import BoundedSemaphore
from typing import Any

from cds_service.database import Database, DatabaseUnavailableError, ScopedDatabase, open_site_database
from cds_service.exports.audited import audited
from cds_service.exports.cursor import Snapshot
from cds_service.exports.formats import CACHE_MB, Format
from cds_service.exports.selection import CaseRef, Selection
from cds_service.review.page import PageRequest
from cds_service.rollups.days import SiteDays
from cds_service.rollups.filter import Filter

AT_ONCE = 2  # exports of one process: each takes a core while it runs, and pages want to be drawn beside them
LIMIT_MS = 60_000  # of a statement, which reads at most one day

_free = BoundedSemaphore(AT_ONCE)


class ExportStream:
    """The bytes of an export. What it holds is given back at its end, when it is closed, or when nobody has it any more."""

    def __init__(self, asked: PageRequest, chosen: Filter, wanted: Format, reason: str, cases: tuple[CaseRef, ...]) -> None:
        """Enter the export in the audit. Raises AuditError, DatabaseError; nothing is held then."""
        self._held = ExitStack()
        settings = asked.settings
        if not _free.acquire(blocking=False):
            raise DatabaseUnavailableError(f"{AT_ONCE} exports are under way; try again when one has ended")
        self._held.callback(_free.release)
        try:
            database: Database = open_site_database(settings, limit_ms=LIMIT_MS, cache_mb=CACHE_MB)
            self._held.callback(database.close)
            if asked.reader.scoped:
                database = ScopedDatabase(database, asked.reader.clients, asked.reader.tenants)
            selection = Selection(chosen, SiteDays(settings.time_zone), Snapshot.now(database), cases=cases)

            def enter(action: str, detail: Mapping[str, Any]) -> None:
                asked.audit(action, asked.url, reason, detail)

            about = {"format": wanted.name} | ({"cases": len(cases)} if cases else {})
            chunks = wanted.open(database, selection, asked.now)
            self._pieces = audited(chunks, enter, about)
        except BaseException:
            self._held.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except BaseException:
            self._held.close()
            raise

    def close(self) -> None:
        """End the export here; the audit says how far it came."""
        self._pieces.close()
        self._held.close()

    def __del__(self) -> None:
        """Give back what is held where the reader went away."""
        self._held.close()
