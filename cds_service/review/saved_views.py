"""Keep views of the alert log under names. Rows are only added: the newest of a name counts, an empty one forgets it."""

from __future__ import annotations

import msgspec

from cds_service.database import Database

MOST_NAME = 60
MOST_ADDRESS = 2000  # characters


class SavedView(msgspec.Struct, frozen=True):
    """A view: its name, and the query of its address."""

    name: str
    query: str


def saved_views(database: Database) -> list[SavedView]:
    """Return the views by name."""
    newest = {row["name"]: row["url"] for row in database.rows("SELECT name, url FROM review.saved_view ORDER BY id")}
    return [SavedView(name, query) for name, query in sorted(newest.items()) if query]


def save_view(database: Database, name: str, query: str, *, at: int) -> None:
    """Keep a view; an empty `query` forgets it. `at`: µs since 1970. Raises ValueError, with a text for the reader."""
    name = " ".join(name.split())
    if not name or len(name) > MOST_NAME or not name.isprintable():
        raise ValueError(f"Give the view a name of 1 to {MOST_NAME} characters")
    if len(query) > MOST_ADDRESS:
        raise ValueError("This view has too many filters to be kept")
    sql = "INSERT INTO review.saved_view (name, url, made_at) VALUES (:name, :query, :at)"
    database.execute(sql, name=name, query=query, at=at)
