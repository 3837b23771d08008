"""Make the page of one card: its rate by day between limits, where it was shown, why it was overridden, who sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from cds_service.database import Database
from cds_service.review.charts import control_chart, day_text
from cds_service.review.empty import why_empty
from cds_service.review.figures import NO_CARDS, NO_EVALUATIONS, NO_REASONS, card_figures, orders_of, reasons_given
from cds_service.review.filter_bar import filter_bar, period
from cds_service.review.links import Links
from cds_service.review.page import Page, PageNotFoundError, PageRequest, PageRoute
from cds_service.review.pages.overview import shown_before
from cds_service.review.pages.reasons import reason_text
from cds_service.review.rate import share
from cds_service.review.statistics import Limits, laney_limits
from cds_service.review.version_steps import Step, said, steps
from cds_service.rollups.counting import totals
from cds_service.rollups.days import days_between
from cds_service.rollups.filter import Filter
from cds_service.rollups.queries import (
    Evaluations,
    card_counts,
    evaluation_counts,
    reason_counts,
    top_users,
)

_MOST_DAYS = 400  # in the chart
_MOST_USERS = 10  # in the table
_ALL_USERS = 1_000_000
_NAMES = ("client", "hook", "version", "indicator")


def draw(asked: PageRequest) -> Page:
    """Return the page of the card in the path."""
    database, card = asked.database, asked.path["card"]
    if asked.knowledge.card(card) is None and database.names.id(card) is None:
        raise PageNotFoundError("Neither the cards of this service nor the log know a card of this name")
    chosen = asked.filter().with_values("card", card)
    counts = next(iter(card_counts(database, chosen, ())), NO_CARDS)
    evaluations = next(iter(evaluation_counts(database, chosen, ())), NO_EVALUATIONS)
    given = reasons_given(database, chosen).get(card, NO_REASONS)
    figures = card_figures(card, asked.knowledge, counts, evaluations, given, orders_of(database, chosen))
    by_day = _by_day(database, chosen)
    days, flags = _days(chosen, asked.today, by_day, _shown_by_day(database, chosen))
    changes = steps(by_day)
    users = top_users(database, chosen, _ALL_USERS)
    few = max(round(0.05 * len(users)), min(len(users), 1))
    links = Links(chosen)
    reasons = reason_counts(database, chosen, ("reason",))
    data = {
        "card": {name: getattr(figures, name) for name in figures.__struct_fields__}
        | {"shown_before": shown_before(database, chosen)},
        "period": period(chosen),
        "days": days,
        "versions": [{"day": day, "version": version} for day, version in flags],
        "steps": changes,
        "recorded": sorted({version for found in by_day.values() for version in found}),
        "fired": evaluations.fired,
        "by": _breakdowns(database, chosen, links, asked),
        "comments": sum(row["comments"] for row in reasons),
        "users": users[:_MOST_USERS],
        "few_users": few,
        "concentration": share("concentration", sum(one["shown"] for one in users[:few]), sum(one["shown"] for one in users)),
        "repeats": _worst_repeats(users),
        "empty": why_empty(database, chosen.without("card")),
    }
    limits = [None if one["rate"] is None else Limits(one["rate"], one["centre"], one["low"], one["high"]) for one in days]
    only_html = {
        "links": links,
        "chart": control_chart(
            [one["day"] for one in days], [one["fired"] for one in days], [one["evaluated"] for one in days], limits, flags
        ),
        "says": _sentence(days, flags, changes),
        "filters": filter_bar(database, chosen.without("card"), asked.knowledge, asked.settings.time_zone, _NAMES),
    }
    columns = ("day", "fired", "evaluated", "rate", "centre", "low", "high", "outside", "shown", "versions")
    rows = [one | {"versions": " ".join(one["versions"])} for one in days]
    return Page(figures.title, "card.html", data, only_html, rows=rows, columns=columns)


def _by_day(database: Database, chosen: Filter) -> dict[int, dict[str, Evaluations]]:
    """Return the evaluations of each day and version."""
    by_day: dict[int, dict[str, Evaluations]] = {}
    for row in evaluation_counts(database, chosen, ("day", "version")):
        by_day.setdefault(int(row.of["day"]), {})[str(row.of["version"])] = row
    return by_day


def _shown_by_day(database: Database, chosen: Filter) -> dict[int, int]:
    return {int(row.of["day"]): row.shown for row in card_counts(database, chosen, ("day",))}


def _days(
    chosen: Filter, today: int, by_day: Mapping[int, Mapping[str, Evaluations]], shown: Mapping[int, int]
) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    """Return a row for each day from the first with an evaluation on, and the first day of each version but the first.

    Limits begin anew with each version: on a day with two, the one that was evaluated more often counts.
    """
    if not by_day:
        return [], []
    last = max(max(by_day), min(chosen.until or today, today))
    listed = days_between(min(by_day), last)[-_MOST_DAYS:]
    rows: list[dict[str, Any]] = []
    flags: list[tuple[int, str]] = []
    version = ""
    seen: set[str] = set()
    for day in listed:
        found = by_day.get(day, {})
        if found:
            version = max(found, key=lambda one: (found[one].checked, one))
        flags += [(day, one) for one in sorted(found.keys() - seen) if seen]
        seen |= found.keys()
        fired, evaluated = sum(one.fired for one in found.values()), sum(one.checked for one in found.values())
        rows.append(
            {
                "day": day,
                "fired": fired,
                "evaluated": evaluated,
                "shown": shown.get(day, 0),
                "versions": sorted(found),
                "of": version,
            }
        )
    for _, segment in groupby(rows, key=lambda one: one["of"]):
        _add_limits(list(segment))
    return rows, flags


def _add_limits(segment: Sequence[dict[str, Any]]) -> None:
    """Add the rate and its limits to the days of one version; None on days without an evaluation."""
    limits = laney_limits([one["fired"] for one in segment], [one["evaluated"] for one in segment])
    for one, found in zip(segment, limits, strict=True):
        del one["of"]
        one |= {"rate": None, "centre": None, "low": None, "high": None, "outside": False}
        if found is not None:
            one |= found._asdict() | {"outside": found.outside}


def _breakdowns(database: Database, chosen: Filter, links: Links, asked: PageRequest) -> dict[str, list[dict[str, Any]]]:
    def shown_by(name: str) -> list[dict[str, Any]]:
        rows = [(str(row.of[name]), row.shown) for row in card_counts(database, chosen, (name,)) if row.shown]
        return _listed((value or "not named", n, links.log(mode="live", state="shown", **{name: value})) for value, n in rows)

    by_row = evaluation_counts(database, chosen, ("row",))
    states = totals(database, "card", chosen, ("mode", "state"), {"n": "sum(n)"})
    return {
        **{name: shown_by(name) for name in ("hook", "client", "indicator", "version")},
        "row": _listed((f"row {int(one.of['row']) + 1}", one.fired, links.log(row=one.of["row"])) for one in by_row if one.fired),
        "held_back": _listed(
            (_held_back(row), row["n"], links.log(mode=row["mode"], state=row["state"]))
            for row in states
            if (row["mode"], row["state"]) != ("live", "shown")
        ),
        "reason": _listed(
            (reason_text(asked.knowledge, row["reason"]), row["n"], links.log(response="overridden", reason=row["reason"]))
            for row in reason_counts(database, chosen, ("reason",))
        ),
    }


def _worst_repeats(users: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the users who saw the card more than once for one patient on one day, the worst first."""
    again = [one for one in users if one["most_for_one_patient"] > 1]
    return sorted(again, key=lambda one: (-one["most_for_one_patient"], one["user"]))[:_MOST_USERS]


