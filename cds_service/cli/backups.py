"""Run `cds-service log backup`, `log restore` and `log verify`."""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cds_service.settings import Settings, load_settings

if TYPE_CHECKING:
    from cds_service.backup.online_copy import Progress as PageProgress
    from cds_service.backup.verification import Verified

    Verify = Callable[[Path], Verified]

_PG_DUMP = 'pg_dump --format=custom --schema=log --schema=review --file=cramp-cds.dump "$CDS_LOG_DATABASE_URL"'


def add_backup_commands(log: argparse._SubParsersAction[Any]) -> None:
    """Add the commands to those under `log`."""
    backup = log.add_parser(
        "backup",
        help="copy the log into FILE, and the review database beside it, while the service runs, and check both",
    )
    backup.add_argument("file", type=Path, metavar="FILE")
    backup.set_defaults(run=_backup)
    restore = log.add_parser(
        "restore",
        help="put a backup in the place of the log and of the review database, and keep the old ones; stop the service first",
    )
    restore.add_argument("file", type=Path, metavar="FILE")
    restore.add_argument("--hash", metavar="SHA256", help="refuse a file whose SHA-256 is not the one that `log backup` said")
    restore.set_defaults(run=_restore)
    verify = log.add_parser(
        "verify", help="check every page, sequence number and body of the log or of a backup; status 1 where something is wrong"
    )
    verify.add_argument("file", type=Path, metavar="FILE", nargs="?", help="default: the log of CDS_LOG_PATH")
    verify.set_defaults(run=_verify)


def _places(settings: Settings, file: Path) -> list[tuple[str, Path, Path, Verify]]:
    """Return name, place, backup and check of both databases; where the review database is in PostgreSQL, of the log alone."""
    from cds_service.backup import review_copy
    from cds_service.backup.verification import verify_log, verify_review
    from cds_service.database import review_path

    review = (("review database", review_path(settings), review_copy(file), verify_review),)
    return [*(() if settings.log_database_url else review), ("log", settings.log_path, file, verify_log)]


def _backup(options: argparse.Namespace) -> int:
    """Copy the review database first: of each verdict in the backup, the call is there too."""
    from cds_service.backup.backing_up import BackupError, back_up
    from cds_service.backup.verification import hash_of

    settings = load_settings()
    if not settings.log_path.exists():
        print(f"{settings.log_path}: there is no alert log yet; CDS_LOG_PATH names the file", file=sys.stderr)
        return 1
    places = _places(settings, options.file)
    if {options.file.resolve()} & {place.resolve() for _, place, _, _ in places}:
        print(f"{options.file} is the log itself: name another file", file=sys.stderr)
        return 2
    for name, place, file, verify in places:
        if not place.exists():
            continue
        try:
            with _progress(name) as progress:
                verified = back_up(place, file, verify, progress)
        except (BackupError, sqlite3.Error, OSError) as error:
            print(f"{name}: no backup was made: {error}", file=sys.stderr)
            return 1
        _tell(name, file, verified, hash_of(file))
    if settings.log_database_url:
        print(f"the records that were shipped, verdicts and counts are in PostgreSQL: {_PG_DUMP}", file=sys.stderr)
    print("keep CDS_HASH_SECRET and CDS_REVEAL_KEY elsewhere: without them a restored log can't be joined to new records")
    return 0


def _restore(options: argparse.Namespace) -> int:
    """Verify both files before one is put in place."""
    from cds_service.backup.restoring import put_back
    from cds_service.backup.verification import hash_of
    from cds_service.clock import utc_now
    from cds_service.files.in_use import FileInUseError, expect_unused

    settings = load_settings()
    if options.hash and options.file.is_file() and hash_of(options.file) != options.hash.lower():
        print(f"nothing was changed: the SHA-256 of {options.file} is {hash_of(options.file)}", file=sys.stderr)
        return 1
    places = [one for one in _places(settings, options.file) if one[2] == options.file or one[2].exists()]
    checked: list[Verified] = []
    for name, _, file, verify in places:
        try:
            checked.append(verify(file))
        except (sqlite3.Error, OSError) as error:
            print(f"{file}: can't be read: {error}", file=sys.stderr)
            return 1
        if checked[-1].problems:
            print(f"nothing was changed: {file} is no {name} that could be restored", file=sys.stderr)
            _list(checked[-1].problems)
            return 1
    try:
        for _, place, _, _ in places:
            expect_unused(place)
    except FileInUseError as error:
        print(f"nothing was changed: {error}", file=sys.stderr)
        return 1
    for (name, place, file, _), verified in zip(places, checked, strict=True):
        try:
            with _progress(name) as progress:
                kept = put_back(file, place, utc_now(), progress)
        except FileInUseError as error:
            print(f"{name}: not restored: {error}", file=sys.stderr)
            return 1
        except (sqlite3.Error, OSError) as error:
            print(f"{name}: not restored: {error}; run it again", file=sys.stderr)
            return 1
        _tell(name, place, verified, hash_of(file))
        if kept is not None:
            print(f"  what was there is now {kept}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from cds_service.backup.verification import hash_of

    settings = load_settings()
    status = 0
    for name, place, file, verify in _places(settings, options.file or settings.log_path):
        path = file if options.file else place
        if not path.exists() and path != options.file and name != "log":
            continue
        try:
            verified = verify(path)
        except (sqlite3.Error, OSError) as error:
            print(f"{path}: can't be read: {error}", file=sys.stderr)
            status = 1
            continue
        _tell(name, path, verified, hash_of(path) if options.file else "")
        if verified.problems:
            _list(verified.problems)
            status = 1
    return status


def _tell(name: str, path: Path, verified: Verified, sha256: str) -> None:
    rows = verified.rows
    if name == "log":
        counts = f"{rows.get('call', 0):,} calls, {rows.get('card', 0):,} cards, {rows.get('feedback', 0):,} items of feedback"
        old = rows.get("old_call", 0)
        counts += f", {old:,} calls of version 0.1.0" if old else ""
        newest = f", newest {verified.newest.isoformat(timespec='seconds')}" if verified.newest is not None else ""
        deleted = f", {verified.deleted:,} records deleted before" if verified.deleted else ""
    else:
        counts, newest, deleted = f"{rows.get('verdict', 0):,} verdicts", "", ""
    state = "NOT USABLE" if verified.problems else "ok"
    print(f"{name}: {path}: {state}, schema {verified.schema}, {sum(rows.values()):,} rows: {counts}{newest}{deleted}")
    if sha256:
        print(f"  SHA-256 {sha256}")


def _list(problems: list[str]) -> None:
    for one in problems:
        print(f"  {one}", file=sys.stderr)


@contextmanager
def _progress(name: str) -> Iterator[PageProgress]:
    from cds_service.authoring.progress import Progress

    parts = 1000  # of the bar
    with Progress(sys.stderr, every=1, what="pages").of(name, parts) as shown:
        yield lambda done, of: shown.advance(done * parts // max(of, 1), done)
