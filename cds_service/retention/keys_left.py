"""Say which generations of the hash key the log still needs."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from cds_service.database import Database


class KeyUse(msgspec.Struct, frozen=True):
    """One generation of the key in the log."""

    generation: int
    calls: int  # with hashes of it
    newest: int | None  # when the last of them came, microseconds since 1970
    pairs: int  # of its hashes with those of the next generation


def keys_in_use(database: Database) -> list[KeyUse]:
    """Return the generations that calls or pairs have, oldest first. Reads every call."""
    calls = database.rows(
        "SELECT key, count(*) AS n, max(received_at) AS newest FROM log.call WHERE patient IS NOT NULL GROUP BY key"
    )
    of_calls = {row["key"]: row for row in calls}
    pairs = {
        row["key"]: row["n"] for row in database.rows("SELECT old_key AS key, count(*) AS n FROM log.key_pair GROUP BY old_key")
    }
    return [
        KeyUse(
            key,
            of_calls[key]["n"] if key in of_calls else 0,
            of_calls[key]["newest"] if key in of_calls else None,
            pairs.get(key, 0),
        )
        for key in sorted(of_calls.keys() | pairs.keys())
    ]


def unneeded_pairs(database: Database, needed: Collection[int] = ()) -> list[int]:
    """Return the generations that have pairs and no call any more, here or (`needed`) elsewhere."""
    return [one.generation for one in keys_in_use(database) if one.pairs and not one.calls and one.generation not in needed]
