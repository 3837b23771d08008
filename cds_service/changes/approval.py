"""Put a change that has all it needs into the site's overlay and approvals. Nothing else lets a change reach clinicians."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from cds_service.authoring.cases import load_cases, run_cases
from cds_service.authoring.emitted_resources import emitted_problems
from cds_service.changes.change import Change
from cds_service.changes.requirements import requirements
from cds_service.database import Database
from cds_service.files.paths import cards_dir
from cds_service.knowledge.approvals import approve, load_approvals
from cds_service.knowledge.knowledge import Card, Knowledge
from cds_service.knowledge.site_knowledge import approvals_path, load_knowledge
from cds_service.replay.backtest import open_backtest, write_whole
from cds_service.replay.candidate import restore_overlay
from cds_service.settings import Settings


class RefusedError(ValueError):
    """Raised where a change is not approved; `reasons` names each thing that is missing."""

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = list(reasons)
        super().__init__("\n".join(reasons))


class Approved(msgspec.Struct, frozen=True):
    """What was written. `cards`: those that were approved, `cases`: of them that passed, `written`: files of the overlay."""

    cards: tuple[str, ...]
    cases: int
    written: tuple[Path, ...]


def approve_change(database: Database, settings: Settings, change: Change, now: datetime) -> Approved:
    """Write the candidate's overlay into the site's, and the approvals of the cards that it changes.

    All is checked before anything is written. Raises RefusedError, KnowledgeError, ApprovalError, OSError.
    """
    try:
        backtest = open_backtest(settings, change.backtest)
    except FileNotFoundError:
        backtest = None
    lacking = [f"{one.name}: {one.found}" for one in requirements(database, change, backtest) if not one.met]
    if lacking or backtest is None:
        raise RefusedError(lacking)
    today = load_knowledge(settings, before_approval=True)
    with TemporaryDirectory(prefix="cds-change-") as name:
        folder = Path(name)
        if today.hash == change.candidate:
            site, overlay = None, None
            affected, cases = _checked(settings, change, None, today)
        else:
            overlay = restore_overlay(backtest, folder)
            site = _overlay_of_site(settings, change, today, overlay)
            affected, cases = _checked(settings, change, today, _tried(settings, change, site, overlay, folder / "tried"))
        # The approvals first: they are of a content that is not in place yet, so a stop in between shows nothing new.
        by, note = " and ".join(one.reader for one in change.signatures), f"change {change.id}: {' '.join(change.why.split())}"
        for card in affected:
            approve(approvals_path(settings), card, by, note, now)
        written = _write(overlay, site) if overlay is not None and site is not None else ()
    return Approved(tuple(card.id for card in affected), cases, written)


def _overlay_of_site(settings: Settings, change: Change, today: Knowledge, overlay: Path | None) -> Path:
    """Return the folder into which the overlay is written. Raises RefusedError where that would not make the candidate."""
    if overlay is None or today.hash.partition("+")[0] != change.candidate.partition("+")[0]:
        raise RefusedError(
            [f"the candidate has other files in cards/: put them in place (CDS_CARDS_DIR), for {change.candidate}"]
        )
    if today.hash != change.base:
        base = change.base or "another"
        raise RefusedError([f"the site's knowledge is {today.hash}, the change was made for {base}: make its backtest anew"])
    if settings.overlay_dir is None:
        raise RefusedError(["this site has no overlay: make an empty folder, name it in CDS_OVERLAY_DIR, and approve again"])
    return settings.overlay_dir


def _tried(settings: Settings, change: Change, site: Path, overlay: Path | None, folder: Path) -> Knowledge:
    """Load the site's overlay with the candidate's files over it, in `folder`. Raises RefusedError, KnowledgeError."""
    shutil.copytree(site, folder)
    if overlay is not None:
        shutil.copytree(overlay, folder, dirs_exist_ok=True)
    candidate = load_knowledge(settings.model_copy(update={"overlay_dir": folder}), before_approval=True)
    if candidate.hash != change.candidate:
        raise RefusedError([f"with its files the site's knowledge would be {candidate.hash}, and {change.candidate} was signed"])
    return candidate


def _checked(settings: Settings, change: Change, today: Knowledge | None, candidate: Knowledge) -> tuple[list[Card], int]:
    """Return the cards to approve and how many of their cases passed. Raises RefusedError with each case that does not.

    Beside the card itself those whose content the change touches, where the site had approved what they were. `today`: None where
    the candidate is in place already.
    """
    known = {(one.card, one.hash) for one in load_approvals(approvals_path(settings))}
    affected = []
    for card in candidate.cards:
        before = today.card(card.id) if today is not None else None
        touched = before is not None and before.hash != card.hash and (card.id, before.hash) in known
        if card.file.status == "active" and (card.id == change.card or touched):
            affected.append(card)
    if change.card not in {card.id for card in affected}:
        raise RefusedError([f"{change.card} is not an active card of the candidate"])
    shipped = settings.cards_dir or cards_dir()
    runs = list(run_cases([one for one in load_cases(shipped, candidate) if one.card in affected], candidate))
    problems = [str(problem) for run in runs for problem in run.problems] + list(map(str, emitted_problems(candidate, runs)))
    if problems:
        where = f"where this is meant, put what you expect now into cases.yaml of the card in {settings.overlay_dir or shipped}"
        raise RefusedError([*problems, f"cases of the cards fail with the candidate; {where}"])
    return affected, len(runs)


def _write(overlay: Path, site: Path) -> tuple[Path, ...]:
    """Write the files that differ, each whole or not at all."""
    written = []
    for path in sorted(overlay.rglob("*")):
        to = site / path.relative_to(overlay)
        if path.is_file() and (not to.exists() or to.read_bytes() != path.read_bytes()):
            to.parent.mkdir(parents=True, exist_ok=True)
            write_whole(to, path.read_bytes())
            to.chmod(0o644)  # no secrets: the service, perhaps of another user, reads it
            written.append(to)
    return tuple(written)
