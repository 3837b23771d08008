"""Make the figures of a backtest from its counts: shares, their difference with an interval, p, and what people judged of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cds_service.database import Database
from cds_service.replay.backtest import Backtest, Part
from cds_service.replay.compare import CardCounts, Outline
from cds_service.review.statistics import Interval, mcnemar_exact, newcombe_paired
from cds_service.review.verdicts import Reading, readings, settled


class CardFigures(msgspec.Struct, frozen=True):
    """One card. `difference`: of the fire rate, candidate minus record, paired (Newcombe 1998, method 10).

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
        (counts.only_new - counts.only_old) / sum(table) if any(table) else 0.0,
        newcombe_paired(*table) if any(table) else Interval(-1.0, 1.0),
        mcnemar_exact(counts.only_old, counts.only_new),
        100 * counts.about_orders_old / orders if orders else None,
        100 * counts.about_orders_new / orders if orders else None,
    )


Judged = Mapping[tuple[bytes, str, int], list[Reading]]  # by id of the call, card, which evaluation of it


def judged_between(database: Database, since: int, until: int) -> Judged:
    """Return the readings of all judged cases of calls from `since` to before `until` (µs since 1970)."""
    by_case: dict[tuple[bytes, str, int], list[dict[str, Any]]] = {}
    sql = "SELECT * FROM review.verdict WHERE received_at >= :since AND received_at < :until ORDER BY seq"
    for row in database.rows(sql, since=since, until=until):
        by_case.setdefault((bytes(row["call_id"]), row["card"], row["nth"]), []).append(row)
    return {case: readings(rows) for case, rows in by_case.items()}


def readings_of(case: Outline, judged: Judged) -> list[Reading]:
    """Return the readings of a discordant case; none of one that the record does not have, as nobody can have judged it."""
    return judged.get((bytes.fromhex(case.call_id), case.card, case.nth), [])


def verdict_of(read: Sequence[Reading]) -> str:
    """Return the verdict that stands; "disputed" where readers differ, "" where nobody has judged it."""
    stands = settled(read)
    return "" if not read else stands.opinion.verdict if stands is not None else "disputed"


def judged(database: Database, backtest: Backtest) -> Counter[tuple[str, str, str]]:
    """Count the discordant cases that people judged, by (card, change, verdict)."""
    known = judged_between(database, backtest.spec.selection.since, backtest.spec.selection.until)
    found: Counter[tuple[str, str, str]] = Counter()
    if known:
        for one in backtest.outlines():
            if verdict := verdict_of(readings_of(one, known)):
                found[one.card, one.change, verdict] += 1
    return found
