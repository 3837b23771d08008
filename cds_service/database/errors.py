"""Errors of reading the log and the review database. Their texts hold no data of the log and no password."""

from __future__ import annotations


class DatabaseError(Exception):
    """Raised where a database can't be used; the base of the others."""


class DatabaseUnavailableError(DatabaseError):
    """Raised where a file or server is not there, does not respond or is locked."""


class SchemaMismatchError(DatabaseError):
    """Raised where the tables are those of another version of the program."""


class OutOfScopeError(DatabaseError):
    """Raised where a reader of some clients asks for what may hold records of others."""


class StatementTooLongError(DatabaseError):
    """Raised where a statement was ended because it ran longer than its limit."""

    def __init__(self, limit_ms: int) -> None:
        """`limit_ms`: the limit that the statement passed."""
        super().__init__(f"the statement took more than {limit_ms} ms")
        self.limit_ms = limit_ms
