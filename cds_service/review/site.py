"""Hold what all pages of one process share: settings, cards, clock, connections, threads that count and look for signals."""

from __future__ import annotations

import threading

from cds_service.access.audit import AuditLog
from cds_service.access.gate import Gate
from cds_service.access.head_log import HeadLog
from cds_service.alert_log.sealing import sealing_key
from cds_service.clock import Clock
from cds_service.database import READ_LIMIT_MS, Database, DatabasePool, open_site_database
from cds_service.knowledge.knowledge import Knowledge
from cds_service.review.page import BASE
from cds_service.rollups.days import SiteDays
from cds_service.rollups.keeper import RollupKeeper
from cds_service.settings import Settings
from cds_service.signals.keeper import SignalKeeper

_READERS = 4  # pages that are drawn at once; a fifth waits


class Site:
    """The lasting parts of the pages. Nothing is opened before `begin`, or before the first page asks."""

    def __init__(self, settings: Settings, knowledge: Knowledge, clock: Clock, *, banner: str = "") -> None:
        """`banner`: a line above each page, "" for none. Raises SettingsError for the file that says who may sign in."""
        self.settings = settings
        self.knowledge = knowledge
        self.clock = clock
        self.banner = banner
        self.readers = DatabasePool(self._open, _READERS)
        self.writers = DatabasePool(lambda: self._open(writes_review=True), 1)  # of the review database
        # Apart, so that the page of a form does not hold what its audit and the reader's session need.
        self._auditing = DatabasePool(lambda: self._open(writes_review=True), 1)
        self._sessions = DatabasePool(lambda: self._open(writes_review=True), 2)
        self.audit_log = AuditLog(self._auditing, clock)
        self.head_log = HeadLog(self._auditing, clock)
        self.gate = Gate(settings, clock, self._sessions, self.audit_log, BASE)
        self._keeper = RollupKeeper(
            lambda: self._open(writes_review=True, limit_ms=None), SiteDays(settings.time_zone), self.clock
        )
        self._signals = SignalKeeper(
            lambda: self._open(writes_review=True, limit_ms=None),
            SiteDays(settings.time_zone),
            self.clock,
            sealing_key(settings.reveal_key, settings.reveal_key_id),
            self._keeper.counted,
        )
        self._beginning = threading.Lock()
        self._begun = False

    def begin(self) -> None:
        """Make the review database where it is missing, and count the log from now on; once.

        Raises DatabaseError where that can't be; the next call tries again.
        """
        with self._beginning:
            if not self._begun:
                with self.writers.borrow():
                    self._keeper.start()
                    self._signals.start()
                self._begun = True

    def close(self) -> None:
        """End the threads and close the connections."""
        self._signals.stop()
        self._keeper.stop()
        self.readers.close()
        self.writers.close()
        self._auditing.close()
        self._sessions.close()

    def _open(self, *, writes_review: bool = False, limit_ms: int | None = READ_LIMIT_MS) -> Database:
        settings = self.settings
        return open_site_database(settings, limit_ms=limit_ms, writes_review=writes_review)
