"""Write the week as a page of Markdown to send around: counts, signals, what is overdue, what changed. No patient data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

import msgspec

from cds_service.changes.change import Change, changes
from cds_service.database import Database
from cds_service.knowledge.knowledge import Knowledge
from cds_service.review.plans import late_cases
from cds_service.review.signal_rows import sentence
from cds_service.review.whats_new import whats_new
from cds_service.rollups.counting import totals
from cds_service.rollups.days import SiteDays, as_date, as_number, plus
from cds_service.rollups.filter import Filter
from cds_service.rollups.queries import Cards, card_counts, evaluation_counts
from cds_service.rollups.suppression import LEAST, suppress, suppress_list
from cds_service.signals.finding import KINDS
from cds_service.signals.inbox import STATES, Signal, open_since

_HIDDEN = f"under {LEAST}"  # so a suppressed cell is said
_LATE_DAYS = 28  # after which an unread case is overdue
Cell = int | None


class CardLine(msgspec.Struct, frozen=True):
    """One card in the week; None for a count that must not be shown."""

    card: str
    accepted: Cell
    overridden: Cell
    unanswered: Cell
    shown: Cell
    shown_before: Cell  # in the week before


class Digest(msgspec.Struct, frozen=True):
    """What a digest tells. Days are YYYYMMDD. `suppressed`: it spans several tenants, so that small counts are hidden."""

    week: str
    first: int
    last: int
    suppressed: bool
    calls: Cell
    could_not_check: Cell
    evaluations: Cell
    cards: Sequence[CardLine]  # the last one is all of them
    open: Mapping[str, int]  # signals by state
    new: Sequence[str]  # signals of the week, each in a sentence
    overdue: Sequence[str]
    late_cases: int  # drawn for review more than four weeks ago and not read
    proposed: Sequence[str]  # changes of cards that are open now, or were decided in the week
    changes: Sequence[str]


class WeekError(ValueError):
    """Raised for a week that can't be read. The text is for the reader."""


def week_days(text: str, today: int) -> tuple[int, int]:
    """Return the Monday and Sunday of a week such as 2026-W47; of the last whole one before `today` for "". Raises WeekError."""
    if not text:
        monday = as_date(today) - timedelta(days=as_date(today).weekday() + 7)
    else:
        try:
            monday = date.fromisoformat(text)
        except ValueError:
            raise WeekError("Give a week as 2026-W47") from None
        if "W" not in text or monday.weekday() or not 2000 <= monday.year < 9999:
            raise WeekError("Give a week as 2026-W47")
    return as_number(monday), as_number(monday + timedelta(days=6))


def digest(
    database: Database,
    chosen: Filter,
    knowledge: Knowledge,
    days: SiteDays,
    signals: Sequence[Signal],
    today: int,
) -> Digest:
    """Return the digest of the week that `chosen` names by its days. `signals`: those that its reader may see."""
    first, last = chosen.since or 0, chosen.until or 0
    suppressed = len(totals(database, "call", chosen, ("tenant",))) > 1
    calls = sum(row["n"] for row in totals(database, "call", chosen, ()))
    evaluations = next(iter(evaluation_counts(database, chosen, ())), None)
    unknown = evaluations.could_not_check + evaluations.failed if evaluations else 0
    checked = evaluations.checked + unknown if evaluations else 0
    small, of = suppress_list([unknown, checked - unknown]) if suppressed else ([unknown], checked)
    week = as_date(first).isocalendar()
    new = [one for one in signals if open_since(one, days, first, last)]
    return Digest(
        week=f"{week.year}-W{week.week:02d}",
        first=first,
        last=last,
        suppressed=suppressed,
        calls=None if suppressed and 0 < calls < LEAST else calls,
        could_not_check=small[0],
        evaluations=of,
        cards=_lines(database, chosen, suppressed=suppressed),
        open={state: sum(one.state == state for one in signals) for state in STATES},
        new=[_said(one, suppressed=suppressed) for one in new],
        overdue=[_said(one, suppressed=suppressed) for one in signals if one.overdue(today)],
        late_cases=late_cases(database, days.bounds(plus(today, -_LATE_DAYS)).start),
        proposed=[_proposed(one) for one in changes(database) if _in_week(one, days, first, last)],
        changes=[f"{_day(row['day'])}: {row['what']}, {row['which']}" for row in whats_new(database, chosen, knowledge)],
    )


