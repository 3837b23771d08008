"""When a card that fired is not shown again. Pure: the cards shown before are part of the facts (`Facts.prior_cards`).

Two rules: a card's own `repeat` rule (so many days, whoever saw it), for what merely informs; and for every card about an order,
that what a clinician overrode when the order was picked is not shown to the same clinician again when it is signed. Neither holds
back a critical card, one that is louder than before, or one about something that it was not about before: for an order that is
all that the card goes by, so that a drug or a result that came since shows it again. Without prior cards nothing is held back.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from cds_service.criteria.facts import Facts, PriorCard
from cds_service.criteria.findings import IS_MET
from cds_service.criteria.wording import name_of

if TYPE_CHECKING:
    from cds_service.card_file import Repeat
    from cds_service.decision import Decision

_LOUDNESS = {"": 0, "info": 1, "warning": 2, "critical": 3}


def about(decision: Decision) -> str:
    """What a card that fired is about, names joined with ", ".

    By its `repeat` rule the evidence that this names; about an order the drug and all that speaks for the card.
    """
    file = decision.card.file
    row = file.table[decision.row]
    if file.repeat is not None and (decision.order is None or row.indicator == "info"):
        return _evidence(decision, file.repeat.about)
    if decision.order is None:
        return ""
    said = (name for paragraph in file.detail for name in paragraph.when)
    return _evidence(decision, (*file.fire_when, *row.when, *said), name_of(decision.order))


def look_back(decision: Decision, hook: str, answer_counts: timedelta) -> timedelta | None:
    """How far back a card shown before could hold back this one, which fired; None where none can.

    `answer_counts`: how long an answer given at order-select counts at order-sign.
    """
    file = decision.card.file
    if file.table[decision.row].indicator == "critical":
        return None
    if (rule := _rule(decision)) is not None:
        return timedelta(days=rule.after_days)
    return answer_counts if _is_signed_after_it_could_be_answered(decision, hook) else None


def repeated(decision: Decision, facts: Facts, answer_counts: timedelta) -> PriorCard | None:
    """The card shown before that this one, which fired, would repeat."""
    back = look_back(decision, facts.hook, answer_counts)
    if back is None:
        return None
    by_rule = _rule(decision) is not None
    for prior in facts.prior_cards:
        recent = prior.card == decision.card.id and facts.now - prior.shown_at < back
        if recent and _tells_nothing_new(decision, prior) and (by_rule or _was_answered(decision, prior)):
            return prior
    return None


def _rule(decision: Decision) -> Repeat | None:
    """The card's own rule, where what it says now merely informs: a warning is not kept back for being known."""
    file = decision.card.file
    return file.repeat if file.table[decision.row].indicator == "info" else None


def _evidence(decision: Decision, names: Iterable[str], first: str = "") -> str:
    findings = decision.findings
    evidence = (item for name in names if findings[name].truth is IS_MET for item in findings[name].evidence)
    return ", ".join(sorted({name_of(item) for item in evidence} | ({first} if first else set())))


def _is_signed_after_it_could_be_answered(decision: Decision, hook: str) -> bool:
    named = decision.order is not None and decision.order.reference  # an order without an id can't be recognised
    return hook == "order-sign" and bool(named) and "order-select" in decision.card.file.hooks


def _tells_nothing_new(decision: Decision, prior: PriorCard) -> bool:
    """Not louder than before, and about nothing that it was not about before."""
    indicator = decision.card.file.table[decision.row].indicator
    return _LOUDNESS[indicator] <= _LOUDNESS[prior.indicator] and _names(decision.about) <= _names(prior.about)


def _was_answered(decision: Decision, prior: PriorCard) -> bool:
    """It was shown about this order when that was picked, and overridden by who signs; another row as loud is another reason."""
    file = decision.card.file
    quieter = _LOUDNESS[file.table[decision.row].indicator] < _LOUDNESS[prior.indicator]
    return (
        prior.hook == "order-select"
        and decision.order is not None
        and prior.order == decision.order.reference
        and prior.version == file.version
        and (prior.row == decision.row or quieter)
        and prior.same_user
        and prior.answered == "overridden"
    )


def _names(text: str) -> set[str]:
    return set(text.split(", ")) if text else set()
