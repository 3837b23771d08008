"""Let a name belong to one person, wherever that person signs in: verdicts, signatures and the audit say names."""

from __future__ import annotations

from unicodedata import normalize

from cds_service.database import Database


class IdentityError(ValueError):
    """Raised where a name belongs to somebody else. The text is for the person who signs in, and for the admin."""


def claim(database: Database, name: str, source: str, subject: str) -> str:
    """Remember whose name this is and return the name that the person has here. Raises IdentityError.

    `subject`: what `source` (local, oidc, proxy) knows the person by. Who is known already keeps the first name, so that nobody
    signs twice under two: not after a change of it, nor with other capitals. Names that differ in capitals or in how Unicode
    spells them (NFKC) are one name.
    """
    known = "SELECT name, source, subject FROM review.person WHERE source = :source AND subject = :subject OR folded = :folded"
    given = {"source": source, "subject": subject, "folded": folded(name)}
    if not database.rows(known, **given):
        database.execute(
            "INSERT INTO review.person (folded, name, source, subject) VALUES (:folded, :name, :source, :subject) "
            "ON CONFLICT DO NOTHING",
            name=name,
            **given,
        )
    for row in database.rows(known, **given):
        if (row["source"], row["subject"]) == (source, subject):
            return str(row["name"])
    raise IdentityError(
        "This name belongs to another person or another way to sign in; an admin frees it with `cds-service users release`"
    )


def release(database: Database, name: str) -> bool:
    """Free a name, so that whoever signs in with it next has it; return whether it belonged to anybody."""
    return bool(database.execute("DELETE FROM review.person WHERE folded = :folded", folded=folded(name)))


def folded(name: str) -> str:
    """Return what is the same for all spellings of a name."""
    return normalize("NFKC", normalize("NFKC", name).casefold())
