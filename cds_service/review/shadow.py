"""Count what each content of a card did, live or in shadow, and where its cards would have stood in the response."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from cds_service.database import Database
from cds_service.decide.decision import Outcome
from cds_service.knowledge.knowledge import Knowledge
from cds_service.review.case import FIRED
from cds_service.review.rate import Rate, share
from cds_service.review.statistics import newcombe
from cds_service.rollups.days import Bounds
from cds_service.rollups.filter import Filter
from cds_service.rollups.log_rows import LogRow

_INDICATORS = ("critical", "warning", "info")  # as a response is ordered

_EVALUATED = """SELECT o.content_hash, o.version, o.outcome, min(k.first) AS first, max(k.last) AS last, sum(k.n * o.n) AS n
    FROM (SELECT outcome_set, min(received_at) AS first, max(received_at) AS last, count(*) AS n FROM log.call
        WHERE received_at >= :start AND received_at < :end AND repeat_of IS NULL AND outcome_set IS NOT NULL{where}
        GROUP BY outcome_set) k
    JOIN log.outcome_of_set o ON o.set_id = k.outcome_set
    WHERE o.card = :card AND o.applies = 1 GROUP BY o.content_hash, o.version, o.outcome"""
_DRAWN = """SELECT content_hash, mode, state, count(*) AS n FROM log.card
    WHERE received_at >= :start AND received_at < :end AND card = :card{where} GROUP BY content_hash, mode, state"""


class Content(msgspec.Struct, frozen=True):
    """One content of a card. `first`, `last`: µs since 1970, of the days that were asked for.

    `live`, `shadow`: cards that were shown, or would have been; `held_back` repeated, capped or gave way. `difference`: of the
    fire rate to that of the content shown most, with its interval (Newcombe, two samples); None for that content itself.
    """

    version: str
    content_hash: str
    first: int
    last: int
    fire_rate: Rate
    live: int
    shadow: int
    held_back: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def mode(self) -> str:
        """Return how it ran, as far as its cards tell."""
        return " and ".join(name for name in ("live", "shadow") if getattr(self, name)) or "never shown"


def contents(database: Database, card: str, bounds: Bounds, chosen: Filter) -> list[Content]:
    """Return each content of a card that was evaluated, the one that was shown most first.

    Of `chosen`, tenants and clients count.
    """
    names = database.names
    where, values = "", {}
    for field in ("tenant", "client"):
        if field in chosen.names:
            where += f" AND {field} IN :{field}s"
            values[f"{field}s"] = names.ids(*chosen[field])
    asked = {"card": names.id(card) or -2, **bounds._asdict(), **values}
    drawn: dict[int, Counter[str]] = {}
    for row in database.rows(_DRAWN.format(where=where), **asked):
        counts = drawn.setdefault(row["content_hash"], Counter())
        counts[names.text(row["mode"]) if names.text(row["state"]) == "shown" else "held_back"] += row["n"]
    found: dict[int, list[dict[str, Any]]] = {}
    for row in database.rows(_EVALUATED.format(where=where), **asked):
        found.setdefault(row["content_hash"], []).append(row)
    made = [_content(database, rows, drawn.get(key, Counter())) for key, rows in found.items()]
    made.sort(key=lambda one: (-one.live, -one.shadow, one.content_hash))
    return [made[0], *(_compared(one, made[0]) for one in made[1:])] if made else []


def _content(database: Database, rows: list[dict[str, Any]], drawn: Mapping[str, int]) -> Content:
    text = database.names.text
    outcomes: Counter[str] = Counter()
    for row in rows:
        outcomes[text(row["outcome"])] += row["n"]
    fired = sum(outcomes[one] for one in FIRED)
    return Content(
        text(rows[0]["version"]),
        text(rows[0]["content_hash"]),
        min(row["first"] for row in rows),
        max(row["last"] for row in rows),
        share("fire_rate", fired, fired + outcomes[Outcome.NOT_FIRED]),
        *(drawn.get(name, 0) for name in ("live", "shadow", "held_back")),
    )


def _compared(one: Content, most: Content) -> Content:
    k1, n1, k2, n2 = one.fire_rate.numerator, one.fire_rate.denominator, most.fire_rate.numerator, most.fire_rate.denominator
    if not n1 or not n2:
        return one
    interval = newcombe(k1, n1, k2, n2)
    return msgspec.structs.replace(one, difference=k1 / n1 - k2 / n2, low=interval.low, high=interval.high)


def positions(database: Database, rows: Iterable[LogRow], knowledge: Knowledge) -> dict[tuple[bytes, int], int]:
    """Return where each card would have stood among those that the response showed, from 1, by (call, position in its body).

    By indicator, then by the rank of today's cards; a card that is no longer there stands last.
    """
    ranks = {card.id: card.file.rank for card in knowledge.cards}
    found = {}
    for one in rows:
        shown = database.rows(
            """SELECT card, indicator FROM log.card
                WHERE received_at = :at AND call_id = :call AND mode = :live AND state = :shown""",
            at=one.received_at,
            call=one.call_id,
            live=database.names.id("live") or -2,
            shown=database.names.id("shown") or -2,
        )
        own = _place(one.indicator, one.card, ranks)
        text = database.names.text
        before = sum(_place(text(row["indicator"]), text(row["card"]), ranks) < own for row in shown)
        found[bytes(one.call_id), one.position] = before + 1
    return found


def _place(indicator: str, card: str, ranks: Mapping[str, int]) -> tuple[int, int]:
    return (_INDICATORS.index(indicator) if indicator in _INDICATORS else len(_INDICATORS), ranks.get(card, 10**6))
