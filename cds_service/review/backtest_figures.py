"""Make the figures of a backtest from its counts: shares, their difference with an interval, p, and what people judged of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from cds_service.database import Database
from cds_service.replay.backtest import Part
from cds_service.replay.compare import CardCounts, Discordant
from cds_service.review.statistics import Interval, mcnemar_exact, newcombe_paired
from cds_service.review.verdicts import readings, settled


class CardFigures(msgspec.Struct, frozen=True):
    """One card. `difference`: share of evaluations that fire, candidate minus record, paired (Newcombe 1998, method 10).

    `p`: McNemar's exact test, two-sided; calls of one patient are not independent. Per 100 orders: shown cards about orders;
    None without orders.
    """

    card: str
    counts: CardCounts
    difference: float
    interval: Interval
    p: float
    per_100_orders_old: float | None
    per_100_orders_new: float | None


def figures(total: Part) -> list[CardFigures]:
    """Return the figures of all cards that were evaluated, those that change most first."""
    made = [_of_card(card, counts, total.orders) for card, counts in total.cards.items()]
    return sorted(made, key=lambda one: (-(one.counts.only_old + one.counts.only_new), one.card))


def _of_card(card: str, counts: CardCounts, orders: int) -> CardFigures:
    table = counts.both, counts.only_new, counts.only_old, counts.neither
    return CardFigures(
        card,
        counts,
        (counts.only_new - counts.only_old) / sum(table),
        newcombe_paired(*table),
        mcnemar_exact(counts.only_old, counts.only_new),
        100 * counts.about_orders_old / orders if orders else None,
        100 * counts.about_orders_new / orders if orders else None,
    )


def judged(database: Database, cases: Iterable[Discordant]) -> Counter[tuple[str, str, str]]:
    """Count discordant cases that people judged, by (card, change, verdict); "disputed" where readers differ."""
    found: Counter[tuple[str, str, str]] = Counter()
    for one in cases:
        if not one.nth:  # the record has no such evaluation, so nobody can have judged it
            continue
        rows = database.rows(
            "SELECT * FROM review.verdict WHERE call_id = :call AND card = :card AND nth = :nth ORDER BY seq",
            call=bytes.fromhex(one.call_id),
            card=one.card,
            nth=one.nth,
        )
        if read := readings(rows):
            stands = settled(read)
            found[one.card, one.change, stands.opinion.verdict if stands is not None else "disputed"] += 1
    return found
