"""What an answer leaves unsaid: the rule that "not checked" never looks like "checked, fine", applied to one answer.

An answer with cards or without says of every card of the hook that it was checked, unless the notice names it. `unsaid` finds
where that would not be true. It reads what a card says of itself (`on_unknown`, `notice_when`, `not_checked`) from the card's
data and not from the decision's own `say`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from cds_service.criteria.facts import ORDERS_NOT_SENT
from cds_service.criteria.findings import Truth
from cds_service.decide.decision import NOT_CHECKED, Decision, Outcome
from cds_service.evaluate import Evaluation
from cds_service.knowledge.dialects import topic_code
from cds_service.knowledge.knowledge import Card, Knowledge
from cds_service.present.card_template import card_uuid
from tests.core import Json

NEVER_ARRIVED = ("not_obtained", "failed")
SPOKE = (Outcome.FIRED, Outcome.GAVE_WAY, Outcome.CAPPED, Outcome.REPEATED)


class Told:
    """What an EHR is told by the body of an answer."""

    def __init__(self, body: bytes, session: str, dialect: str, known: Knowledge) -> None:
        spoken = known.dialects[dialect or "plain"]
        cards: list[Json] = msgspec.json.decode(body)["cards"]
        codes = {topic_code(card.id, spoken): card.id for card in known.cards} | {topic_code(NOT_CHECKED, spoken): NOT_CHECKED}
        self.session = session
        self.cards = [(codes[one["source"]["topic"]["code"]], one["uuid"]) for one in cards]
        self.text = "\n".join(one["detail"] for one in cards)
        self.notices = [one for one in cards if codes[one["source"]["topic"]["code"]] == NOT_CHECKED]

    def shows(self, card: str, order: str) -> bool:
        return (card, card_uuid(self.session, card, order)) in self.cards

    def speaks_of(self, card: str) -> bool:
        return any(one == card for one, _ in self.cards)

    def names(self, card: Card) -> bool:
        """Whether the notice says that what this card checks was not."""
        return any(f"- **{card.file.checks}**: " in one["detail"] for one in self.notices)


def unsaid(told: Told, answer: Evaluation, known: Knowledge, shown_before: set[str]) -> Iterator[str]:
    """What `answer` lets its reader believe without ground. `shown_before`: uuids of cards that the log has as shown."""
    yield from _bad_notice(told.notices)
    hook = answer.facts.hook
    decided = {one.card.id for one in answer.decisions}
    for card in known.cards_at(hook):
        if card.live and card.id not in decided:
            yield f"{card.id} was not decided"
    for one in answer.decisions:
        if one.card.live and not told.names(one.card):
            for problem in _of_decision(one, told, answer, known, shown_before):
                yield f"{one.card.id}{f' about {one.order.key}' if one.order else ''}: {one.outcome}, {problem}"


def _bad_notice(notices: list[Json]) -> Iterator[str]:
    if len(notices) > 1:
        yield "there are several notices"
    for one in notices:
        if one["indicator"] != "info" or "safe" in one["summary"].lower() + one["detail"].lower().replace("baclofen-safe", ""):
            yield "the notice warns, or says safe"
        if not one["summary"].startswith("Not checked: ") or "\n- **" not in one["detail"]:
            yield "the notice names nothing"


def _of_decision(one: Decision, told: Told, answer: Evaluation, known: Knowledge, shown_before: set[str]) -> Iterator[str]:
    order = one.order.key if one.order is not None else ""
    match one.outcome:
        case Outcome.FIRED:
            if not told.shows(one.card.id, order):
                yield "and its card is not in the answer"
        case Outcome.REPEATED:
            if one.repeats not in shown_before:
                yield "and nobody saw the card that it repeats"
        case Outcome.GAVE_WAY:
            if not told.speaks_of(one.gave_way_to):
                yield f"and {one.gave_way_to} is not in the answer"
        case Outcome.CAPPED:
            if len(told.cards) - len(told.notices) < known.labels.most_cards:
                yield "and there was room for its card"
        case Outcome.NOT_APPLICABLE:
            if not answer.facts.patient.deceased:
                yield "and the patient lives"
        case Outcome.COULD_NOT_CHECK | Outcome.FAILED:
            told_before = one.reason == ORDERS_NOT_SENT and one.repeats in shown_before
            if not told_before and not declared_silent(one, answer.facts.hook) and not _spoken_of(one, told, answer):
                yield f"and nothing in the answer says so ({one.reason or one.error})"


def _spoken_of(one: Decision, told: Told, answer: Evaluation) -> bool:
    """Whether cards in the answer speak about all that this card is about, for the same order where it is about one."""
    covered: set[str] = set()
    for other in answer.decisions:
        same = other.order is None or other.order is one.order
        key = other.order.key if other.order is not None else ""
        if same and other.outcome is Outcome.FIRED and other.card.live and told.shows(other.card.id, key):
            covered.update(other.card.file.subjects)
    return covered.issuperset(one.card.file.subjects)


def declared_silent(one: Decision, hook: str) -> bool:
    """Whether the card's own data says that nobody is to be told that this could not be checked."""
    if one.outcome is Outcome.FAILED:
        return False
    file = one.card.file
    if not any(_unknown(one, name) for name in (*file.fire_when, *file.unless)):
        for item in file.not_checked:
            if one.reason == item.because:
                return hook != "order-sign"
    blocking = [name for name in (*file.fire_when, *file.unless) if _unknown(one, name) and _policy(one, name) != "carry_on"]
    blocking = blocking or [name for name in one.unknown if _policy(one, name) != "carry_on"]
    speaking = [one.findings[name].cause for name in blocking if _policy(one, name) == "say_so"]
    if not speaking:
        return bool(blocking)
    if any(cause in NEVER_ARRIVED for cause in speaking):
        return False
    if hook == "patient-view" and file.chart_notice_when:
        if any(one.findings[name].alarming for name in blocking if _policy(one, name) == "say_so"):
            return False
        needs = [one.findings[name] for name in file.chart_notice_when]
    elif hook == "order-sign":
        needs = [one.findings[name] for name in file.notice_when]
    else:
        return True
    return bool(needs) and not any(need.truth is Truth.MET or need.cause in NEVER_ARRIVED for need in needs)


