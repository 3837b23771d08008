"""Tell when a card that fired is not shown again. Pure: which cards were shown before is handed in.

Two rules: a card's own `repeat` rule (so many days, whoever saw it), for what merely informs; and for every card about an order,
that what a clinician overrode when the order was picked is not shown to the same clinician again when it is signed. Neither holds
back a critical card, one that is louder than before, or one about something that it was not about before: for an order that is
all that the card goes by, so that a drug or a result that came since shows it again. Without prior cards nothing is held back.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.facts import Order, PriorCard
from cds_service.criteria.findings import IS_MET
from cds_service.criteria.wording import name_of

if TYPE_CHECKING:
    from cds_service.decide.decision import Decision
    from cds_service.knowledge.card_file import CardFile, Repeat

_LOUDNESS = {"": 0, "info": 1, "warning": 2, "critical": 3}


def about(file: CardFile, row: int, findings: Evaluator, order: Order | None) -> str:
    """Name what a card that fires with this row of its table is about, names joined with ", ".

    By its `repeat` rule the evidence that this names; about an order the drug and all that speaks for the card.
    """
    holds = file.table[row]
    if file.repeat is not None and (order is None or holds.indicator == "info"):
        return _evidence(findings, file.repeat.about)
    if order is None:
        return ""
    said = (name for paragraph in file.detail for name in paragraph.when)
    return _evidence(findings, (*file.fire_when, *holds.when, *said), name_of(order))


def look_back(decision: Decision, hook: str, answer_counts: timedelta) -> timedelta | None:
    """How far back a card shown before could hold back this one, which fired; None where none can.

    `answer_counts`: how long an answer given at order-select counts at order-sign.
    """
    if decision.indicator == "critical":
        return None
    if (rule := _rule(decision)) is not None:
        return timedelta(days=rule.after_days)
    return answer_counts if _is_signed_after_it_could_be_answered(decision, hook) else None


def repeated(
    decision: Decision, shown_before: Iterable[PriorCard], hook: str, now: datetime, answer_counts: timedelta
) -> PriorCard | None:
    """Return the card shown before that this one, which fired, would repeat."""
    back = look_back(decision, hook, answer_counts)
    if back is None:
        return None
    by_rule = _rule(decision) is not None
    for prior in shown_before:
        recent = prior.card == decision.card.id and now - prior.shown_at < back
        if recent and _tells_nothing_new(decision, prior) and (by_rule or _was_answered(decision, prior)):
            return prior
    return None


def _rule(decision: Decision) -> Repeat | None:
    """The card's own rule, where what it says now merely informs: a warning is not kept back for being known."""
    file = decision.card.file
    return file.repeat if decision.indicator == "info" else None


def _evidence(findings: Evaluator, names: Iterable[str], first: str = "") -> str:
    evidence = (item for name in names if findings[name].truth is IS_MET for item in findings[name].evidence)
    return ", ".join(sorted({name_of(item) for item in evidence} | ({first} if first else set())))


def _is_signed_after_it_could_be_answered(decision: Decision, hook: str) -> bool:
    named = decision.order is not None and decision.order.reference  # an order without an id can't be recognised
    return hook == "order-sign" and bool(named) and "order-select" in decision.card.file.hooks


def _tells_nothing_new(decision: Decision, prior: PriorCard) -> bool:
    """Not louder than before, and about nothing that it was not about before."""
    return _LOUDNESS[decision.indicator] <= _LOUDNESS[prior.indicator] and _names(decision.about) <= _names(prior.about)


def _was_answered(decision: Decision, prior: PriorCard) -> bool:
    """It was shown about this order when that was picked, and overridden by who signs; another row as loud is another reason."""
    file = decision.card.file
    quieter = _LOUDNESS[decision.indicator] < _LOUDNESS[prior.indicator]
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
