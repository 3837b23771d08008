"""Say in fixed words why PostgreSQL can't be used: its own texts may hold addresses, users and values."""

from __future__ import annotations

import psycopg

# The driver gives no SQLSTATE where a connection fails, so the text is searched. A server that speaks another language, or a text
# of a later version, leaves the class of the error alone.
_CAUSES = (
    ("password authentication failed", "the password was refused"),
    ("no password supplied", "the URL has no password and the server wants one"),
    ("no pg_hba.conf entry", "the server does not admit this machine, user and database"),
    ("Connection refused", "nothing listens there"),
    ("failed to resolve host", "the host is not known"),
    ("could not translate host name", "the host is not known"),
    ("timeout expired", "no answer in time"),
    ("too many clients", "too many connections"),
    ("remaining connection slots", "too many connections"),
    ("starting up", "the server is starting"),
    ("shutting down", "the server is shutting down"),
    ("recovery mode", "the server is recovering"),
    ("certificate", "the certificate of the server was not accepted"),
    ("SSL", "no TLS connection"),
)


def cause_of(error: BaseException) -> str:
    """Return why a connection failed, "" where that is not known or the error has an SQLSTATE, which says it."""
    if not isinstance(error, psycopg.OperationalError) or error.sqlstate is not None:
        return ""
    text = str(error)
    if 'database "' in text and "does not exist" in text:
        return "the server has no database of this name"
    return next((cause for words, cause in _CAUSES if words in text), "")


def described(error: BaseException) -> str:
    """Return the class of an error, and its cause where that is known."""
    cause = cause_of(error)
    return f"{type(error).__name__}: {cause}" if cause else type(error).__name__
