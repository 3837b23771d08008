"""Lay out the numbers of a card as a form, and read which calls a backtest is to decide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from cds_service.changes.requirements import DAYS
from cds_service.explain.sentences import Sentences
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.site_numbers import SiteNumber
from cds_service.replay.backtest import Selection
from cds_service.replay.candidate import in_words
from cds_service.review.page import BadFormError, PageRequest
from cds_service.rollups.days import SiteDays, as_date, as_number, plus
from cds_service.rollups.rollup import rollup_state


def number_rows(
    numbers: Iterable[SiteNumber], knowledge: Knowledge, typed: Mapping[str, str], wrong: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return what the form shows of each number. `typed` and `wrong`: what was sent, and why it can't be used."""
    sentences = Sentences(knowledge.criteria, knowledge.terminology)
    return [
        {
            "id": position,
            "name": one.name,
            "title": _title(one, knowledge),
            "says": [sentences.of(name) for name in one.uses],
            "value": _plain(one.value),
            "typed": typed.get(one.name, _plain(one.value)),
            "unit": one.unit,
            "low": None if one.low is None else f"{one.low:f}",
            "high": None if one.high is None else f"{one.high:f}",
            "step": "1" if one.whole else "any",
            "choice": isinstance(one.value, bool),
            "shipped": None if one.shipped is None else in_words(one, one.shipped),
            "by_overlay": one.by_overlay,
            "cards": one.cards,
            "file": one.file,
            "wrong": wrong.get(one.name, ""),
        }
        for position, one in enumerate(numbers, 1)
    ]


def _title(one: SiteNumber, knowledge: Knowledge) -> str:
    if one.file == "thresholds.yaml":
        return knowledge.thresholds[one.keys[0]].what
    if one.keys[0] == "repeat":
        return "Not shown again to the same patient for"
    return f"{one.uses[0].replace('_', ' ')}: {one.keys[-1].replace('_', ' ')}"


def _plain(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:f}" if not isinstance(value, int) else str(value)


def default_days(asked: PageRequest) -> tuple[int, int]:
    """Return the first and the last day, YYYYMMDD, of the newest days that the log has: as many as a change needs."""
    last = rollup_state(asked.database).last_day
    last = asked.today if last is None else min(last, asked.today)
    return plus(last, 1 - DAYS), last


def read_selection(asked: PageRequest) -> Selection:
    """Return which calls the form asks for. Raises BadFormError."""
    form, days = asked.form, SiteDays(asked.settings.time_zone)
    since, until = _day(form.get("from", "")), _day(form.get("to", ""))
    if since > until:
        raise BadFormError("The first day must not be after the last")
    percent = form.get("share", "100")
    if not percent.isdecimal() or not 1 <= int(percent) <= 100:
        raise BadFormError("The share of the patients must be a whole number from 1 to 100 per cent")
    end = 0 if until >= asked.today else days.bounds(until).end  # today goes on: it ends with the newest record
    return Selection(days.bounds(since).start, end, form.get("hook", ""), form.get("client", ""), int(percent) / 100)


def _day(text: str) -> int:
    try:
        return as_number(date.fromisoformat(text))
    except ValueError:
        raise BadFormError("Give the first and the last day as dates, such as 2026-09-01") from None


def day_input(day: int) -> str:
    """Return a day as a date field has it."""
    return as_date(day).isoformat()
