"""Back up a database into a file that is there whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cds_service.backup.online_copy import Progress, copy_database
from cds_service.backup.restoring import sync_folder
from cds_service.backup.verification import Verified


class BackupError(Exception):
    """Raised where a backup would be worthless. The text says why."""


def back_up(source: Path, file: Path, verify: Callable[[Path], Verified], progress: Progress | None = None) -> Verified:
    """Write the database as it is now into `file` (0600), replacing an earlier backup; return what is in it.

    Raises BackupError where the copy does not pass `verify`, with nothing left behind; sqlite3.Error, OSError.
    """
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    try:
        copy_database(source, part, progress)
        verified = verify(part)
        if verified.problems:
            raise BackupError(f"{source} can't be backed up as it is: {'; '.join(verified.problems)}")
        part.rename(file)
        sync_folder(file.parent)
    finally:
        part.unlink(missing_ok=True)
    return verified
