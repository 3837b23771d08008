"""Verify a file of the log or of the review database: that it is whole, and that what it holds can be read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import msgspec

from cds_service.alert_log.compression import CompressionError
from cds_service.alert_log.condition import UnusableLogError, expect_usable
from cds_service.alert_log.instants import instant_of
from cds_service.alert_log.knowledge_archive import unpack_knowledge
from cds_service.alert_log.reading import bodies_of
from cds_service.alert_log.schema import SCHEMA_VERSION, version_of
from cds_service.database.review_tables import REVIEW_MIGRATIONS

_BUSY = 10.0  # seconds
_MOST = 20  # problems of one kind that are listed
_DAY = 86_400 * 1_000_000  # microseconds; nothing younger than this is ever deleted
_NUMBERED = ("call", "delivery", "withdrawal", "feedback", "refusal", "quarantine", "sealed", "key_pair")
_OF_CALL = ("card", "ordered")  # by (received_at, call_id), and deleted with their call


class Verified(msgspec.Struct, frozen=True):
    """What is in a file, and what is wrong with it: nothing where `problems` is empty."""

    schema: int
    rows: dict[str, int]  # by table
    problems: list[str]
    newest: datetime | None = None  # call (UTC)
    deleted: int = 0  # sequence numbers of records that are gone, as a purge leaves them


def verify_log(path: Path, *, bodies: bool = True) -> Verified:
    """Verify the log: pages and indexes, tables, sequence numbers, that no row has lost its call; `bodies`: each can be read.

    May be asked of the log of a running service, which goes on. Raises FileNotFoundError; sqlite3.OperationalError where it can't
    be read now.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        expect_usable(path)
    except UnusableLogError as error:
        return Verified(schema=0, rows={}, problems=[str(error)])
    with closing(_opened(path)) as file:
        try:
            file.execute("BEGIN")  # all of it at one moment
            return _verified_log(file, bodies=bodies)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            return Verified(schema=0, rows={}, problems=[f"it is damaged ({error})"])


def verify_review(path: Path) -> Verified:
    """Verify the review database: pages and indexes, and its schema. Raises FileNotFoundError, sqlite3.OperationalError."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    with closing(_opened(path)) as file:
        try:
            problems = _broken_pages(file)
            version, rows = version_of(file), _counted(file)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            return Verified(schema=0, rows={}, problems=[f"it is damaged ({error})"])
    if "verdict" not in rows:
        problems.append("it is no review database")
    elif version > len(REVIEW_MIGRATIONS):
        problems.append(f"a newer version of this program wrote it (schema {version}, this one knows {len(REVIEW_MIGRATIONS)})")
    return Verified(schema=version, rows=rows, problems=problems)


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file that nothing writes."""
    total = sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            total.update(piece)
    return total.hexdigest()


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY, isolation_level=None)


def _verified_log(file: sqlite3.Connection, *, bodies: bool) -> Verified:
    version, rows = version_of(file), _counted(file)
    problems = _broken_pages(file)
    if version != SCHEMA_VERSION or problems:  # an older file is brought up to date at the next start
        return Verified(schema=version, rows=rows, problems=problems)
    wrong, deleted = _sequence(file)
    problems += wrong
    for table in _OF_CALL:
        (alone,) = file.execute(
            f"SELECT count(*) FROM {table} AS one WHERE NOT EXISTS"  # noqa: S608 - names of this program
            " (SELECT 1 FROM call WHERE call.received_at = one.received_at AND call.id = one.call_id)"
        ).fetchone()
        if alone:
            problems.append(f"{alone} rows of `{table}` belong to no call")
    if bodies:
        problems += [*_unreadable_bodies(file), *_unreadable_knowledge(file)]
    (newest,) = file.execute("SELECT max(received_at) FROM call").fetchone()
    return Verified(
        schema=version,
        rows=rows,
        problems=problems,
        newest=None if newest is None else instant_of(newest),
        deleted=deleted,
    )


def _broken_pages(file: sqlite3.Connection) -> list[str]:
    found = [text for (text,) in file.execute(f"PRAGMA integrity_check({_MOST})")]
    return [] if found == ["ok"] else [f"integrity: {text}" for text in found]


def _counted(file: sqlite3.Connection) -> dict[str, int]:
    names = [name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    return {
        name: file.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608 - names of the file, quoted
        for name in names
        if not name.startswith("sqlite_")
    }


def _sequence(file: sqlite3.Connection) -> tuple[list[str], int]:
    """Return what is wrong with the numbers of the records, and how many belonged to records that are deleted.

    Nothing deletes a record of less than a day, so a number that is missing between two such records was lost.
    """
    (last,) = file.execute("SELECT last_seq FROM source").fetchone()
    (newest,) = file.execute("SELECT coalesce(max(received_at), 0) FROM call").fetchone()
    numbered = " UNION ALL ".join(f"SELECT seq, received_at FROM {table}" for table in _NUMBERED)  # noqa: S608 - our names
    problems: list[str] = []
    before, at, deleted = 0, 0, 0
    for seq, received_at in file.execute(f"{numbered} ORDER BY seq"):
        if seq == before:
            problems.append(f"sequence number {seq} stands twice")
        missing = max(0, seq - before - 1)
        deleted += missing
        if missing and before and at > newest - _DAY:
            problems.append(f"records {before + 1} to {seq - 1} are missing")
        before, at = seq, received_at
    if before > last:
        problems.append(f"the newest record has number {before}, and the file says that {last} is the last")
    elif before and before < last and at > newest - _DAY:
        problems.append(f"records {before + 1} to {last} are missing")
    return problems[:_MOST], deleted


def _unreadable_bodies(file: sqlite3.Connection) -> Iterator[str]:
    read = bodies_of(file)
    unreadable = 0
    for (seq,) in file.execute("SELECT seq FROM body ORDER BY seq"):
        try:
            read(seq)
        except (msgspec.DecodeError, CompressionError, ValueError):
            unreadable += 1
    if unreadable:
        yield f"{unreadable} bodies of calls can't be read"


def _unreadable_knowledge(file: sqlite3.Connection) -> Iterator[str]:
    for (content,) in file.execute("SELECT content FROM knowledge"):
        try:
            unpack_knowledge(content)
        except (msgspec.DecodeError, CompressionError):
            yield "a version of the knowledge can't be unpacked"
