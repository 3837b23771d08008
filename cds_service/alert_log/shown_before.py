"""Find the cards shown before that can make a card of this call a repeat.

A call that is sent again, because the EHR did not get the response, gets the same cards: those that its first sending showed make
nothing a repeat. They are recognised by their uuids, which are made from the hook instance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta

from cds_service.alert_log.log import AlertLog
from cds_service.alert_log.prior import Incomplete
from cds_service.alert_log.prior_everywhere import merged
from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.alert_log.records import RETRY
from cds_service.criteria.facts import Facts, Order, PriorCard
from cds_service.decide.decision import NOT_CHECKED, Decision
from cds_service.decide.repeat_rule import look_back
from cds_service.present.card_template import card_uuid
from cds_service.wire.hook_request import HookRequest


class ShownBeforeInLog:
    """Find the cards that were shown before for the patient of one call."""

    def __init__(self, call: HookRequest, alert_log: AlertLog, hashed: Pseudonyms, answer_counts: timedelta) -> None:
        """`answer_counts`: how long an answer given at order-select counts at order-sign."""
        self._call = call
        self._alert_log = alert_log
        self._hashed = hashed
        self._answer_counts = answer_counts
        self.unknown = False  # the file, or the database of several machines, was asked and did not answer in time

    async def __call__(self, decisions: Sequence[Decision], facts: Facts) -> tuple[PriorCard, ...] | None:
        """Return the cards that may make one of `decisions` a repeat.

        Returns an empty tuple where the log does not respond in time, so that the cards are shown; None where no decision can be
        a repeat, as in most calls, so that the log is not read.
        """
        wanted = _look_back(decisions, facts.hook, self._answer_counts)
        if not wanted:
            return None
        call, hashed = self._call, self._hashed
        session = hashed.session(call.hookInstance)
        own = {
            card_uuid(session, one.card.id, one.order.key if one.order is not None else "")
            for one in decisions
            if one.card.id in wanted
        }
        if NOT_CHECKED in wanted:
            own.add(card_uuid(session, NOT_CHECKED, ""))
        # While the log has records of the key before, the patient has two hashes in it.
        names = [hashed] if hashed.old is None else [hashed, hashed.old]
        since = {card: facts.now - back for card, back in wanted.items()}
        ask = self._alert_log.prior_cards
        answers = await asyncio.gather(
            # `apart`: they are left out below, and must not stand for earlier ones like them
            *(ask(one("patient", call.context.patientId or ""), call.caller.client, since, apart=own) for one in names)
        )
        found = answers[0] if len(answers) == 1 else merged(since, *answers)
        self.unknown = any(isinstance(one, Incomplete) for one in answers)
        users = {one("user", call.context.userId or "") for one in names} - {""}
        sent = [one for one in facts.orders if one.reference]
        orders = {key: one.reference for one in sent for name in names for key in (name.order(one), _old_key(one, name))}
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
                same_user=one.user_key in users,
                uuid=one.uuid,
            )
            for one in found
            if not (one.uuid in own and one.hook == call.hook and facts.now - one.shown_at < RETRY)
        )


def _old_key(order: Order, hashed: Pseudonyms) -> str:
    """Return the order's key of version 0.1.0, which rows in the file may still have."""
    return hashed("order", order.reference)


def _look_back(decisions: Iterable[Decision], hook: str, answer_counts: timedelta) -> dict[str, timedelta]:
    """Return by card id how far back the log has to be searched.

    Cards in shadow are left out: they were never shown, so they have no repeats.
    """
    wanted: dict[str, timedelta] = {}
    for decision in decisions:
        if decision.shows:
            back = look_back(decision, hook, answer_counts)
            if back is not None:
                wanted[decision.card.id] = max(back, wanted.get(decision.card.id, back))
        elif decision.in_notice and decision.lacks_orders and decision.card.live:
            wanted[NOT_CHECKED] = answer_counts
    return wanted