def _in_week(one: Change, days: SiteDays, first: int, last: int) -> bool:
    decided = [step.at for step in one.steps if step.action in ("withdrawn", "approved")]
    return one.state == "open" or any(first <= days.day_of(at) <= last for at in decided)


def _proposed(one: Change) -> str:
    signed = ", ".join(step.reader for step in one.signatures) or "nobody"
    why = f" for signal {one.signal}" if one.signal is not None else ""
    return f"change {one.id} of {one.card}{why}: {one.state}, signed by {signed}"


def _lines(database: Database, chosen: Filter, *, suppressed: bool) -> list[CardLine]:
    now = {str(one.of["card"]): one for one in card_counts(database, chosen, ("card",))}
    since, until = plus(chosen.since or 0, -7), plus(chosen.since or 0, -1)
    before = {str(one.of["card"]): one.shown for one in card_counts(database, chosen.between(since, until), ("card",))}
    cards = sorted(
        {card for card, one in now.items() if one.shown} | {card for card, shown in before.items() if shown},
        key=lambda card: (-(now[card].shown if card in now else 0), card),
    )
    table: list[list[Cell]] = [list(_row(now.get(card))) for card in cards]
    table.append([sum(row[column] or 0 for row in table) for column in range(4)])
    earlier: list[Cell] = [before.get(card, 0) for card in cards]
    earlier.append(sum(one or 0 for one in earlier))
    if suppressed:
        table = suppress([[cell or 0 for cell in row] for row in table])
        shown, total = suppress_list([one or 0 for one in earlier[:-1]])
        earlier = [*shown, total]
    return [
        CardLine(card, row[0], row[1], row[2], row[3], then)
        for card, row, then in zip([*cards, "all cards"], table, earlier, strict=True)
    ]


def _row(one: Cards | None) -> tuple[int, int, int, int]:
    return (one.accepted, one.overridden, one.unanswered, one.shown) if one is not None else (0, 0, 0, 0)


def _said(one: Signal, *, suppressed: bool) -> str:
    """Say a signal; without its counts where they would stand in a digest of several tenants."""
    if not suppressed:
        return f"{sentence(one)} (signal {one.id}, {one.state})"
    where = " at ".join(part for part in (one.place.card, one.place.client) if part)
    since = f" since {one.subject}" if one.kind == "release_step" else ""
    return f"{KINDS[one.kind][0]}: {where}{since} (signal {one.id}, {one.state})"


def markdown(one: Digest, time_zone: str) -> str:
    """Return the digest as Markdown."""
    lines = [
        f"# Week {one.week}: {_day(one.first)} to {_day(one.last)}",
        "",
        f"Days in {time_zone}. {_cell(one.calls)} calls. Could not be checked: {_cell(one.could_not_check)} of "
        f"{_cell(one.evaluations)} evaluations.",
    ]
    if one.suppressed:
        lines.append(f"Of several tenants: counts from 1 to {LEAST - 1}, and what would give them away, are hidden.")
    lines += [
        "",
        "## Cards shown",
        "",
        "| card | accepted | overridden | no feedback | shown | week before |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {line.card} | "
        + " | ".join(_cell(cell) for cell in (line.accepted, line.overridden, line.unanswered, line.shown, line.shown_before))
        + " |"
        for line in one.cards
    ]
    states = ", ".join(f"{STATES[state].lower()} {count}" for state, count in one.open.items() if count)  # type: ignore[index]
    lines += ["", "## Signals", "", f"Now: {states or 'none'}.", "", *_list("New in this week", one.new)]
    lines += ["## Overdue", "", f"Cases drawn more than four weeks ago and not read: {one.late_cases}.", ""]
    lines += _list("Signals past their due date", one.overdue)
    lines += ["## Changes of cards", "", *(f"- {_plain(text)}" for text in one.proposed or ["none"]), ""]
    lines += ["## What changed", "", *(f"- {_plain(text)}" for text in one.changes or ["nothing that the log knows of"])]
    return "\n".join(lines) + "\n"


def _list(title: str, items: Iterable[str]) -> list[str]:
    found = [f"- {_plain(item)}" for item in items]
    return [f"{title}:", "", *(found or ["- none"]), ""]


def _plain(text: str) -> str:
    """Keep a name from being taken for Markdown: it comes from a client, a card or a code."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>#|!" else letter for letter in text.replace("\n", " "))


def _cell(count: Cell) -> str:
    return _HIDDEN if count is None else f"{count:,}"


def _day(day: int) -> str:
    return as_date(day).isoformat()
