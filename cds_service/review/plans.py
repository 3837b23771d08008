"""Make plans of cases to judge, and tell what is left to do: one plan per card and month."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from cds_service.alert_log import micros
from cds_service.database import Database
from cds_service.review.case import CaseNotFoundError, body_of, cards_of, nth_of_card, nth_of_outcome
from cds_service.review.sampling import STRATA, Candidate, Drawn, Span, Where, draw, outcomes_of, shuffled
from cds_service.review.verdicts import CaseId, Reading, disputed, readings_of_plan, role_of
from cds_service.rollups.days import SiteDays, month_of
from cds_service.signals.inbox import Signal

Work: TypeAlias = Literal["first", "second", "adjudicator"]
WORK: tuple[Work, ...] = ("first", "second", "adjudicator")


class PlanError(ValueError):
    """Raised where no plan can be made. The text is for the reviewer."""


class PlanStratum(msgspec.Struct, frozen=True):
    """One stratum of a plan: `size` cases, of which `drawn` are to be judged."""

    name: str
    title: str
    size: int
    drawn: int


class Plan(msgspec.Struct, frozen=True):
    """One plan. `month`: YYYYMM in the site's time zone, of a signal that of its last day; `made_at`: µs since 1970, nothing
    later was drawn from.
    """

    id: int
    card: str
    month: int
    seed: int
    made_at: int
    signal: int  # whose cases it is drawn from; 0 for all of the month
    strata: list[PlanStratum]

    @property
    def drawn(self) -> int:
        """Return how many cases are to be judged."""
        return sum(one.drawn for one in self.strata)


class Sample(msgspec.Struct, frozen=True):
    """One case of a plan; `position` from 1. `readings`: of all reviewers."""

    plan: int
    position: int
    stratum: str
    case: CaseId
    readings: list[Reading]

    @property
    def path(self) -> str:
        """Return the address of the case below `/review`."""
        return case_path(self.case)


def case_path(case: CaseId) -> str:
    """Return the address of a case below `/review`."""
    return f"/cases/{case.call_id.hex()}/{case.card}/{case.nth}"


def month_span(month: int, zone: ZoneInfo) -> Span:
    """Return a month (YYYYMM) of the site's time zone. Raises ValueError for what is no month."""
    year, number = divmod(month, 100)
    start = datetime(year, number, 1, tzinfo=zone)
    end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=zone)
    return Span(micros(start), micros(end))


def make_plan(database: Database, card: str, month: int, *, zone: ZoneInfo, now: datetime, seed: int) -> int:
    """Draw a plan and keep it; return its id. Raises PlanError, and StatementTooLongError for a log that is too large."""
    try:
        span = month_span(month, zone)
    except ValueError:
        raise PlanError("Choose a month, such as 2026-11") from None
    made_at = micros(now)
    if span.start >= made_at:
        raise PlanError("This month has not begun")
    if plan_of(database, card, month) is not None:
        raise PlanError("There is a plan for this card and month")
    return _keep(database, card, month, 0, draw(database, card, Span(span.start, min(span.end, made_at)), seed), made_at, seed)


def make_signal_plan(database: Database, signal: Signal, *, days: SiteDays, now: datetime, seed: int) -> int:
    """Draw a plan from the card's cases at the signal's client since it began; return its id. Raises PlanError."""
    span = days_of_signal(signal)
    if span is None or not signal.place.card:
        raise PlanError("This signal has no cases")
    first, last = span
    month = month_of(last)
    if (known := plan_of(database, signal.place.card, month, signal.id)) is not None:
        return known
    made_at = micros(now)
    where = Where(signal.place.tenant, signal.place.client) if signal.place.client else None
    drawn = draw(database, signal.place.card, Span(days.bounds(first).start, min(days.bounds(last).end, made_at)), seed, where)
    return _keep(database, signal.place.card, month, signal.id, drawn, made_at, seed)


def days_of_signal(signal: Signal) -> tuple[int, int] | None:
    """Return the first and last day (YYYYMMDD) of what a signal is about: since the change that it came with, if there is one."""
    if signal.last is None:
        return None
    return int(signal.last.detail.get("since", signal.sightings[0].day)), signal.last.day


def plan_of(database: Database, card: str, month: int, signal: int = 0) -> int | None:
    """Return the id of the plan of a card, month and signal (0 for all cases of the month); None where there is none."""
    sql = "SELECT id FROM review.plan WHERE card = :card AND month = :month AND signal = :signal"
    row = database.one(sql, card=card, month=month, signal=signal)
    return None if row is None else int(row["id"])


