"""Give the service of the made-up months new versions of cards, as a site gets them with an update.

A version is a copy of `cards/` in a temporary folder with some texts replaced, so that its hash, its archive and its flags on
charts are those of any other version.
"""

from __future__ import annotations

import re
import shutil
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import msgspec

from cds_service.demo.schedule import Period

_UPDATE_AT = time(6, tzinfo=UTC)


class ChangedTextError(ValueError):
    """Raised where a card no longer has the text that a change replaces."""


class Change(msgspec.Struct, frozen=True):
    """The next version of one card."""

    at: datetime  # when it takes effect
    card: str
    replaced: tuple[tuple[str, str], ...]  # each text of the card's file, and what stands in its place
    what: str  # for the card's history
    affects: str


def changes(period: Period) -> list[Change]:
    """Return the changes that take effect before the end of the period, in their order."""
    half_way = datetime.combine(period.after(0.5).date(), _UPDATE_AT)
    monday = period.end.date() - timedelta(days=period.end.weekday())
    thursday = datetime.combine(monday - timedelta(days=11), _UPDATE_AT)  # of the week before last
    both = (_first_line(half_way), _quinine(thursday))
    return sorted((one for one in both if one.at <= period.end), key=lambda one: one.at)


def write_cards(original: Path, folder: Path, taken: list[Change]) -> None:
    """Copy `original` (`cards/`) to `folder`, which must not exist, with the changes. Raises ChangedTextError, OSError."""
    shutil.copytree(original, folder)
    for change in taken:
        path = folder / change.card / "card.yaml"
        path.write_text(_changed(path.read_text(encoding="utf-8"), change), encoding="utf-8")


def _changed(text: str, change: Change) -> str:
    for old, new in change.replaced:
        if old not in text:
            raise ChangedTextError(f"cards/{change.card}/card.yaml has no text {old!r} any more, which this program replaces")
        text = text.replace(old, new)
    version = re.search(r"^version: (\d+)\.(\d+)\.\d+$", text, re.MULTILINE)
    if version is None or "\nhistory:\n" not in text:
        raise ChangedTextError(f"cards/{change.card}/card.yaml has no version or no history")
    following = f"{version[1]}.{int(version[2]) + 1}.0"
    text = text.replace(version[0], f"version: {following}", 1)
    return text.replace("\nhistory:\n", f"\nhistory:\n{_entry(following, change.at.date(), change)}", 1)


def _entry(version: str, since: date, change: Change) -> str:
    return (
        f"  - version: {version}\n    since: {since.isoformat()}\n    what: {change.what}\n    affects: {change.affects}\n"
        "    source: [engineering]\n"
    )


def _first_line(at: datetime) -> Change:
    return Change(
        at,
        "cramp-first-line",
        (("repeat: {after_days: 90}", "repeat: {after_days: 60}"),),
        "The card is shown again after two months",
        "Patients with cramps who come back after two to three months",
    )


def _quinine(at: datetime) -> Change:
    """Return the version of quinine-avoid that takes malaria on the problem list for an old one after too few days."""
    own = """criteria:
  malaria_recent:
    kind: problem
    sets: [malaria, babesiosis]
    onset_within_days: 9
    undated: true
    source: [QUIN-LABEL, FDA2006, engineering]
  malaria_recent_by_list: {kind: all, of: [malaria_recent], none_of: [quinine_for_cramps], source: [engineering]}
  malaria_now: {kind: any, of: [malaria_reason, malaria_recent_by_list]}
"""
    return Change(
        at,
        "quinine-avoid",
        (("malaria_problem", "malaria_recent"), ("malaria_indication", "malaria_now"), ("criteria:\n", own)),
        "Malaria on the problem list counts as the reason for quinine only while it is recent",
        "Patients for whom quinine is ordered some time after malaria was recorded",
    )
