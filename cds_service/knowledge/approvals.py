"""Read and write the file of a site's approvals, which decides the cards that are shown.

An approval is bound to the content of a card (see `Card.hash`: its file, the shared files, the value sets, the site's overlay). A
change of any of them makes it stale. In the production profile the card then runs in shadow until it is approved again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml

from cds_service.files.yaml_file import YamlFile
from cds_service.knowledge.card_file import CardFile, File, Text
from cds_service.knowledge.knowledge import Card, ShadowRule, unless_active

_HEAD = (
    "# Written by `cds-service cards approve`. Who approved which content of a card; to withdraw an approval, delete it here.\n"
)


class Approval(File, frozen=True, kw_only=True):
    """One entry of the file."""

    card: Text
    version: Text
    hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    by: Text
    at: datetime  # aware, UTC
    note: Text


class ApprovalError(ValueError):
    """An approval is refused; the text says why."""


def load_approvals(path: Path) -> list[Approval]:
    """Read the approvals, oldest first; none where there is no file. Raises KnowledgeError for errors in it."""
    if not path.exists():
        return []
    file = YamlFile(path, str(path))
    return file.convert(list[Approval], file.data or [])


def shadow_rule(profile: Literal["dev", "production"], approvals: Sequence[Approval]) -> ShadowRule:
    """Return the rule that says why a card is not shown.

    It is not active or, in production, the site has not approved this content.
    """
    if profile == "dev":
        return unless_active
    approved = {(one.card, one.hash) for one in approvals}
    before = {one.card: one for one in approvals}

    def rule(card: CardFile, content_hash: str) -> str:
        if (why := unless_active(card, content_hash)) or (card.id, content_hash) in approved:
            return why
        if card.id in before:
            return f"changed since version {before[card.id].version} was approved"
        return "not approved by this site"

    return rule


def approve(path: Path, card: Card, by: str, note: str, now: datetime) -> Approval:
    """Append an approval of the card's present content to the file.

    `now` is aware. Raises ApprovalError where the card is not active, `by` or `note` is empty, or another process is writing;
    KnowledgeError where the file has errors; OSError where it can't be written.
    """
    if card.file.status != "active":
        raise ApprovalError(f"{card.id} is {card.file.status}: only an active card can be approved")
    if not by.strip() or not note.strip():
        raise ApprovalError("say who approves (--by) and what was looked at (--note)")
    approval = Approval(
        card=card.id, version=card.file.version, hash=card.hash, by=by.strip(), at=now.replace(microsecond=0), note=note.strip()
    )
    load_approvals(path)  # a file with errors stays as it is
    before = path.read_text(encoding="utf-8").rstrip("\n") + "\n" if path.exists() else _HEAD
    entry = yaml.safe_dump([msgspec.structs.asdict(approval)], sort_keys=False, allow_unicode=True, width=120)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    try:
        file = draft.open("x", encoding="utf-8")
    except FileExistsError:
        raise ApprovalError(f"another approval is being written; if none is, remove {draft}") from None
    try:
        with file:
            file.write(before + entry)
            file.flush()
            os.fsync(file.fileno())
        load_approvals(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return approval


def standing(card: Card, approvals: Sequence[Approval]) -> str:
    """Return in words whether the present content of a card is approved, changed since, or never approved."""
    own = [one for one in approvals if one.card == card.id]
    now = [one for one in own if one.hash == card.hash]
    if not own:
        return "not approved"
    last = (now or own)[-1]
    word = "approved" if now else f"stale: changed since version {last.version} was approved"
    return f"{word} by {last.by}, {last.at:%Y-%m-%d}: {last.note}"
