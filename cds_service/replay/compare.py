"""Compare what a record decided with what a candidate decides, evaluation by evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import msgspec

from cds_service.alert_log.evaluation_rows import applies, evaluations_json
from cds_service.decide.decision import Decision, Outcome
from cds_service.replay.again import AS_KEPT, Again
from cds_service.replay.history import Place, RealCard
from cds_service.replay.records import Record

FIRED = frozenset({Outcome.FIRED, Outcome.REPEATED, Outcome.GAVE_WAY, Outcome.CAPPED})

# appears, vanishes: it fires only with the candidate, only as recorded. outcome: another outcome on the same side, such as a
# repeat. row: it fires with another row of its table.
Change: TypeAlias = Literal["appears", "vanishes", "outcome", "row"]
_Key = tuple[str, str, int]  # card, key of the order, which of several


class _Row(msgspec.Struct, frozen=True):
    """What is compared of a row of evaluations."""

    card: str
    outcome: str = ""
    order_key: str = ""
    row: int = -1
    applies: bool = True


FOUR = ("both", "only_old", "only_new", "neither")  # of CardCounts


class CardCounts(msgspec.Struct):
    """Evaluations of one card: both fire, only as recorded, only with the candidate, neither; and what was shown.

    `apart`: the card was about orders and the call had none of its kind, on both sides; in none of the four, as in no fire rate.
    """

    both: int = 0
    only_old: int = 0
    only_new: int = 0
    neither: int = 0
    apart: int = 0
    shown_old: int = 0
    shown_new: int = 0
    about_orders_old: int = 0  # shown cards about an order
    about_orders_new: int = 0
    outcomes_old: dict[str, int] = {}
    outcomes_new: dict[str, int] = {}

    def add(self, other: CardCounts) -> None:
        """Add the counts of other evaluations."""
        for name in (*FOUR, "apart", "shown_old", "shown_new", "about_orders_old", "about_orders_new"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.outcomes_old = dict(Counter(self.outcomes_old) + Counter(other.outcomes_old))
        self.outcomes_new = dict(Counter(self.outcomes_new) + Counter(other.outcomes_new))


class Outline(msgspec.Struct, frozen=True):
    """Which evaluation comes out differently, and how.

    `nth`: which evaluation of the card in the record, from 1, as cases are numbered; 0 where the record has none.
    """

    call_id: str  # hex digits
    received_at: int  # µs since 1970
    hook: str
    client: str
    card: str
    nth: int
    change: Change


class Discordant(Outline, frozen=True):
    """An evaluation that comes out differently, with both rows as a body holds them; None where that side has none."""

    old: dict[str, Any] | None
    new: dict[str, Any] | None
    shown_old: list[str]  # ids of the cards of the response
    shown_new: list[str]


_rows = msgspec.json.Decoder(list[_Row])
_whole = msgspec.json.Decoder(list[dict[str, Any]])


def compare(record: Record, again: Again, real: dict[Place, RealCard], counts: dict[str, CardCounts]) -> list[Discordant]:
    """Add one record to `counts` by card; return the evaluations that come out differently."""
    assert record.body is not None  # noqa: S101 - a record without facts is not decided
    evaluations = bytes(record.body.evaluations)
    old = _keyed((one.card, one.order_key, one) for one in _rows.decode(evaluations) if one.card != "*")
    new = _keyed((one.card.id, one.order.key if one.order is not None else "", one) for one in again.decisions)
    changes: dict[_Key, Change] = {}
    for key in old.keys() | new.keys():
        before, after = old.get(key), new.get(key)
        change = _count(counts.setdefault(key[0], CardCounts()), before, after)
        if change is not None:
            changes[key] = change
    shown_old = [card for call, card, _ in real if call == record.id] if changes else []
    _count_shown(counts, record, again, real, old)
    return _described(record, again, changes, sorted(shown_old)) if changes else []


def _keyed(items: Iterable[tuple[str, str, Any]]) -> dict[_Key, Any]:
    """Number the evaluations of one card about one order."""
    keyed: dict[_Key, Any] = {}
    for card, order, one in items:
        key = card, order, 0
        while key in keyed:  # rare: two equal orders
            key = card, order, key[2] + 1
        keyed[key] = one
    return keyed


def _count(counts: CardCounts, before: _Row | None, after: Decision | None) -> Change | None:
    """Count one evaluation. A side that has none did not fire: the card is not there, or has nothing to be about."""
    was = before.outcome if before is not None else Outcome.NOT_FIRED
    now = after.outcome if after is not None else Outcome.NOT_FIRED
    counts.outcomes_old[was] = counts.outcomes_old.get(was, 0) + 1
    counts.outcomes_new[str(now)] = counts.outcomes_new.get(str(now), 0) + 1
    if was in FIRED and now in FIRED:
        counts.both += 1
        if before is not None and after is not None and before.row != after.row:
            return "row"
    elif was in FIRED:
        counts.only_old += 1
        return "vanishes"
    elif now in FIRED:
        counts.only_new += 1
        return "appears"
    elif (before is not None and before.applies) or (after is not None and applies(after)):
        counts.neither += 1
    else:
        counts.apart += 1
    return "outcome" if was != now else None


def _count_shown(
    counts: dict[str, CardCounts], record: Record, again: Again, real: dict[Place, RealCard], old: dict[_Key, _Row]
) -> None:
    for card, order, which in old:
        if not which and (record.id, card, order) in real:
            counts[card].shown_old += 1
            counts[card].about_orders_old += bool(order)
    for one in again.shown:
        if one.decision is not None:
            count = counts[one.decision.card.id]
            count.shown_new += 1
            count.about_orders_new += one.decision.order is not None


def _described(record: Record, again: Again, changes: dict[_Key, Change], shown_old: list[str]) -> list[Discordant]:
    assert record.body is not None  # noqa: S101
    sides = [
        _keyed((one["card"], one.get("order_key", ""), one) for one in _whole.decode(text) if one["card"] != "*")
        for text in (bytes(record.body.evaluations), evaluations_json(again.decisions, AS_KEPT, again.facts))
    ]
    nth: dict[_Key, int] = {}
    seen: Counter[str] = Counter()
    for key in sides[0]:
        seen[key[0]] += 1
        nth[key] = seen[key[0]]
    shown_new = sorted(one.decision.card.id for one in again.shown if one.decision is not None)
    return [
        Discordant(
            call_id=record.id.hex(),
            received_at=record.received_at,
            hook=record.hook,
            client=record.client,
            card=key[0],
            nth=nth.get(key, 0),
            change=changes[key],
            old=sides[0].get(key),
            new=sides[1].get(key),
            shown_old=shown_old,
            shown_new=shown_new,
        )
        for key in sorted(changes)
    ]
