"""Make the table of all cards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import msgspec

from cds_service.review.empty import why_empty
from cds_service.review.figures import RATES, CardFigures, Counts, flat
from cds_service.review.filter_bar import filter_bar, period
from cds_service.review.links import Links
from cds_service.review.page import BASE, BadFormError, Page, PageRequest, PageRoute
from cds_service.rollups.filter import Filter

SORT = "-shown"


class Column(msgspec.Struct, frozen=True):
    """A column that the table can be sorted by."""

    name: str
    title: str


COLUMNS = (
    Column("title", "Card"),
    Column("shown", "Shown"),
    Column("fire_rate", "Fire rate"),
    Column("per_100_orders", "Per 100 orders"),
    Column("acceptance", "Accepted"),
    Column("coverage", "Coverage"),
    Column("override", "Override"),
    Column("reasoned", "With reason"),
    Column("repeat", "Repeated"),
    Column("could_not_check", "Could not check"),
    Column("held_back", "Held back"),
)


class _Table(msgspec.Struct, frozen=True):
    """What the heading of the table needs."""

    columns: tuple[Column, ...]
    sort: str
    link: Callable[[str], str]


def draw(asked: PageRequest) -> Page:
    """Return the table, sorted by the parameter `sort`: the name of a column, "-" before it for downwards."""
    database, chosen = asked.database, asked.filter(other=("sort",))
    sort = asked.query.get("sort") or SORT
    if sort.removeprefix("-") not in {column.name for column in COLUMNS}:
        raise BadFormError("The table has no such column to sort by")
    figures = Counts.of(database, chosen).figures(asked.knowledge)
    figures.sort(key=lambda one: _key(one, sort.removeprefix("-")), reverse=sort.startswith("-"))
    data = {
        "period": period(chosen),
        "sort": sort,
        "cards": figures,
        "empty": "" if figures else why_empty(database, chosen) or "No card was evaluated in these calls.",
    }
    kept = [("sort", sort)] if "sort" in asked.query else []
    only_html = {
        "table": _Table(COLUMNS, sort, lambda name: _sorted_by(chosen, name)),
        "links": Links(chosen),
        "filters": filter_bar(database, chosen, asked.knowledge, asked.settings.time_zone, kept=kept),
    }
    rows = [flat(one) for one in figures]
    return Page("Cards", "cards.html", data, only_html, rows=rows, columns=list(rows[0]) if rows else [])


def _key(figures: CardFigures, name: str) -> tuple[Any, ...]:
    """Return what a column sorts by; what has no value stands below everything."""
    value = getattr(figures, name)
    if name not in RATES:
        return (value, figures.card)
    known = None if value is None else value.high if value.value is None else value.value
    return (known is not None, known or 0.0, figures.card)


def _sorted_by(chosen: Filter, sort: str) -> str:
    return f"{BASE}/cards?{urlencode([*chosen.query(), ('sort', sort)])}"


ROUTE = PageRoute("/cards", draw, "viewer", nav="Cards", csv=True, scoped=True)
