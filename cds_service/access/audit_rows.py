"""Read the audit for its page: newest first, by reader, action and time."""

from __future__ import annotations

from typing import Any

from cds_service.database import Database

MOST_ROWS = 10_000


def audit_rows(
    database: Database,
    *,
    reader: str = "",
    action: str = "",
    since: int | None = None,
    until: int | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Return entries, the newest first, without their hashes.

    `since`, `until`: µs since 1970, `until` excluded; `before`: a number of an entry.
    """
    conditions = {
        "reader": (" AND reader = :reader", reader or None),
        "action": (" AND action = :action", action or None),
        "since": (" AND at >= :since", since),
        "until": (" AND at < :until", until),
        "before": (" AND seq < :before", before),
    }
    where = "".join(text for text, value in conditions.values() if value is not None)
    values = {name: value for name, (_, value) in conditions.items() if value is not None}
    sql = f"SELECT seq, at, reader, action, object, reason, detail FROM review.audit WHERE 1 = 1{where}"  # noqa: S608 - our words
    return database.rows(f"{sql} ORDER BY seq DESC LIMIT :limit", **values, limit=limit)


def actions(database: Database) -> list[str]:
    """Return what was ever done, for the choice on the page."""
    return [row["action"] for row in database.rows("SELECT DISTINCT action FROM review.audit ORDER BY action")]
