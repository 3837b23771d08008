"""Find the cards that a case was judged with: today's, or those of the log's archive."""

from __future__ import annotations

import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import msgspec

from cds_service.alert_log import archived_files, restore_knowledge
from cds_service.database import Database
from cds_service.files.yaml_file import KnowledgeError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.site_knowledge import load_knowledge
from cds_service.settings import Settings

_MOST = 4  # versions kept in memory, some megabytes each

_kept: dict[str, Knowledge | None] = {}  # by hash, the oldest first; None for one that this program can't read
_keeping = threading.Lock()


class KnowledgeThen(msgspec.Struct, frozen=True):
    """The knowledge of a record.

    `source`: "current" where the whole or at least this card with its criteria and value sets is today's, "archive" where the log
    gave it back, "unreadable" where this program can't read what it gave back, "none" where it has none. In the last two cases
    `known` is None.
    """

    hash: str
    known: Knowledge | None
    source: Literal["current", "archive", "unreadable", "none"]


def knowledge_then(
    database: Database, wanted: str, settings: Settings, current: Knowledge, card: str, content_hash: str
) -> KnowledgeThen:
    """Return the knowledge with the hash `wanted`, in which `card` has a hash that begins with `content_hash`."""
    today = current.card(card)
    if wanted == current.hash or (today is not None and content_hash and today.hash.startswith(content_hash)):
        return KnowledgeThen(wanted, current, "current")
    with _keeping:
        if wanted not in _kept:
            files = archived_files(database, wanted)
            if files is None:
                return KnowledgeThen(wanted, None, "none")
            while len(_kept) >= _MOST:
                del _kept[next(iter(_kept))]
            _kept[wanted] = _load(files, settings, wanted)
        known = _kept[wanted]
    return KnowledgeThen(wanted, known, "archive" if known is not None else "unreadable")


def _load(files: dict[str, bytes], settings: Settings, wanted: str) -> Knowledge | None:
    """Load archived files; None where this program reads them differently from the one that archived them, or not at all."""
    with TemporaryDirectory() as folder:
        cards, overlay = restore_knowledge(files, Path(folder))
        try:
            known = load_knowledge(settings.model_copy(update={"cards_dir": cards, "overlay_dir": overlay}), before_approval=True)
        except KnowledgeError:
            return None
    return known if known.hash == wanted else None
