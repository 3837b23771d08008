"""Load the knowledge of one site: the cards with its overlay and approvals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cds_service.files.paths import cards_dir
from cds_service.knowledge.approvals import load_approvals, shadow_rule
from cds_service.knowledge.knowledge import Knowledge, ShadowRule, unless_active
from cds_service.knowledge.loader import read_knowledge
from cds_service.settings import Settings
from cds_service.telemetry import metrics
from cds_service.telemetry.events import Event, tell
from cds_service.terminology.terminology import Terminology


def approvals_path(settings: Settings) -> Path:
    """Return the path of the site's approvals: the setting, else beside the log."""
    return settings.approvals_file or settings.log_path.with_name("approvals.yaml")


def rxnorm_path(settings: Settings) -> Path:
    """Return the path of the site's RxNorm lookup: the setting, else beside the log."""
    return settings.rxnorm_file or settings.log_path.with_name("rxnorm.msgpack")


def load_knowledge(settings: Settings, *, before_approval: bool = False) -> Knowledge:
    """Load the knowledge that `settings` name.

    `before_approval`: as if every active card were approved, to check and review it. Raises KnowledgeError for errors in the
    cards, the overlay or the approvals, and for an RxNorm lookup that can't be used.
    """
    folder = settings.cards_dir or cards_dir()
    shadow: ShadowRule = unless_active
    if settings.profile == "production" and not before_approval:
        shadow = shadow_rule(settings.profile, load_approvals(approvals_path(settings)))
    terminology = Terminology.load(folder / "value_sets", rxnorm_path(settings))
    return read_knowledge(folder, terminology, settings.overlay_dir, shadow)


def card_states(knowledge: Knowledge) -> dict[str, Any]:
    """Return the live cards and those in shadow with the reason, without retired ones, for `/health`."""
    return {
        "live": [card.id for card in knowledge.cards if card.live],
        "shadow": [
            {"id": card.id, "version": card.file.version, "why": card.why_shadow}
            for card in knowledge.cards
            if not card.live and card.file.status != "retired"
        ],
        "hash": knowledge.hash,
    }


def log_card_states(knowledge: Knowledge, profile: str) -> None:
    """Log the live cards and those in shadow, at the start of a process; an error where production shows none."""
    states = card_states(knowledge)
    live, shadow = states["live"], states["shadow"]
    metrics.CARDS_LIVE.set(len(live))
    tell(Event.CARDS_LIVE, live=len(live), shadow=len(shadow), hash=knowledge.hash, cards=", ".join(live) or "none is shown")
    if not live and profile == "production":
        tell(Event.NO_CARD_LIVE)
    for one in shadow:
        tell(Event.CARD_IN_SHADOW, card=one["id"], version=one["version"], why=one["why"])
