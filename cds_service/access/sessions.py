"""Keep sessions on the server, so that they end when they should: the browser has a random id, the table its hash."""

from __future__ import annotations

import secrets
from hashlib import sha256

import msgspec

from cds_service.database import Database

_SECOND = 1_000_000  # µs
IDLE = 30 * 60 * _SECOND
LONGEST = 12 * 3600 * _SECOND
_SEEN_EVERY = 60 * _SECOND  # so that not each page is a write


class Session(msgspec.Struct, frozen=True):
    """One person who has signed in. `source`: local or oidc; `groups`: what the identity provider said then."""

    name: str
    source: str
    groups: tuple[str, ...]


def begin(database: Database, name: str, source: str, groups: tuple[str, ...], *, at: int) -> str:
    """Begin a session and return its id for the cookie; delete those that have ended. `at`: µs since 1970."""
    token = secrets.token_urlsafe(32)
    with database.transaction():
        database.execute(
            "DELETE FROM review.session WHERE seen_at <= :idle OR began_at <= :longest", idle=at - IDLE, longest=at - LONGEST
        )
        database.execute(
            "INSERT INTO review.session (id, name, source, groups, began_at, seen_at) "
            "VALUES (:id, :name, :source, :groups, :at, :at)",
            id=_hash(token),
            name=name,
            source=source,
            groups=msgspec.json.encode(groups).decode(),
            at=at,
        )
    return token


def find(database: Database, token: str, *, at: int) -> Session | None:
    """Return the session of a cookie, None for one that has ended, and note that it was seen. `at`: µs since 1970."""
    row = database.one("SELECT * FROM review.session WHERE id = :id", id=_hash(token))
    if row is None or at - row["seen_at"] >= IDLE or at - row["began_at"] >= LONGEST:
        return None
    if at - row["seen_at"] >= _SEEN_EVERY:
        database.execute("UPDATE review.session SET seen_at = :at WHERE id = :id AND seen_at < :at", id=row["id"], at=at)
    return Session(row["name"], row["source"], tuple(msgspec.json.decode(row["groups"])))


def end(database: Database, token: str) -> None:
    """End the session of a cookie."""
    database.execute("DELETE FROM review.session WHERE id = :id", id=_hash(token))


def end_all(database: Database, name: str) -> int:
    """End the sessions of a person and return how many there were."""
    return database.execute("DELETE FROM review.session WHERE name = :name", name=name)


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()


def sessions_by_name(database: Database) -> list[tuple[str, str, int]]:
    """Return (name, source, how many sessions), also of those that ended since somebody last signed in."""
    sql = "SELECT name, source, count(*) AS n FROM review.session GROUP BY name, source ORDER BY name, source"
    return [(row["name"], row["source"], row["n"]) for row in database.rows(sql)]
