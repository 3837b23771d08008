"""Put a verified copy in the place of a database, and keep what was there."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from cds_service.backup.online_copy import Progress, copy_database
from cds_service.files.in_use import expect_unused, unused
from cds_service.files.set_aside import lock_beside, set_aside

KEPT = "before-restore"


def put_back(copy: Path, place: Path, at: datetime, progress: Progress | None = None) -> Path | None:
    """Replace the database at `place` by `copy`, which stays; return where the old one is kept, None where there was none.

    The write-ahead log of the old one goes with it: left behind, SQLite would write it over the new one. `at`: aware. Raises
    FileInUseError where a process has the old one, with nothing changed; sqlite3.Error, OSError.
    """
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = place.resolve()
    owner = (place if place.exists() else place.parent).stat()
    new = place.with_name(f"{place.name}.restoring")
    new.unlink(missing_ok=True)
    try:
        expect_unused(place)  # said before a gigabyte is copied
        copy_database(copy, new, progress)
        with unused(place):
            kept = set_aside(place, KEPT, at)
            with lock_beside(place):
                for ending in ("-wal", "-shm"):  # where the file itself was gone
                    place.with_name(f"{place.name}{ending}").unlink(missing_ok=True)
                new.rename(place)
            sync_folder(place.parent)
            _give(owner, place)
    finally:
        new.unlink(missing_ok=True)
    return kept


def sync_folder(folder: Path) -> None:
    """Make a renaming in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _give(owner: os.stat_result, place: Path) -> None:
    """Give the file, and the locks beside it, to whom the old file or the folder belongs: root may restore for a service."""
    if os.geteuid() == 0:
        for ending in ("", "-lock", "-use"):
            os.chown(place.with_name(f"{place.name}{ending}"), owner.st_uid, owner.st_gid)
