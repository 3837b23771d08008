"""Put both decisions of a discordant case side by side: as recorded, and decided again with the candidate."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import msgspec

from cds_service.alert_log import CallBody
from cds_service.explain.sentences import Sentences
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.names_used import named_in, with_children
from cds_service.replay.again import Again
from cds_service.replay.backtest import Backtest
from cds_service.replay.compare import Discordant
from cds_service.replay.knowledge import Cards
from cds_service.replay.run_backtest import candidate_cards
from cds_service.review.case import Case, Row
from cds_service.review.case_rows import NOT_LOOKED_AT, evidence, missing, truths_of
from cds_service.settings import Settings

_MOST = 4  # candidates that are kept loaded
_kept: dict[str, Cards] = {}  # by id of the backtest, the oldest first
_keeping = threading.Lock()


def candidate_of(backtest: Backtest, settings: Settings) -> Cards:
    """Return what a backtest decided with, loaded once. Raises KnowledgeError, CandidateChangedError."""
    with _keeping:
        if backtest.spec.id not in _kept:
            loaded = candidate_cards(backtest, settings)
            while len(_kept) >= _MOST:
                del _kept[next(iter(_kept))]
            _kept[backtest.spec.id] = loaded
        return _kept[backtest.spec.id]


class Side(msgspec.Struct, frozen=True):
    """One of the two decisions. `known`: the knowledge that made it, None where it is not there."""

    case: Case
    known: Knowledge | None

    def described(self) -> dict[str, Any]:
        """Return what is shown of it."""
        evaluation = self.case.evaluation or {}
        row, card = int(evaluation.get("row", -1)), self._card
        table = card.file.table if card is not None else []
        return {
            "outcome": str(evaluation.get("outcome", "none")),
            "version": str(evaluation.get("version", "")),
            "row": row + 1,
            "row_says": table[row].summary if 0 <= row < len(table) else "",
            "reason": str(evaluation.get("reason", "")),
            "gave_way_to": str(evaluation.get("gave_way_to", "")),
            "repeats": bool(evaluation.get("repeats")),
            "error": str(evaluation.get("error", "")),
            "card": self.case.drawn,
            "evidence": evidence(self.case, self.known),
            "missing": missing(self.case, self.known),
        }

    @property
    def _card(self) -> Any:
        return self.known.card(self.case.id.card) if self.known is not None else None

    def criteria(self) -> dict[str, tuple[str, str]]:
        """Return by name what each criterion of the card asks for, and its truth."""
        card, truths = self._card, truths_of(self.case)
        if self.known is None or card is None:
            return {name: (name.replace("_", " "), truth) for name, truth in truths.items()}
        words = Sentences(self.known.criteria, self.known.terminology)
        names = with_children(named_in(card.file), self.known.criteria)
        return {name: (words.of(name), truths.get(name, NOT_LOOKED_AT)) for name in names}


def with_candidate(case: Case, again: Again, discordant: Discordant) -> Case:
    """Return the case as the candidate decides it."""
    rows: list[Row] = msgspec.json.decode(again.evaluations())
    wanted = discordant.new or {}
    key = wanted.get("order_key", "")
    evaluation = next((one for one in rows if one == wanted), None) or next(
        (one for one in rows if one["card"] == discordant.card and one.get("order_key", "") == key), None
    )
    drawn = next(
        (
            msgspec.Raw(one.body)
            for one in (*again.shown, *again.shadows, *again.held_back)
            if one.decision is not None
            and one.decision.card.id == discordant.card
            and (one.decision.order.key if one.decision.order is not None else "") == key
        ),
        None,
    )
    body: CallBody = msgspec.structs.replace(case.body, evaluations=rows)
    return msgspec.structs.replace(case, body=body, evaluation=evaluation, drawn=drawn, card=None)


def compared(old: Mapping[str, tuple[str, str]], new: Mapping[str, tuple[str, str]]) -> list[dict[str, Any]]:
    """Return the criteria of both sides, those that differ in truth or words first."""
    rows = []
    for name in dict.fromkeys((*old, *new)):
        (says_old, truth_old), (says_new, truth_new) = old.get(name, ("", "")), new.get(name, ("", ""))
        rows.append(
            {
                "name": name,
                "says_old": says_old,
                "truth_old": truth_old,
                "says_new": says_new,
                "truth_new": truth_new,
                "differs": (says_old, truth_old) != (says_new, truth_new),
            }
        )
    return sorted(rows, key=lambda one: not one["differs"])
