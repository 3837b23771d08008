"""Make the first page: six figures, twelve weeks of each card, what changed."""

from __future__ import annotations

from typing import Any

from cds_service.database import Database
from cds_service.review.charts import day_text, small_bars
from cds_service.review.empty import why_empty
from cds_service.review.figures import (
    NO_CARDS,
    Counts,
    acceptance,
    could_not_check,
    coverage,
    per_100_orders,
)
from cds_service.review.filter_bar import filter_bar, period
from cds_service.review.links import Links
from cds_service.review.page import Page, PageRequest, PageRoute
from cds_service.review.plans import waiting
from cds_service.review.signal_rows import row, seen_by
from cds_service.review.whats_new import whats_new
from cds_service.rollups.days import days_between, plus, week_of
from cds_service.rollups.filter import Filter
from cds_service.rollups.queries import card_counts, latency
from cds_service.rollups.rollup import rollup_state

WEEKS = 12
_MOST_SIGNALS = 3


def draw(asked: PageRequest) -> Page:
    """Return the overview."""
    database, chosen = asked.database, asked.filter()
    found = [row(one, asked.today) for one in seen_by(asked) if one.is_open]
    until = chosen.until or asked.today
    weeks = [plus(week_of(until), -7 * back) for back in range(WEEKS - 1, -1, -1)]
    by_week = _by_week(database, chosen.between(weeks[0], until))
    counts = Counts.of(database, chosen)
    cards = [
        {
            **{name: getattr(one, name) for name in one.__struct_fields__},
            "weeks": [by_week.get((one.card, week), 0) for week in weeks],
        }
        for one in counts.figures(asked.knowledge)
    ]
    data = {
        "period": period(chosen),
        "tiles": _tiles(database, chosen, counts),
        "weeks": [{"since": week, "until": min(plus(week, 6), until)} for week in weeks],
        "cards": cards,
        "signals": {"open": len(found), "first": found[:_MOST_SIGNALS]},
        "changes": whats_new(database, chosen, asked.knowledge),
        "empty": why_empty(database, chosen),
    }
    titles = [f"week from {day_text(week)}" for week in weeks]
    bars = {
        card["card"]: small_bars(card["weeks"], [f"{title}: {n}" for title, n in zip(titles, card["weeks"], strict=True)])
        for card in cards
    }
    only_html = {
        "never_called": rollup_state(database).last_day is None,
        "bars": bars,
        "links": Links(chosen),
        "filters": filter_bar(database, chosen, asked.knowledge, asked.settings.time_zone),
    }
    return Page("Overview", "overview.html", data, only_html)


def _by_week(database: Database, chosen: Filter) -> dict[tuple[str, int], int]:
    rows = card_counts(database, chosen, ("card", "week"))
    return {(str(row.of["card"]), int(row.of["week"])): row.shown for row in rows}


def _tiles(database: Database, chosen: Filter, counts: Counts) -> dict[str, Any]:
    cards = counts.all_cards()
    return {
        "shown": cards.shown,
        "shown_before": shown_before(database, chosen),
        "per_100_orders": per_100_orders(cards, counts.orders),
        "acceptance": acceptance(cards),
        "coverage": coverage(cards),
        "could_not_check": could_not_check(counts.all_evaluations()),
        "latency": _latency(database, chosen),
        "waiting": waiting(database),
    }


def shown_before(database: Database, chosen: Filter) -> int | None:
    """Return the cards shown in as many days before; None where the log does not hold all of them."""
    earlier, first = _before(chosen), rollup_state(database).first_day
    if earlier is None or first is None or (earlier.since or 0) < first:
        return None
    return next(iter(card_counts(database, earlier, ())), NO_CARDS).shown


def _before(chosen: Filter) -> Filter | None:
    """Return the filter for as many days before; None where it has no first or last day."""
    if chosen.since is None or chosen.until is None:
        return None
    since, until = chosen.since, chosen.until
    length = len(days_between(since, until))
    return chosen.between(plus(since, -length), plus(since, -1))


def _latency(database: Database, chosen: Filter) -> dict[str, int | None]:
    found = next(iter(latency(database, chosen)), None)
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {"calls": found.calls if found else 0} | {
        name: found.percentile(share) if found else None for name, share in shares.items()
    }


ROUTE = PageRoute("", draw, "viewer", nav="Overview", scoped=True)
