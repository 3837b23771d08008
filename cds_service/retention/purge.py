"""Delete what is older than the site keeps it: from the file of this machine, and from PostgreSQL where the log is shipped."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from cds_service.alert_log.deletion import Deletion
from cds_service.alert_log.reading import old_calls
from cds_service.clock import Clock
from cds_service.database import Database, open_site_database
from cds_service.database.sqlite import SqliteDatabase
from cds_service.retention.due import Due, Limits, due, limits
from cds_service.retention.holds import Hold, holds, mark_held
from cds_service.retention.keys_left import keys_in_use, unneeded_pairs
from cds_service.rollups.days import SiteDays, month_of
from cds_service.rollups.rollup import forget_users_before, keep_counts_before, roll_up
from cds_service.settings import Settings

Progress = Callable[[int, int], None]  # how much is done, of how much


class Purged(msgspec.Struct, frozen=True):
    """What a purge found in one place, and what is left of it."""

    place: str
    until: Limits
    found: list[Due]
    left: int = 0  # old records that are there still and not held; 0 where nothing came in between
    wal_emptied: bool = True  # False: readers kept the write-ahead log, which may hold copies; the next purge tries again
    not_rewritten: int = 0  # calls of version 0.1.0 that wait for `cds-service log compact`, of any age


def purge(
    settings: Settings, clock: Clock, *, dry_run: bool = False, rewrite: bool = False, progress: Progress | None = None
) -> list[Purged]:
    """Delete old records; with `dry_run` only count them. May be ended at any moment and run again.

    The counts of the review pages are brought up to date first and stay, but for those by user. `rewrite`: write the file of
    this machine anew afterwards, for which every commit waits. Raises DatabaseError, sqlite3.Error.
    """
    days = SiteDays(settings.time_zone)
    until = limits(settings, days, clock())
    with closing(open_site_database(settings, limit_ms=None, writes_review=True)) as database:
        held = holds(database)
        mark_held(database, held, until.newest)
        if not dry_run:
            roll_up(database, days, clock)
            keep_counts_before(database, until.counted)
            forget_users_before(database, month_of(days.day_of(until.evidence)))
        if database.dialect == "sqlite":
            return [_purge_file(database, settings.log_path, until, dry_run, progress, rewrite=rewrite)]
        purged = [_purge_postgres(database, until, dry_run, progress)]
        needed = {one.generation for one in keys_in_use(database) if one.calls}
    if settings.log_path.exists():
        # What was shipped goes after a week, but not what PostgreSQL refused.
        with _file_alone(settings.log_path, held, until) as file:
            purged.append(
                _purge_file(file, settings.log_path, until, dry_run, progress, ships=True, needed=needed, rewrite=rewrite)
            )
    return purged


def _purge_file(
    database: Database,
    path: Path,
    until: Limits,
    dry_run: bool,
    progress: Progress | None,
    *,
    ships: bool = False,
    needed: Collection[int] = (),
    rewrite: bool = False,
) -> Purged:
    """`ships`: its records go to PostgreSQL, too, where calls of the generations `needed` of the hash key are."""
    found = due(database, until)
    purged = Purged(str(path), until, found, not_rewritten=old_calls(path))
    if dry_run:
        return purged
    source = database.one("SELECT last_seq FROM log.source")
    # The newest record stays where the file is shipped: by it, a restored file is recognised.
    below = (source["last_seq"] if source else 0) + (0 if ships else 1)
    of = sum(one.deleted for one in found if one.table not in ("card", "ordered"))  # those come with their calls
    done = 0
    with Deletion(path) as deletion:
        deletion.keep(_held_seqs(database))
        while some := deletion.delete_some(until.evidence, below, until.sealed, until.inputs):
            done += some
            if progress is not None:
                progress(min(done, of), of)
        deletion.delete_knowledge(until.evidence)
        for generation in unneeded_pairs(database, needed):
            while deletion.delete_key_pairs(generation, below):
                pass
        if rewrite:
            deletion.rewrite()
        emptied = deletion.empty_wal()
    left = sum(one.deleted for one in due(database, until))
    return msgspec.structs.replace(purged, left=left, wal_emptied=emptied)


_HELD_SEQS = (
    "SELECT o.seq FROM log.call o JOIN held_call h ON h.received_at = o.received_at AND h.id = o.id",
    "SELECT o.seq FROM log.delivery o JOIN held_call h ON h.received_at = o.received_at AND h.id = o.call_id",
    "SELECT o.seq FROM log.withdrawal o JOIN held_call h ON h.received_at = o.received_at AND h.id = o.call_id",
    "SELECT o.seq FROM log.feedback o JOIN held_feedback h ON h.received_at = o.received_at AND h.id = o.id",
    "SELECT o.seq FROM log.sealed o WHERE o.of IN (SELECT id FROM held_call UNION SELECT id FROM held_feedback)",
    "SELECT o.seq FROM log.quarantine o WHERE o.client IN (SELECT client FROM held_client)",
)


def _held_seqs(database: Database) -> Iterator[int]:
    for statement in _HELD_SEQS:
        for row in database.rows(statement):
            yield row["seq"]


def _purge_postgres(database: Database, until: Limits, dry_run: bool, progress: Progress | None) -> Purged:
    from cds_service.retention import purge_postgres as postgres  # the driver costs 10 MB

    until = postgres.by_months(until)
    purged = Purged("PostgreSQL", until, due(database, until))
    if dry_run:
        return purged
    months = postgres.old_months(database, until)
    for done, month in enumerate(months, start=1):
        postgres.drop_month(database, month)
        if progress is not None:
            progress(done, len(months))
    postgres.delete_others(database, until)
    for generation in unneeded_pairs(database):
        postgres.delete_key_pairs(database, generation)
    return msgspec.structs.replace(purged, left=sum(one.deleted for one in due(database, until)))


@contextmanager
def _file_alone(path: Path, held: list[Hold], until: Limits) -> Iterator[Database]:
    """Open the file of a log whose review database is in PostgreSQL."""
    with (
        TemporaryDirectory() as folder,
        closing(SqliteDatabase(path, Path(folder) / "review.sqlite3", limit_ms=None, writes_review=True)) as file,
    ):
        mark_held(file, held, until.newest)
        yield file
