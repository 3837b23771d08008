"""Make a candidate of changed numbers, begin its backtest, and give its overlay back for the site."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from cds_service.alert_log.knowledge_archive import restore_knowledge, unpack_knowledge
from cds_service.knowledge.overlay_edit import write_candidate
from cds_service.knowledge.site_numbers import SiteNumber, Value
from cds_service.replay.backtest import Backtest, Selection, begin_backtest, write_whole
from cds_service.settings import Settings

_ORIGIN = "origin.json"


class ChangedNumber(msgspec.Struct, frozen=True):
    """One number or choice of a candidate, in words: "90 days"."""

    name: str
    before: str
    after: str
    cards: tuple[str, ...] = ()  # other cards that change with it


class Origin(msgspec.Struct, frozen=True):
    """Where a candidate came from: the page of which card, what was changed there, the hash of the knowledge that it changes."""

    card: str
    base: str
    changes: tuple[ChangedNumber, ...] = ()


def begin_candidate(
    settings: Settings, card: str, base: str, changes: Mapping[SiteNumber, Value], selection: Selection
) -> Backtest:
    """Prepare the backtest of the site's knowledge with `changes`; without any, of the site's knowledge as it is.

    `base`: the hash of the site's knowledge. Raises KnowledgeError for a candidate that does not load, DatabaseError, OSError.
    """
    with TemporaryDirectory(prefix="cds-candidate-") as folder:
        overlay = Path(folder) / "overlay"
        if changes:
            write_candidate(overlay, settings.overlay_dir, changes, settings.cards_dir)
        backtest = begin_backtest(settings, None, overlay if changes else None, selection)
    said = tuple(
        ChangedNumber(one.name, in_words(one, one.value), in_words(one, value), one.cards) for one, value in changes.items()
    )
    if origin_of(backtest) is None:
        write_whole(backtest.folder / _ORIGIN, msgspec.json.encode(Origin(card, base, said)))
    return backtest


def origin_of(backtest: Backtest) -> Origin | None:
    """Return where the candidate came from; None for one that was begun on the command line."""
    with suppress(FileNotFoundError):
        return msgspec.json.decode((backtest.folder / _ORIGIN).read_bytes(), type=Origin)
    return None


def restore_overlay(backtest: Backtest, folder: Path) -> Path | None:
    """Write the files of a candidate into `folder`; return the folder of its overlay, None where it has none. Raises OSError."""
    return restore_knowledge(unpack_knowledge((backtest.folder / "candidate").read_bytes()), folder)[1]


def in_words(number: SiteNumber, value: Value) -> str:
    """Return a value as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:f} {number.unit}".rstrip() if not isinstance(value, int) else f"{value} {number.unit}".rstrip()
