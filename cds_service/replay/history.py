"""Remember which cards the replayed calls showed, so that a candidate's repeats follow from its own cards.

What a clinician answered is known only of cards that were really shown: a replayed card has the answer of the real one in the
same call about the same order, else none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from cds_service.alert_log.instants import instant_of, key_text, uuid_text
from cds_service.alert_log.records import RETRY
from cds_service.criteria.facts import Facts, PriorCard
from cds_service.database import Database
from cds_service.present.card_template import Shown
from cds_service.replay.records import Record, of_patients

_SHOWN = """SELECT card.call_id, card.card, card.key, card.order_key, card.uuid,
        feedback.received_at AS answered_at, feedback.outcome
    FROM log.card LEFT JOIN log.feedback ON feedback.card_uuid = card.uuid
        AND (feedback.client = 0 OR (feedback.client = card.client AND feedback.tenant = card.tenant))
    WHERE card.received_at >= :since AND card.received_at < :until AND card.mode = :live AND card.state = :shown
        AND card.card <> :notice AND {patients}
        AND NOT EXISTS (SELECT 1 FROM log.withdrawal WHERE withdrawal.call_id = card.call_id)"""

Place = tuple[bytes, str, str]  # id of the call, card, key of the order


class RealCard(msgspec.Struct):
    """A card that was shown, and the feedback to it: (when, accepted)."""

    uuid: str
    answers: list[tuple[datetime, bool]] = []


def real_cards(database: Database, low: bytes, high: bytes | None, since: int, until: int) -> dict[Place, RealCard]:
    """Return the cards that were shown to patients whose hash is in [low, high); see `Records.of_patients`."""
    names = database.names
    live, shown, accepted, overridden, notice = (
        names.id(one) for one in ("live", "shown", "accepted", "overridden", "not-checked")
    )
    found: dict[Place, RealCard] = {}
    if live is None or shown is None:
        return found
    patients, bounds = of_patients("card", low, high)
    rows = database.rows(
        _SHOWN.format(patients=patients),
        since=since,
        until=until,
        live=live,
        shown=shown,
        notice=-1 if notice is None else notice,
        **bounds,
    )
    answers = {accepted: True, overridden: False}
    for row in rows:
        place = (bytes(row["call_id"]), names.text(row["card"]), _key(row))
        card = found.setdefault(place, RealCard(uuid_text(bytes(row["uuid"]))))
        if row["outcome"] is not None and row["outcome"] in answers:
            card.answers = [*card.answers, (instant_of(row["answered_at"]), answers[row["outcome"]])]
    return found


def withdrawn_calls(database: Database, since: int, until: int) -> frozenset[bytes]:
    """Return the calls whose response was held back."""
    rows = database.rows(
        "SELECT call_id FROM log.withdrawal WHERE received_at >= :since AND received_at < :until", since=since, until=until
    )
    return frozenset(bytes(row["call_id"]) for row in rows)


def _key(row: dict[str, Any]) -> str:
    return key_text(row["key"], None if row["order_key"] is None else bytes(row["order_key"]))


class _ShownCard(msgspec.Struct, frozen=True):
    prior: PriorCard  # without an answer
    client: str
    user: bytes | None
    instance: str
    order_key: str
    answers: Sequence[tuple[datetime, bool]]


class History:
    """The cards that the candidate would have shown so far, of the patients of one piece of work."""

    def __init__(self, real: dict[Place, RealCard]) -> None:
        self._real = real
        self._shown: dict[bytes, list[_ShownCard]] = {}  # by patient, the newest last

    def before(self, record: Record, facts: Facts) -> tuple[PriorCard, ...]:
        """Return the cards shown before a call, the newest first, as `ShownBeforeInLog` finds the real ones."""
        if record.patient is None or record.body is None:
            return ()
        sent = {order.key for order in facts.orders if order.reference}
        found = []
        for one in reversed(self._shown.get(record.patient, [])):
            prior = one.prior
            own = one.instance == record.body.hook_instance and prior.hook == facts.hook and facts.now - prior.shown_at < RETRY
            if one.client == record.client and not own:
                found.append(
                    msgspec.structs.replace(
                        prior,
                        order=one.order_key if one.order_key in sent else "",
                        answered=_answered(one, facts.now),
                        same_user=bool(one.user) and one.user == record.user,
                    )
                )
        return tuple(found)

    def add(self, record: Record, facts: Facts, shown: Iterable[Shown]) -> None:
        """Remember the cards of a call that is not a repeat and was not held back."""
        if record.patient is None or record.body is None:
            return
        for one in shown:
            decision = one.decision
            if decision is None:  # the notice, which no backtest compares
                continue
            key = decision.order.key if decision.order is not None else ""
            real = self._real.get((record.id, decision.card.id, key))
            prior = PriorCard(
                card=decision.card.id,
                shown_at=facts.now,
                about=decision.about,
                indicator=decision.indicator,
                version=decision.card.file.version,
                row=decision.row,
                hook=facts.hook,
                uuid=real.uuid if real is not None else one.uuid,
            )
            shown_card = _ShownCard(
                prior, record.client, record.user, record.body.hook_instance, key, real.answers if real is not None else ()
            )
            self._shown.setdefault(record.patient, []).append(shown_card)


def _answered(one: _ShownCard, now: datetime) -> Literal["", "accepted", "overridden"]:
    """Return the answer as it was known at `now`; accepted where there are both."""
    known = [(at, accepted) for at, accepted in one.answers if at <= now]
    if any(accepted for _, accepted in known):
        return "accepted"
    return "overridden" if any(at >= one.prior.shown_at for at, _ in known) else ""