def _held_back(row: Mapping[str, Any]) -> str:
    state = str(row["state"]).replace("_", " ")
    return state if row["mode"] == "live" else f"{row['mode']}: {state}"


def _listed(rows: Iterable[tuple[str, int, str]]) -> list[dict[str, Any]]:
    found = [{"name": name, "n": n, "link": link} for name, n, link in rows]
    return sorted(found, key=lambda one: (-one["n"], one["name"]))


def _sentence(days: Sequence[Mapping[str, Any]], flags: Sequence[tuple[int, str]], changes: Sequence[Step]) -> str:
    """Say what the chart shows."""
    known = [one for one in days if one["rate"] is not None]
    if not known:
        return "No day with an evaluation."
    fired, evaluated = sum(one["fired"] for one in known), sum(one["evaluated"] for one in known)
    outside = [one for one in known if one["outside"]]
    parts = [
        f"It fired in {fired:,} of {evaluated:,} evaluations ({100 * fired / evaluated:.1f} %) on {len(known)} days.",
        _outside(outside, bool(changes)),
    ]
    parts += [f"Version {version} begins on {day_text(day)}." for day, version in flags]
    parts += [said(one) for one in changes]
    return " ".join(parts)


def _outside(days: Sequence[Mapping[str, Any]], several: bool) -> str:
    if not days:
        return f"No day lies outside the limits{' of its version' if several else ''}."
    last = day_text(days[-1]["day"])
    return (
        f"One day lies outside the limits, {last}."
        if len(days) == 1
        else f"{len(days)} days lie outside the limits, the last {last}."
    )


ROUTE = PageRoute("/cards/{card}", draw, "viewer", csv=True, scoped=True)
