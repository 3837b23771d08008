"""Lay out what happened around a case for the same patient: seven days before and after."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from cds_service.alert_log import instant_of
from cds_service.alert_log.instants import micros
from cds_service.alert_log.key_pairs import same_ids
from cds_service.database import Database
from cds_service.review.case import Case, Row, evaluated_cards

DAYS = 7
MOST_CALLS = 200  # a patient in intensive care can have more; the table says so
_WIDTH, _LEFT, _LANE, _TOP = 720, 190, 26, 26
_DAY = 24 * 3600 * 1_000_000  # µs


class Shown(msgspec.Struct, frozen=True):
    """A card that fired in a call."""

    card: str
    state: str  # shown, repeated, gave_way, capped; "shadow" for one that only the log got
    response: str  # accepted, overridden, ""


class Event(msgspec.Struct, frozen=True):
    """One call of the patient."""

    call: str  # hex id
    at: int  # µs since 1970
    hook: str
    outcome: str
    cards: Sequence[Shown]
    this: bool  # the call of the case
    opens: str  # of a call without a card: one that was evaluated and did not fire, the case's own if it was; "" for none


class Dot(msgspec.Struct, frozen=True):
    """A mark of the drawing."""

    x: float
    y: float
    kind: str  # a state of `Shown`, or "silent"
    title: str
    this: bool


class Lane(msgspec.Struct, frozen=True):
    """A card's line in the drawing."""

    y: float
    name: str


class Drawing(msgspec.Struct, frozen=True):
    """Where the marks of the timeline lie, in units of its view box."""

    width: float
    height: float
    left: float
    now: float  # x of the case
    days: Sequence[tuple[float, str]]
    lanes: Sequence[Lane]
    dots: Sequence[Dot]


_CALLS = """SELECT id, received_at, tenant, repeat_of, hook, outcome FROM log.call c WHERE patient IN :patients
    AND received_at >= :start AND received_at < :end AND repeat_of IS NULL ORDER BY received_at, id LIMIT :most"""
_CARDS = """SELECT c.call_id, c.card, c.state, c.mode, c.position, (
      SELECT f.outcome FROM log.feedback f WHERE f.card_uuid = c.uuid AND f.tenant = c.tenant AND f.client = c.client
      ORDER BY coalesce(f.outcome_at, f.received_at) DESC, f.received_at DESC, f.id DESC LIMIT 1) AS response
    FROM log.card c WHERE c.received_at = :at AND c.call_id = :call ORDER BY c.position"""


def events_around(database: Database, case: Case) -> list[Event]:
    """Return the calls of the patient in the seven days before and after; none for a call that named no patient."""
    call, name = case.call, database.names.text
    if call["patient"] is None:
        return []
    at = call["received_at"]
    span = {"start": at - DAYS * _DAY, "end": at + DAYS * _DAY + 1}
    found = database.rows(_CALLS, patients=same_ids(database, bytes(call["patient"])), most=MOST_CALLS, **span)
    events = []
    for row in found:
        cards = [_shown(database, one) for one in database.rows(_CARDS, at=row["received_at"], call=row["id"])]
        this = bytes(row["id"]) == case.id.call_id
        opens = "" if cards or this else _opens(database, row, case.id.card)
        events.append(
            Event(bytes(row["id"]).hex(), row["received_at"], name(row["hook"]), name(row["outcome"]), cards, this, opens)
        )
    return events


def _opens(database: Database, call: Row, card: str) -> str:
    """Return the card through which a call without a card can be looked at: `card` itself where it was evaluated."""
    evaluated = evaluated_cards(database, call)
    return card if card in evaluated else next(iter(evaluated), "")


def _shown(database: Database, row: Row) -> Shown:
    name = database.names.text
    state = "shadow" if name(row["mode"]) == "shadow" else name(row["state"])
    return Shown(name(row["card"]), state, name(row["response"] or 0))


def drawing(events: Sequence[Event], at: int, zone: ZoneInfo) -> Drawing:
    """Place the events: a lane for each card that fired, most often first, and one for calls in which none did."""
    fired = [one.card for event in events for one in event.cards]
    names = sorted(set(fired), key=lambda card: (-fired.count(card), card))
    silent = "no card" if any(not event.cards for event in events) else ""
    lanes = [Lane(_TOP + _LANE * (place + 0.5), name) for place, name in enumerate([*names, *([silent] if silent else [])])]
    y = {lane.name: lane.y for lane in lanes}
    dots: list[Dot] = []
    for event in events:
        where, when = _x(event.at, at), f"{local(event.at, zone):%a %d %b %H:%M} {event.hook}"
        if not event.cards:
            dots.append(Dot(where, y[silent], "silent", f"{when}: {event.outcome.replace('_', ' ')}", event.this))
        for one in event.cards:
            said = ", ".join(part.replace("_", " ") for part in (one.state, one.response) if part)
            dots.append(Dot(where, y[one.card], one.state, f"{when}: {one.card}, {said}", event.this))
    return Drawing(_WIDTH, _TOP + _LANE * max(len(lanes), 1) + 6, _LEFT, _x(at, at), _ticks(at, zone), lanes, dots)


def _ticks(at: int, zone: ZoneInfo) -> list[tuple[float, str]]:
    """Return the beginnings of every second day, with their dates."""
    first = local(at - DAYS * _DAY, zone).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    days = [first + timedelta(days=day) for day in range(0, 2 * DAYS, 2)]
    return [(_x(micros(day), at), f"{day.day} {day:%b}") for day in days]


def _x(at: int, middle: int) -> float:
    share = (at - middle + DAYS * _DAY) / (2 * DAYS * _DAY)
    return round(_LEFT + 10 + share * (_WIDTH - _LEFT - 20), 1)


def local(at: int, zone: ZoneInfo) -> datetime:
    """Return a time of the log in the site's time zone."""
    return instant_of(at).astimezone(zone)
