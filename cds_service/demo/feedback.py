"""Make up what clinicians do with the cards that they see: by their habits, and by what is true of the order."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from random import Random
from typing import Any

import msgspec

from cds_service.demo.calls import Call
from cds_service.demo.clients import Client

Json = dict[str, Any]

_TWICE = 0.01  # share of answers that the clinician changes a minute later
_ODD = 0.004  # share of answers whose outcome this service does not know
_SEES_THROUGH = 0.97  # share of overrides of a card that is wrong about the order, in which the clinician says why
_FIRST = 0.8  # share of accepted cards of which the first suggestion is taken
_APPEAL = {"critical": 1.5, "warning": 1.0, "info": 0.7}  # how readily a card is accepted, by indicator


class _Habit(msgspec.Struct, frozen=True):
    """How one kind of clinician answers cards; the rest of the answers are overrides without a reason."""

    accepts: float
    gives_reason: float  # where the card is not accepted
    leaves_open: float


_THOROUGH = _Habit(accepts=0.6, gives_reason=0.5, leaves_open=0.05)
_BRISK = _Habit(accepts=0.35, gives_reason=0.2, leaves_open=0.12)
_CLOSES_ALL = _Habit(accepts=0.08, gives_reason=0.05, leaves_open=0.2)
_SILENT = _Habit(accepts=0.0, gives_reason=0.0, leaves_open=1.0)
_HABITS = (_BRISK, _THOROUGH, _THOROUGH, _BRISK, _CLOSES_ALL, _BRISK, _THOROUGH, _SILENT)  # of a client's users, in turn


class Answer(msgspec.Struct, frozen=True):
    """One item of feedback, as the client's EHR sends it."""

    sent_at: datetime
    client: Client
    service: str  # id
    item: Json


class Clinicians:
    """The users of all clients, each with a habit. What they do follows from `seed` and from the cards shown.

    `removed`: ids of the orders that they took out on a card's suggestion.
    """

    def __init__(self, seed: int) -> None:
        self.removed: set[str] = set()
        self._random = Random(f"{seed} answers")  # noqa: S311

    def answers(self, call: Call, service: str, cards: list[Json]) -> list[Answer]:
        """Let the user of `call` act on the cards of its response; return the feedback that the EHR sends."""
        random, found = self._random, []
        for card in cards:
            outcome = self._outcome(call, card)
            if outcome is None or random.random() >= call.client.reports:
                continue
            decided = call.at + timedelta(seconds=random.uniform(4, 55))
            if random.random() < _ODD:
                outcome = {"outcome": "dismissed"}
            found.append(_answer(call, service, card, decided, outcome))
            if call.order not in self.removed and random.random() < _TWICE:
                found.append(_answer(call, service, card, decided + timedelta(minutes=1), {"outcome": "overridden"}))
        return found

    def _outcome(self, call: Call, card: Json) -> Json | None:
        """Return the members of feedback that say what the clinician did; None for nothing."""
        random, habit = self._random, _HABITS[_number(call.user) % len(_HABITS)]
        reasons = {one["code"]: one for one in card.get("overrideReasons", ())}
        suggestions = card.get("suggestions", ())
        if random.random() < habit.leaves_open:
            return None
        if call.reason in reasons:
            return _overridden(call.client, reasons[call.reason] if random.random() < _SEES_THROUGH else None)
        if suggestions and random.random() < habit.accepts * _APPEAL[card["indicator"]]:
            chosen = suggestions[0] if random.random() < _FIRST else random.choice(suggestions)
            if any(action["type"] == "delete" for action in chosen.get("actions", ())):
                self.removed.add(call.order)
            return {"outcome": "accepted", "acceptedSuggestions": [{"id": chosen["uuid"]}]}
        told = bool(reasons) and random.random() < habit.gives_reason
        return _overridden(call.client, self._favourite(call.user, list(reasons.values())) if told else None)

    def _favourite(self, user: str, reasons: list[Json]) -> Json:
        """Return a reason: one out of three times the one that this clinician always takes."""
        if self._random.random() < 1 / 3:
            return reasons[_number(user) % len(reasons)]
        return self._random.choice(reasons)


def _number(user: str) -> int:
    """Return the number with which the reference to a user ends."""
    return int(user.rpartition("-")[2])


def _answer(call: Call, service: str, card: Json, decided: datetime, outcome: Json) -> Answer:
    item = {"card": card["uuid"], **outcome, "outcomeTimestamp": decided.isoformat(timespec="seconds")}
    return Answer(_sent_at(call.client, decided), call.client, service, item)


def _overridden(client: Client, reason: Json | None) -> Json:
    """Return an override in the spelling of the client's EHR."""
    if reason is None:
        return {"outcome": "overridden"}
    if client.dialect == "epic":
        return {"outcome": "overridden", "overrideReasons": [{"reason": {"coding": [reason]}}]}
    return {"outcome": "overridden", "overrideReason": {"reason": reason}}


def _sent_at(client: Client, decided: datetime) -> datetime:
    """Return when the client's EHR sends feedback on a decision."""
    if client.reports_after is None:
        return decided + timedelta(seconds=1)
    return datetime.combine(decided.date() + timedelta(days=1), time(tzinfo=decided.tzinfo)) + client.reports_after
