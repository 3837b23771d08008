"""Hold what all pages of one process share: settings, cards, clock, connections."""

from __future__ import annotations

from functools import partial

import msgspec

from cds_service.clock import Clock
from cds_service.database import Database, DatabasePool, open_database, review_path
from cds_service.knowledge.knowledge import Knowledge
from cds_service.settings import Settings

_READERS = 4  # pages that are drawn at once; a fifth waits


class Site(msgspec.Struct, frozen=True):
    """The lasting parts of the pages. `readers` can't write; `writers` may write the review database, one at a time."""

    settings: Settings
    knowledge: Knowledge
    clock: Clock
    readers: DatabasePool
    writers: DatabasePool
    banner: str = ""  # a line above each page


def new_site(settings: Settings, knowledge: Knowledge, clock: Clock, *, banner: str = "") -> Site:
    """Prepare the pages; connections are opened at the first request that needs one."""
    return Site(
        settings=settings,
        knowledge=knowledge,
        clock=clock,
        readers=DatabasePool(partial(_open, settings), _READERS),
        writers=DatabasePool(partial(_open, settings, writes_review=True), 1),
        banner=banner,
    )


def close_site(site: Site) -> None:
    """Close the connections."""
    site.readers.close()
    site.writers.close()


def _open(settings: Settings, *, writes_review: bool = False) -> Database:
    return open_database(settings.log_path, review_path(settings), writes_review=writes_review)
