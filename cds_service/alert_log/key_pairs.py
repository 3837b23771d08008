"""Find the other hashes of an id: after the key of the hashes has changed, one patient has two."""

from __future__ import annotations

import re

from cds_service.database import Database

_TEXT = re.compile(r"(?:k[0-9]+:)?([0-9a-f]{32})")
_OLDER = "SELECT old AS other FROM log.key_pair WHERE new = :known"
_NEWER = "SELECT new AS other FROM log.key_pair WHERE old = :known"
_MOST = 16  # generations of keys


def hash_bytes(text: str) -> bytes | None:
    """Return the 16 bytes of a keyed hash as pages and exports write it, with its generation or without; None for others."""
    found = _TEXT.fullmatch(text.strip().lower())
    return bytes.fromhex(found[1]) if found else None


def same_ids(database: Database, known: bytes) -> list[bytes]:
    """Return all hashes of the id that has this one, itself first.

    Pairs are written when somebody is next seen after the key has changed, so who was not seen since has one hash.
    """
    found = [known]
    for one in found:  # grows meanwhile
        others = [bytes(row["other"]) for query in (_OLDER, _NEWER) for row in database.rows(query, known=one)]
        found += [other for other in dict.fromkeys(others) if other not in found]
        if len(found) > _MOST:
            break
    return found
