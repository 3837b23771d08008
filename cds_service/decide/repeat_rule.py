"""Suppress a card that was shown before and has nothing new. Pure: the earlier cards are handed in.

Two rules are for cards. A card's own `repeat` rule suppresses an info card for so many days, whichever user saw it. And a card
about an order that a clinician overrode at order-select is not shown to the same clinician again at order-sign. Neither
suppresses a critical card, one with a higher indicator than before, or one about something new: for a card about an order all
its evidence counts, so a drug or a result that came since shows it again. Without earlier cards nothing is suppressed.

One rule is for the notice. An EHR that never sends draft orders would get it at every call about an order, so it tells the same
user of the same patient only once in the time that an answer counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.facts import ORDERS_NOT_SENT, Order, PriorCard
from cds_service.criteria.findings import IS_MET
from cds_service.criteria.wording import name_of
from cds_service.decide.decision import NOT_CHECKED

if TYPE_CHECKING:
    from cds_service.decide.decision import Decision
    from cds_service.knowledge.card_file import Repeat
    from cds_service.knowledge.knowledge import Card

_SEVERITY = {"": 0, "info": 1, "warning": 2, "critical": 3}


def about(card: Card, row: int, findings: Evaluator, order: Order | None) -> str:
    """Return the names of what a card that fires with this row is about, joined with ", ".

    With a `repeat` rule: the evidence of the criteria in its `about`. For a card about an order: the drug and all evidence of
    the card. Else "".
    """
    repeat = card.file.repeat
    if repeat is not None and (order is None or card.file.table[row].indicator == "info"):
        return _evidence(findings, repeat.about)
    return _evidence(findings, card.used_with[row], name_of(order)) if order is not None else ""


def look_back(decision: Decision, hook: str, answer_counts: timedelta) -> timedelta | None:
    """Return how far back an earlier card can suppress this fired one; None where none can.

    `answer_counts`: how long an answer given at order-select counts at order-sign.
    """
    if decision.indicator == "critical":
        return None
    if (rule := _rule(decision)) is not None:
        return timedelta(days=rule.after_days)
    return answer_counts if _may_have_been_answered(decision, hook) else None


def repeated(
    decision: Decision, shown_before: Iterable[PriorCard], hook: str, now: datetime, answer_counts: timedelta
) -> PriorCard | None:
    """Return the earlier card that this fired one would repeat; None where there is none."""
    back = look_back(decision, hook, answer_counts)
    if back is None:
        return None
    by_rule = _rule(decision) is not None
    for prior in shown_before:
        recent = prior.card == decision.card.id and now - prior.shown_at < back
        if recent and _has_nothing_new(decision, prior) and (by_rule or _was_answered(decision, prior)):
            return prior
    return None


def repeated_notice(shown_before: Iterable[PriorCard], now: datetime, answer_counts: timedelta) -> PriorCard | None:
    """Return the earlier notice that told this user that the patient's draft orders were not sent; None without one."""
    for prior in shown_before:
        recent = prior.card == NOT_CHECKED and now - prior.shown_at < answer_counts
        if recent and prior.same_user and prior.about == ORDERS_NOT_SENT:
            return prior
    return None


def _rule(decision: Decision) -> Repeat | None:
    """Return the card's own rule, which applies to info cards only: a warning is shown again."""
    file = decision.card.file
    return file.repeat if decision.indicator == "info" else None


def _evidence(findings: Evaluator, names: Iterable[str], first: str = "") -> str:
    met = [finding.evidence for name in names if (finding := findings[name]).truth is IS_MET]
    found = {name_of(item) for item in {id(item): item for evidence in met for item in evidence}.values()}
    return ", ".join(sorted(found | {first} if first else found))


def _may_have_been_answered(decision: Decision, hook: str) -> bool:
    has_id = decision.order is not None and decision.order.reference  # an order without an id can't be recognised
    return hook == "order-sign" and bool(has_id) and "order-select" in decision.card.file.hooks


def _has_nothing_new(decision: Decision, prior: PriorCard) -> bool:
    """Tell whether the indicator is not higher than before and the card is about nothing new."""
    return _SEVERITY[decision.indicator] <= _SEVERITY[prior.indicator] and _names(decision.about) <= _names(prior.about)


def _was_answered(decision: Decision, prior: PriorCard) -> bool:
    """Tell whether the same user overrode this card for this order at order-select.

    Another row with the same indicator is another reason, and does not count.
    """
    file = decision.card.file
    lower = _SEVERITY[decision.indicator] < _SEVERITY[prior.indicator]
    return (
        prior.hook == "order-select"
        and decision.order is not None
        and prior.order == decision.order.reference
        and prior.version == file.version
        and (prior.row == decision.row or lower)
        and prior.same_user
        and prior.answered == "overridden"
    )


def _names(text: str) -> set[str]:
    return set(text.split(", ")) if text else set()
