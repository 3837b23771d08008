"""Give back the knowledge that a record was made with, from the log's archive."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

import msgspec

from cds_service.alert_log import archived_files, restore_knowledge
from cds_service.database import Database
from cds_service.files.yaml_file import KnowledgeError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.site_knowledge import load_knowledge
from cds_service.present.cards import Presenter
from cds_service.settings import Settings

Lacking: TypeAlias = Literal["no_knowledge", "unreadable_knowledge"]


class Cards(msgspec.Struct, frozen=True):
    """The knowledge of a record and what draws its cards."""

    knowledge: Knowledge
    presenter: Presenter


class ArchivedCards:
    """The versions of the knowledge that the log has, each loaded once.

    Whether a card was shown or ran in shadow depends, in production, on approvals. They are not in the archive: today's are used.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._known: dict[str, Knowledge | Lacking] = {}  # by hash
        self._cards: dict[tuple[str, str], Cards] = {}  # by hash and address

    def of(self, wanted: str, address: str = "") -> Cards | Lacking:
        """Return the knowledge with the hash `wanted`, or why there is none.

        `address`: to which the cards link, "" where they link to no page of their own. "unreadable_knowledge": this program reads
        the files differently from the one that archived them, or the site's RxNorm lookup is another one now.
        """
        if wanted not in self._known:
            self._known[wanted] = self._load(wanted)
        known = self._known[wanted]
        if not isinstance(known, Knowledge):
            return known
        key = wanted, address
        if key not in self._cards:
            self._cards[key] = Cards(known, Presenter(known, address))
        return self._cards[key]

    def _load(self, wanted: str) -> Knowledge | Lacking:
        files = archived_files(self._database, wanted)
        if files is None:
            return "no_knowledge"
        try:
            known = load_files(files, self._settings)
        except KnowledgeError:
            return "unreadable_knowledge"
        return known if known.hash == wanted else "unreadable_knowledge"


def load_files(files: Mapping[str, bytes], settings: Settings, *, before_approval: bool = False) -> Knowledge:
    """Load the knowledge of archived files. Raises KnowledgeError, ValueError for a path that leads out of the archive."""
    with TemporaryDirectory(prefix="cds-replay-") as folder:
        cards, overlay = restore_knowledge(files, Path(folder))
        place = settings.model_copy(update={"cards_dir": cards, "overlay_dir": overlay})
        return load_knowledge(place, before_approval=before_approval)
