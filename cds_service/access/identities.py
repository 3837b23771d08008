"""Let a name belong to one person, wherever that person signs in: verdicts, signatures and the audit say names."""

from __future__ import annotations

from cds_service.database import Database


class IdentityError(ValueError):
    """Raised where a name belongs to somebody else. The text is for the person who signs in, and for the admin."""


def claim(database: Database, name: str, source: str, subject: str) -> None:
    """Remember whose name this is; `subject`: what `source` (local, oidc, proxy) knows the person by. Raises IdentityError."""
    sql = "SELECT source, subject FROM review.identity WHERE name = :name"
    if (row := database.one(sql, name=name)) is None:
        database.execute(
            "INSERT INTO review.identity (name, source, subject) VALUES (:name, :source, :subject) ON CONFLICT (name) DO NOTHING",
            name=name,
            source=source,
            subject=subject,
        )
        row = database.one(sql, name=name)
    if row != {"source": source, "subject": subject}:
        raise IdentityError(
            "This name belongs to another person or another way to sign in; an admin frees it with `cds-service users release`"
        )


def release(database: Database, name: str) -> bool:
    """Free a name, so that whoever signs in with it next has it; return whether it belonged to anybody."""
    return bool(database.execute("DELETE FROM review.identity WHERE name = :name", name=name))
