"""Find the cards that a case was judged with: today's, or those of the log's archive."""

from __future__ import annotations

from typing import Literal

import msgspec

from cds_service.knowledge.knowledge import Knowledge


class KnowledgeThen(msgspec.Struct, frozen=True):
    """The knowledge of a record.

    `source`: "current" where the whole or at least this card with its criteria and value sets is today's, "archive" where the log
    gave it back, "none" where it is neither; then `known` is None.
    """

    hash: str
    known: Knowledge | None
    source: Literal["current", "archive", "none"]


def knowledge_then(wanted: str, current: Knowledge, card: str, content_hash: str) -> KnowledgeThen:
    """Return the knowledge with the hash `wanted`, in which `card` has a hash that begins with `content_hash`."""
    today = current.card(card)
    if wanted == current.hash or (today is not None and content_hash and today.hash.startswith(content_hash)):
        return KnowledgeThen(wanted, current, "current")
    return KnowledgeThen(wanted, None, "none")
