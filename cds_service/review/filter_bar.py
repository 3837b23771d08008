"""Lay out the filters of a page as a form, with how many records each choice has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from cds_service.database import Database
from cds_service.knowledge.knowledge import Knowledge
from cds_service.review.charts import day_text
from cds_service.review.figures import title_of
from cds_service.rollups.counting import ignored
from cds_service.rollups.days import as_date
from cds_service.rollups.filter import Filter
from cds_service.rollups.queries import call_counts, facets

_PERIODS = ((1, "today"), (7, "7 days"), (14, "14 days"), (28, "28 days"), (84, "84 days"), (365, "a year"))
_LABELS = {
    "tenant": "Tenant",
    "client": "Client",
    "hook": "Hook",
    "card": "Card",
    "version": "Version",
    "indicator": "Indicator",
    "mode": "Mode",
    "state": "State",
    "response": "Response",
}
_FIGURES = {  # that come from a table of the roll-ups
    "card": "cards shown, acceptance and coverage",
    "evaluation": "fire rate and could not check",
    "call": "calls and times of responses",
    "denominator": "orders",
    "reason": "reasons for overriding",
    "user": "users",
}
_OF_CALLS = ("tenant", "client", "hook")  # counted in calls, so that those without a card can be chosen too


class Field(msgspec.Struct, frozen=True):
    """One field of the form; `options` are (value, text), None for a date."""

    name: str
    label: str
    value: str
    options: list[tuple[str, str]] | None


class FilterBar(msgspec.Struct, frozen=True):
    """The form, and the filter in words."""

    fields: list[Field]
    kept: list[tuple[str, str]]  # filters and parameters that have no field here
    words: str
    notes: list[str]  # which figures do not follow which filters
    chosen: bool  # anything but days is


def filter_bar(
    database: Database,
    chosen: Filter,
    knowledge: Knowledge,
    time_zone: str,
    names: Iterable[str] = ("client", "hook", "card", "indicator"),
    kept: Iterable[tuple[str, str]] = (),
) -> FilterBar:
    """Return the form with a field for each of `names`; `kept`: parameters of the page that the form has to send along."""
    names = tuple(names)
    counts: Mapping[str, list[tuple[str, int]]] = facets(database, chosen, [name for name in names if name not in _OF_CALLS])
    fields = _days(chosen)
    for name in names:
        options = _calls(database, chosen, name) if name in _OF_CALLS else counts[name]
        value = chosen[name][0] if len(chosen[name]) == 1 else ""
        fields.append(Field(name, _LABELS[name], value, [("", "all"), *_options(name, options, chosen[name], knowledge)]))
    others = [(name, value) for name, values in chosen.values for value in values if name not in names or len(values) > 1]
    return FilterBar(fields, [*others, *kept], _words(chosen, knowledge, time_zone), _notes(chosen), bool(chosen.values))


def period(chosen: Filter) -> str:
    """Return the days of a filter in words."""
    since, until = chosen.since, chosen.until
    if since is not None and until is not None:
        return day_text(since) if since == until else f"{day_text(since)} to {day_text(until)}"
    return f"from {day_text(since)} on" if since is not None else f"up to {day_text(until)}" if until is not None else "all days"


def _days(chosen: Filter) -> list[Field]:
    periods = [(str(days), text) for days, text in _PERIODS]
    if chosen.days is not None and chosen.days not in dict(_PERIODS):
        periods.append((str(chosen.days), f"{chosen.days} days"))
    own = [("", "the days beside")] if chosen.days is None else []
    since, until = (None, None) if chosen.days is not None else (chosen.since, chosen.until)
    return [
        Field("days", "Last", str(chosen.days or ""), [*own, *periods]),
        *(
            Field(name, label, as_date(day).isoformat() if day else "", None)
            for name, label, day in (("from", "or from", since), ("to", "to", until))
        ),
    ]


def _calls(database: Database, chosen: Filter, name: str) -> list[tuple[str, int]]:
    rows = call_counts(database, chosen.without(name), (name,))
    return sorted(((str(row[name]), row["n"]) for row in rows), key=lambda one: (-one[1], one[0]))


def _options(
    name: str, counts: Iterable[tuple[str, int]], wanted: Iterable[str], knowledge: Knowledge
) -> Iterable[tuple[str, str]]:
    found = dict(counts)
    found |= {value: 0 for value in wanted if value not in found}
    unit = "call" if name in _OF_CALLS else "card"
    for value, n in found.items():
        if value:  # an empty one can't be told from "all" in a form
            text = title_of(knowledge, value) if name == "card" else value
            yield value, f"{text} ({n:,} {unit}{'' if n == 1 else 's'})"


def _notes(chosen: Filter) -> list[str]:
    """Say which figures are of all records, because their counts know nothing of a filter."""
    figures_by_fields: dict[tuple[str, ...], list[str]] = {}
    for table, figures in _FIGURES.items():
        fields = ignored(table, chosen)
        if table == "denominator":
            fields |= chosen.names & {"hook"}  # see `figures.orders_of`
        if fields:
            figures_by_fields.setdefault(tuple(sorted(fields)), []).append(figures)
    return [
        f"{'; '.join(figures).capitalize()} are counted whatever the {' and '.join(one.replace('_', ' ') for one in fields)}."
        for fields, figures in figures_by_fields.items()
    ]


def _words(chosen: Filter, knowledge: Knowledge, time_zone: str) -> str:
    parts = [f"{period(chosen)}, days of {time_zone}"]
    for name, values in chosen.values:
        shown = [title_of(knowledge, value) if name == "card" else value or "none" for value in values]
        parts.append(f"{name.replace('_', ' ')}: {' or '.join(shown)}")
    return "; ".join(parts)
