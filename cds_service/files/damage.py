"""Tell damage of an SQLite file from failures that pass."""

from __future__ import annotations

import sqlite3

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_damage(error: Exception) -> bool:
    """Say whether SQLite has found the file damaged."""
    return isinstance(error, sqlite3.Error) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGE
