"""Open the log and the review database where the settings say that they are."""

from __future__ import annotations

from pathlib import Path

from cds_service.database.database import Database
from cds_service.database.errors import SchemaMismatchError
from cds_service.database.migrations import expect_not_newer, migrate_review, version_of
from cds_service.database.review_tables import REVIEW_MIGRATIONS
from cds_service.database.sqlite import CACHE_MB, SqliteDatabase
from cds_service.settings import Settings

READ_LIMIT_MS = 2_000  # of a statement for a page; past it, the page says which filter to add


def review_path(settings: Settings) -> Path:
    """Return the review file of SQLite: that of the settings, else review.sqlite3 beside the log."""
    return settings.review_path or settings.log_path.with_name("review.sqlite3")


def open_site_database(
    settings: Settings, *, limit_ms: int | None = READ_LIMIT_MS, writes_review: bool = False, cache_mb: int = CACHE_MB
) -> Database:
    """Open the log and the review database of the settings; see `open_database`, whose errors it raises."""
    return open_database(
        settings.log_path,
        review_path(settings),
        settings.log_database_url,
        limit_ms=limit_ms,
        writes_review=writes_review,
        cache_mb=cache_mb,
    )


def open_database(
    log_path: Path,
    review_path: Path,
    database_url: str = "",
    *,
    limit_ms: int | None = READ_LIMIT_MS,
    writes_review: bool = False,
    cache_mb: int = CACHE_MB,
) -> Database:
    """Open PostgreSQL where there is a URL, else the two files.

    The log is only read in either case. With `writes_review`, the review database is made where it is missing, brought up to
    date and may be written. `limit_ms`: the longest a statement may take; None for no limit. `cache_mb`: of
    each SQLite file; who reads every row once needs little.

    Raises DatabaseUnavailableError where it can't be opened, SchemaMismatchError where its tables are of another version.
    """
    database: Database
    if database_url:
        from cds_service.database.postgres import PostgresDatabase  # a machine with files alone does not load the driver

        database = PostgresDatabase(database_url, limit_ms=limit_ms, writes_review=writes_review)
    else:
        database = SqliteDatabase(log_path, review_path, limit_ms=limit_ms, writes_review=writes_review, cache_mb=cache_mb)
    try:
        _expect_log(database)
        if writes_review:
            migrate_review(database)
        _expect_review(database)
    except BaseException:
        database.close()
        raise
    return database


def _expect_log(database: Database) -> None:
    """Raise SchemaMismatchError where the log does not have the tables that are read here."""
    if database.dialect == "postgres":
        found = database.one("SELECT to_regclass('log.outcome_of_set') AS name") != {"name": None}
    else:
        found = database.one("SELECT name FROM log.sqlite_master WHERE name = 'outcome_of_set'") is not None
    if not found:
        raise SchemaMismatchError(
            "the alert log has no tables of this version: those of an older one are made by a service of this version when it"
            " starts; a log of a newer one needs that program"
        )


def _expect_review(database: Database) -> None:
    version = version_of(database)
    expect_not_newer(version)
    if version < len(REVIEW_MIGRATIONS):
        raise SchemaMismatchError(
            f"the review database has schema {version}, this program reads {len(REVIEW_MIGRATIONS)}; "
            "`cds-service log rollup` brings it up to date"
        )