def _unknown(one: Decision, name: str) -> bool:
    return one.findings[name].truth is Truth.UNKNOWN


def _policy(one: Decision, name: str) -> str:
    return one.card.policy(name, missing=one.findings[name].cause == "not_recorded")


def lost(whole: Iterable[Decision], now: Evaluation, told: Told) -> Iterator[str]:
    """Cards that speak where all data is there, and are taken for checked without it.

    `now` is the answer to the same call with less of its data: with no other truth in it, only with less. A card may then say
    that it could not check, or what it would say anyway; that it was checked and did not fire is true only where the card's data
    says that it carries on without what is missing.
    """
    for one in whole:
        if one.outcome not in SPOKE or not one.card.live or told.names(one.card):
            continue
        key = one.order.key if one.order is not None else ""
        same = [
            other
            for other in now.decisions
            if other.card is one.card and (other.order.key if other.order is not None else "") == key
        ]
        about = f"{one.card.id}{f' about {key}' if key else ''}"
        if not same and not told.names(one.card):
            yield f"{about} speaks where all data is there, and is not decided"
        for other in same:
            if _contradict(one, other):  # a newer result was cut off: what is known now is another truth, not less of it
                continue
            carried_on = any(_policy(other, name) == "carry_on" for name in other.unknown)
            if other.outcome is Outcome.NOT_FIRED and not carried_on:
                yield f"{about} speaks where all data is there, and counts as checked without it"


def _contradict(one: Decision, other: Decision) -> bool:
    """Whether a criterion is met in one decision and unmet in the other."""
    both = one.card.criteria.keys() & one.findings.keys() & other.findings.keys()
    return any({one.findings[name].truth, other.findings[name].truth} == {Truth.MET, Truth.UNMET} for name in both)
