"""Asks the alert log which cards were shown about this patient before, where that could hold a card of this answer back.

What this very call showed when it was sent a first time holds nothing back: an EHR that sends a call again, because it did not
hear the answer, gets the same cards. They are recognised by their uuids, which are made from the hook instance.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from cds_service.alert_log import RETRY, AlertLog
from cds_service.criteria.facts import Facts, PriorCard
from cds_service.decision import Decision, Outcome
from cds_service.present import card_uuid
from cds_service.protocol import HookRequest
from cds_service.pseudonyms import Pseudonyms
from cds_service.repetition import look_back

_WOULD_SPEAK = (Outcome.FIRED, Outcome.GAVE_WAY, Outcome.CAPPED)  # the latter two where a card before them is held back


def repeatable(decisions: Iterable[Decision], hook: str, answer_counts: timedelta) -> dict[str, timedelta]:
    """How far back the log has to be asked, by card id; empty for most calls, and then they pay nothing.

    Cards in shadow are left out: what they would have shown was never shown, so nothing is a repeat of it.
    """
    wanted: dict[str, timedelta] = {}
    shown = False
    for decision in decisions:
        if decision.outcome in _WOULD_SPEAK and decision.card.live:
            back = look_back(decision, hook, answer_counts)
            if back is not None:
                wanted[decision.card.id] = back
                shown = shown or decision.outcome is Outcome.FIRED
    return wanted if shown else {}


async def prior_cards(
    wanted: dict[str, timedelta],
    decisions: Iterable[Decision],
    facts: Facts,
    call: HookRequest,
    hashed: Pseudonyms,
    alert_log: AlertLog,
) -> tuple[PriorCard, ...]:
    """What the log says about the cards in `wanted`; nothing where it can't say so in its few milliseconds.

    `decisions` are those of this call.
    """
    found = await alert_log.prior_cards(
        hashed("patient", call.context.patientId or ""),
        call.caller.client,
        {card: facts.now - back for card, back in wanted.items()},
    )
    user = hashed("user", call.context.userId or "")
    own = {
        card_uuid(call.hookInstance, one.card.id, one.order.key if one.order is not None else "")
        for one in decisions
        if one.card.id in wanted
    }
    orders = {hashed("order", order.reference): order.reference for order in facts.orders if order.reference}
    return tuple(
        PriorCard(
            card=one.card,
            shown_at=one.shown_at,
            about=one.about,
            indicator=one.indicator,
            version=one.version,
            row=one.row,
            hook=one.hook,
            order=orders.get(one.order_key, ""),
            answered=one.answered,
            same_user=bool(user) and one.user_key == user,
            uuid=one.uuid,
        )
        for one in found
        if not (one.uuid in own and one.hook == call.hook and facts.now - one.shown_at < RETRY)
    )
