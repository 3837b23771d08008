"""The log and the review database for those who read them: SQLite files or one PostgreSQL, with the same SQL.

The write path of the service does not go through here: `alert_log` appends to its file by itself.
"""

from __future__ import annotations

from cds_service.database.database import Database
from cds_service.database.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    OutOfScopeError,
    SchemaMismatchError,
    StatementTooLongError,
)
from cds_service.database.names import WITHDRAWN, Names
from cds_service.database.opening import READ_LIMIT_MS, open_database, open_site_database, review_path
from cds_service.database.pool import DatabasePool
from cds_service.database.scope import ScopedDatabase

__all__ = [
    "READ_LIMIT_MS",
    "WITHDRAWN",
    "Database",
    "DatabaseError",
    "DatabasePool",
    "DatabaseUnavailableError",
    "Names",
    "OutOfScopeError",
    "SchemaMismatchError",
    "ScopedDatabase",
    "StatementTooLongError",
    "open_database",
    "open_site_database",
    "review_path",
]
