"""Write the monthly report for a safety committee: figures of a month with n and intervals, and nothing of a person."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import msgspec

from cds_service.database import Database
from cds_service.exports.month_figures import ALL, CardMonth, Month, MonthFigures, month_figures
from cds_service.knowledge.knowledge import Knowledge
from cds_service.review.charts import Bars, small_bars
from cds_service.review.figures import title_of
from cds_service.review.plans import month_plans, samples
from cds_service.review.rate import ENOUGH_COVERAGE, Rate, share
from cds_service.review.results import result, stratum_results
from cds_service.review.whats_new import whats_new
from cds_service.rollups.filter import Filter
from cds_service.rollups.queries import latency
from cds_service.rollups.rollup import rollup_state
from cds_service.rollups.suppression import LEAST

MONTHS = 12  # of the charts


class CardLine(msgspec.Struct, frozen=True):
    """One card, or all of them. A rate is None where one of its two numbers is hidden."""

    card: str
    title: str
    figures: CardMonth
    fire_rate: Rate | None
    could_not_check: Rate | None
    coverage: Rate | None
    acceptance: Rate | None


class Reviewed(msgspec.Struct, frozen=True):
    """What reviewers found of a card's cases of the month: of how many, the share that was appropriate, with its interval."""

    card: str
    title: str
    judged: int | None  # None: hidden
    value: float | None
    low: float | None
    high: float | None


class Report(msgspec.Struct, frozen=True):
    """The report of a month, ready to be drawn."""

    month: str
    scope: str
    figures: MonthFigures
    lines: Sequence[CardLine]
    total: CardLine
    percentiles: dict[str, int | None]
    reviewed: Sequence[Reviewed]
    changes: Sequence[dict[str, Any]]
    history: Sequence[MonthFigures]
    shown_by_month: Bars
    unchecked_by_month: Bars
    last_day: int  # of the month, YYYYMMDD
    counted_to: int | None  # the last day that is counted; None for an empty log
    least: int = LEAST


def monthly_report(database: Database, knowledge: Knowledge, month: Month, chosen: Filter) -> Report:
    """Return the report. `chosen`: tenant or client, if only one; days in it are passed over. Raises DatabaseError."""
    figures = month_figures(database, month, chosen)
    of_month = chosen.between(month.first, month.last)
    history = [month_figures(database, one, chosen) for one in (month.plus(-back) for back in range(MONTHS - 1, 0, -1))] + [
        figures
    ]
    found = next(iter(latency(database, of_month)), None)
    return Report(
        month=month.text,
        scope=", ".join(f"{name} {' or '.join(values)}" for name, values in chosen.values) or "all clients and tenants",
        figures=figures,
        lines=[_line(one, title_of(knowledge, one.card)) for one in figures.cards],
        total=_line(figures.total, "All cards"),
        percentiles={name: found.percentile(p) if found else None for name, p in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))},
        reviewed=_reviewed(database, knowledge, month, hide=figures.suppressed),
        changes=whats_new(database, of_month, knowledge),
        history=history,
        shown_by_month=_bars(history, "cards shown", [one.total.responses.shown for one in history]),
        unchecked_by_month=_bars(history, "evaluations not checked", [one.total.checks.unchecked for one in history]),
        last_day=month.last,
        counted_to=rollup_state(database).last_day,
    )


def _line(one: CardMonth, title: str) -> CardLine:
    said, checks = one.responses, one.checks
    answered = _sum(said.accepted, said.overridden)
    coverage = _share("coverage", answered, said.shown)
    low = coverage is not None and coverage.value is not None and coverage.value < ENOUGH_COVERAGE
    return CardLine(
        card=one.card or ALL,
        title=title,
        figures=one,
        fire_rate=_share("fire_rate", checks.fired, _sum(checks.fired, checks.not_fired)),
        could_not_check=_share("could_not_check", checks.unchecked, checks.applied),
        coverage=coverage,
        acceptance=_share("acceptance", said.accepted, answered, low_coverage=low),
    )


def _share(definition: str, part: int | None, whole: int | None, *, low_coverage: bool = False) -> Rate | None:
    return None if part is None or whole is None else share(definition, part, whole, low_coverage=low_coverage)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _reviewed(database: Database, knowledge: Knowledge, month: Month, *, hide: bool) -> list[Reviewed]:
    found = []
    for plan in month_plans(database):
        if plan.month == month.number:
            cases = samples(database, plan.id)
            value = result(plan.card, stratum_results(plan, cases), cases).value
            if value is None:
                continue
            title = title_of(knowledge, plan.card)
            if hide and value.judged < LEAST:
                found.append(Reviewed(plan.card, title, None, None, None, None))
            else:
                found.append(Reviewed(plan.card, title, value.judged, value.value, value.interval.low, value.interval.high))
    return found


def _bars(history: Sequence[MonthFigures], what: str, counts: Sequence[int | None]) -> Bars:
    """Return bars; a hidden count has none, and the table beside them says that it is hidden."""
    titles = [
        f"{Month(one.month).text}: {f'fewer than {LEAST}, or hidden with one' if n is None else f'{n:,}'} {what}"
        for one, n in zip(history, counts, strict=True)
    ]
    return small_bars([n or 0 for n in counts], titles)


def report_style() -> str:
    """Return the style of a report that stands alone."""
    return files("cds_service.review").joinpath("static", "report.css").read_text("utf-8")
