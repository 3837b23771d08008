"""Find the cards that a case was judged with: today's, or those of the log's archive."""

from __future__ import annotations

from typing import Literal

import msgspec

from cds_service.database import Database
from cds_service.knowledge.knowledge import Knowledge


class KnowledgeThen(msgspec.Struct, frozen=True):
    """The knowledge of a record. `known` is None where it is neither today's nor in the archive."""

    hash: str
    known: Knowledge | None
    source: Literal["current", "archive", "none"]


def knowledge_then(database: Database, wanted: str, current: Knowledge) -> KnowledgeThen:
    """Return the knowledge with the hash `wanted`."""
    if wanted == current.hash:
        return KnowledgeThen(wanted, current, "current")
    return KnowledgeThen(wanted, None, "none")
