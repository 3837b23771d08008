"""Notice that the key of the log's hashes was changed without notice, by a check value in the log's file.

With another key, patients get other hashes: cards that were shown before are shown again, and nobody's history can be followed
across the change. Nothing else would tell.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from cds_service.alert_log.keys import keyed_hash

_BUSY_SECONDS = 5.0
# Made by the program that first needs it, and no part of the schema's version: a program that does not know it is not disturbed.
_TABLE = "CREATE TABLE IF NOT EXISTS key_check (generation INTEGER PRIMARY KEY, value TEXT NOT NULL) STRICT"


def foreign_keys(path: Path, secrets: Mapping[int, bytes]) -> list[int]:
    """Return the generations whose secret is not the one that this log began with.

    `secrets`: by generation. A generation that the log does not know yet is noted in it. Raises sqlite3.Error where the file
    can't be read or written.
    """
    values = {generation: keyed_hash(secret, "check", "alert log", generation) for generation, secret in secrets.items()}
    with closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", timeout=_BUSY_SECONDS, isolation_level=None, uri=True)
    ) as log:
        if log.execute("SELECT 1 FROM sqlite_master WHERE name = 'key_check'").fetchone() is None:
            log.execute(_TABLE)
        known = dict(log.execute("SELECT generation, value FROM key_check"))
        if new := [one for one in values.items() if one[0] not in known]:
            log.executemany("INSERT INTO key_check VALUES (?, ?) ON CONFLICT DO NOTHING", new)
            known = dict(log.execute("SELECT generation, value FROM key_check"))  # another worker may have been first
    return [generation for generation, value in values.items() if known[generation] != value]