def _keep(database: Database, card: str, month: int, signal: int, drawn: list[Drawn], made_at: int, seed: int) -> int:
    found = [(one, case) for one in drawn for case in _cases(database, card, one)]
    if not found:
        raise PlanError(f"The log has no case of this card in {'the days of this signal' if signal else 'this month'}")
    with database.transaction():
        values = {"card": card, "month": month, "seed": seed, "made_at": made_at, "signal": signal}
        sql = "INSERT INTO review.plan (card, month, seed, made_at, signal) VALUES (:card, :month, :seed, :made_at, :signal)"
        database.execute(sql, **values)
        plan = plan_of(database, card, month, signal) or 0
        database.execute_many(
            "INSERT INTO review.stratum VALUES (:plan, :name, :size, :drawn)",
            [{"plan": plan, "name": one.stratum, "size": one.size, "drawn": sum(of is one for of, _ in found)} for one in drawn],
        )
        order = shuffled(len(found), seed)
        database.execute_many(
            "INSERT INTO review.sample (plan, position, stratum, call_id, received_at, card, nth) "
            "VALUES (:plan, :position, :stratum, :call_id, :received_at, :card, :nth)",
            [
                {"plan": plan, "position": position, "stratum": found[place][0].stratum, **found[place][1]._asdict()}
                for position, place in enumerate(order, 1)
            ],
        )
    return plan


def _cases(database: Database, card: str, drawn: Drawn) -> Iterable[CaseId]:
    """Find the evaluation of each drawn case; one whose body was deleted or can't be read is left out."""
    for one in drawn.cases:
        nth = _nth(database, card, one, drawn.stratum)
        if nth is not None:
            yield CaseId(one.call_id, one.received_at, card, nth)


def _nth(database: Database, card: str, one: Candidate, stratum: str) -> int | None:
    sql = "SELECT * FROM log.call WHERE received_at = :at AND id = :id"
    call = database.one(sql, at=one.received_at, id=one.call_id)
    if call is None:
        return None
    try:
        body = body_of(database, call)
    except CaseNotFoundError:
        return None
    evaluations = [row for row in body.evaluations if row["card"] == card]
    if one.position >= 0:
        return nth_of_card(evaluations, cards_of(database, call, card), one.position)
    return nth_of_outcome(evaluations, outcomes_of(stratum), one.which)


def plans(database: Database) -> list[Plan]:
    """Return all plans, the newest month first."""
    strata: dict[int, list[PlanStratum]] = {}
    for row in database.rows("SELECT * FROM review.stratum"):
        strata.setdefault(row["plan"], []).append(PlanStratum(row["name"], STRATA[row["name"]], row["size"], row["drawn"]))
    order = list(STRATA)
    return [
        Plan(**row, strata=sorted(strata.get(row["id"], []), key=lambda one: order.index(one.name)))
        for row in database.rows("SELECT id, card, month, seed, made_at, signal FROM review.plan ORDER BY month DESC, card, id")
    ]


def month_plans(database: Database) -> list[Plan]:
    """Return the plans whose cases stand for all of a card's month, so that shares can be worked out of them."""
    return [one for one in plans(database) if not one.signal]


def samples(database: Database, plan: int) -> list[Sample]:
    """Return the cases of a plan in their order, with what was said of them."""
    read = readings_of_plan(database, plan)
    return [
        Sample(
            plan,
            row["position"],
            row["stratum"],
            case := CaseId(bytes(row["call_id"]), row["received_at"], row["card"], row["nth"]),
            read.get((case.call_id, case.card, case.nth), []),
        )
        for row in database.rows("SELECT * FROM review.sample WHERE plan = :plan ORDER BY position", plan=plan)
    ]


def to_do(cases: Iterable[Sample], reviewer: str, work: Work) -> list[Sample]:
    """Return the cases that `reviewer` can read in that role and has not read yet, in the plan's order."""
    return [
        one
        for one in cases
        if role_of(reviewer, one.readings) == work and not any(read.reviewer == reviewer for read in one.readings)
    ]


def next_to_do(cases: list[Sample], reviewer: str, work: Work, after: int) -> Sample | None:
    """Return the next case to read in that role behind position `after`, else the first one; None where all are read."""
    left = to_do(cases, reviewer, work)
    return next((one for one in left if one.position > after), left[0] if left else None)


def waiting(database: Database) -> int:
    """Return how many cases of all plans wait: unread, or read by two who differ."""
    row = database.one("""SELECT count(*) AS n FROM review.sample s WHERE NOT EXISTS (
        SELECT 1 FROM review.verdict v WHERE v.call_id = s.call_id AND v.card = s.card AND v.nth = s.nth)""")
    unread = int(row["n"]) if row is not None else 0
    ids = [int(one["id"]) for one in database.rows("SELECT id FROM review.plan")]
    return unread + sum(disputed(read) for plan in ids for read in readings_of_plan(database, plan).values())


def late_cases(database: Database, before: int) -> int:
    """Return how many cases nobody has read of plans that were drawn before a moment (microseconds since 1970)."""
    row = database.one(
        """SELECT count(*) AS n FROM review.sample s JOIN review.plan p ON p.id = s.plan WHERE p.made_at < :before
        AND NOT EXISTS (SELECT 1 FROM review.verdict v WHERE v.call_id = s.call_id AND v.card = s.card AND v.nth = s.nth)""",
        before=before,
    )
    return int(row["n"]) if row is not None else 0
