"""Describe signals for the pages: who may see them, and each as a row with its sentence."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from cds_service.access.reader import Reader
from cds_service.review.links import Links
from cds_service.review.page import BASE, PageRequest
from cds_service.review.reviewer import reviewer_of
from cds_service.rollups.days import SiteDays, as_date
from cds_service.rollups.filter import Filter
from cds_service.signals.finding import KINDS
from cds_service.signals.inbox import STATES, Signal, signals
from cds_service.signals.words import Seen, says

COLUMNS = (
    *("id", "state", "kind", "says", "tenant", "client", "card", "subject", "first_day", "last_day", "days", "score"),
    *("assignee", "due", "cause", "discovery", "initiation", "effect"),
)


def seen_by(asked: PageRequest, only: int | None = None) -> list[Signal]:
    """Return the signals that this reader may see, in the order of the inbox."""
    days = SiteDays(asked.settings.time_zone)
    return signals(asked.database, days, asked.today, only)


def may_act(asked: PageRequest) -> dict[str, bool]:
    """Return for a template whether this reader may act on signals, and whether only a name is missing."""
    may, named = asked.reader.may("reviewer"), bool(reviewer_of(asked))
    return {"may_act": may and named, "no_name": may and not named}


def row(one: Signal, today: int) -> dict[str, Any]:
    """Return a signal as the pages, JSON and CSV have it."""
    last = one.last
    return {
        "id": one.id,
        "state": one.state,
        "state_says": "Escalated" if one.escalated else STATES[one.state],
        "kind": one.kind,
        "kind_says": KINDS[one.kind][0],
        "says": sentence(one),
        **one.place._asdict(),
        "subject": one.subject,
        "first_day": one.sightings[0].day if last else None,
        "last_day": last.day if last else None,
        "days": len(one.sightings),
        "score": round(last.score, 1) if last else None,
        "assignee": one.assignee,
        "due": as_date(one.due).isoformat() if one.due else "",
        "overdue": one.overdue(today),
        **{name: getattr(one.axes, name) for name in one.axes.__struct_fields__},
    }


def sentence(one: Signal) -> str:
    """Say what was seen last."""
    if one.last is None:
        return f"{KINDS[one.kind][0]}: records that came late do not show it any more"
    return says(one.kind, Seen(one.place, one.subject, one.last.detail))


def links_of(one: Signal, reader: Reader) -> dict[str, str]:
    """Return the addresses where this reader may look further, by what they show."""
    place = one.place
    first = one.sightings[0].day if one.sightings else None
    last = one.last.day if one.last is not None else None
    of_client = Filter.of(client=place.client) if place.client else Filter.of()
    links = Links(of_client.between(first, last))
    if not place.card:
        return {"Client": links.page("/clients"), "Data": links.page("/data")}
    card = quote(place.card, safe="")
    found = {
        "Card": Links(of_client).card(place.card),
        "Cases": links.log(card=place.card),
        "Draw cases": f"{BASE}/queue?{urlencode({'signal': one.id})}",
    }
    if not reader.scoped:  # backtests are of all clients
        found["What if"] = f"{BASE}/cards/{card}/what-if?{urlencode({'signal': one.id})}"
    return found
