"""Write one readable line for each call, for the terminal of a developer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from cds_service.decide.decision import NOT_CHECKED, Outcome
from cds_service.evaluate import Evaluation
from cds_service.explain.explanation import Explanation
from cds_service.explain.nearest import nearest
from cds_service.playground.kept_calls import KeptCall

_LONGEST = 160  # characters of what a line says of silence


def call_line(call: KeptCall) -> str:
    """Return the line about a call."""
    return f"{call.at:%H:%M:%S} {call.service}  {call.said}  [{call.sender or 'playground'}, {call.total_ms:.0f} ms]"


def call_words(call: KeptCall, evaluation: Evaluation | None, why: Explanation | None) -> str:
    """Return what the call got: its cards, what was held back, or which card came nearest.

    `evaluation`: None where it was refused; `why`: of a call without cards, where it was explained.
    """
    if evaluation is None:
        return f"refused, {call.status}: {_issue(call.response)}"
    cards = [f"{card['source']['topic']['code']} ({card['indicator']})" for card in call.cards]
    said = ", ".join(cards) if cards else "no card"
    if held := held_back(evaluation):
        return f"{said}; held back as shown before: {', '.join(held)}"
    if not cards and why is not None and (near := next(iter(nearest(why, 1)), None)) is not None:
        said += f"; nearest {near.card.card}: {near.words}"[:_LONGEST]
    return said


def held_back(evaluation: Evaluation) -> list[str]:
    """Return the cards and the notice that were held back as repeats, with the time when they were shown."""
    shown = {one.uuid: f" ({one.shown_at:%Y-%m-%d %H:%M})" for one in evaluation.facts.prior_cards}
    held = [(one.card.id, one.repeats) for one in evaluation.decisions if one.outcome is Outcome.REPEATED]
    held += dict.fromkeys((NOT_CHECKED, one.repeats) for one in evaluation.decisions if one.said_before)
    return [f"{name}{shown.get(prior, '')}" for name, prior in held]


def feedback_items(body: bytes) -> list[FeedbackItem]:
    """Return the items of feedback in a body; none where it can't be read."""
    try:
        return msgspec.json.decode(body, type=_Feedback).feedback
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def feedback_words(items: Iterable[FeedbackItem], call: KeptCall | None) -> str:
    """Return in words what feedback says of cards of `call`, None where none of them is kept."""
    if call is None:
        return "about a card that is not among the kept calls"
    cards = {card["uuid"]: card for card in call.cards}
    said = [_words(item, cards[item.card.lower()]) for item in items if item.card.lower() in cards]
    return "; ".join(dict.fromkeys(said))


def _words(item: FeedbackItem, card: dict[str, Any]) -> str:
    name = card["source"]["topic"]["code"]
    if item.outcome == "accepted":
        labels = {one.get("uuid"): one["label"] for one in card.get("suggestions", [])}
        chosen = [labels[one.id] for one in item.acceptedSuggestions if one.id in labels]
        return f"{name} accepted" + (f": {', '.join(chosen)}" if chosen else "")
    if item.overrideReason is None:
        return f"{name} dismissed"
    shown = {one["code"]: one["display"] for one in card.get("overrideReasons", [])}
    return f"{name} dismissed: {shown.get(item.overrideReason.reason.code, 'a reason that is not on its list')}"


def _issue(response: bytes) -> str:
    """Return the text of an OperationOutcome of this service, which names fields and never values."""
    try:
        return msgspec.json.decode(response, type=_Outcome).issue[0].details.text
    except (msgspec.DecodeError, IndexError):
        return "without a reason, as for every caller that is not accepted" if not response else "see its page"


class _Details(msgspec.Struct):
    text: str = ""


class _Issue(msgspec.Struct):
    details: _Details


class _Outcome(msgspec.Struct):
    issue: list[_Issue]


class _Id(msgspec.Struct):
    id: str = ""


class _Code(msgspec.Struct):
    code: str = ""


class _Reason(msgspec.Struct):
    reason: _Code = msgspec.field(default_factory=_Code)


class FeedbackItem(msgspec.Struct):
    """Hold what of an item of feedback is shown."""

    card: str = ""
    outcome: str = ""
    acceptedSuggestions: list[_Id] = []
    overrideReason: _Reason | None = None


class _Feedback(msgspec.Struct):
    feedback: list[FeedbackItem] = []
