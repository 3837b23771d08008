"""Make the page of plans: draw one, see how far it is, go on reading."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.responses import Response

from cds_service.alert_log.instants import micros
from cds_service.review.page import (
    BadFormError,
    Page,
    PageNotFoundError,
    PageRequest,
    PageRoute,
    ScopeError,
    see_other,
    whole_number,
)
from cds_service.review.plans import (
    WORK,
    Plan,
    PlanError,
    Sample,
    days_of_signal,
    make_plan,
    make_signal_plan,
    plans,
    samples,
    to_do,
)
from cds_service.review.reviewer import remember, reviewer_of
from cds_service.review.signal_rows import seen_by, sentence
from cds_service.review.timeline import local
from cds_service.review.verdicts import VERDICTS, VerdictError, disputed, reviewer_name, settled
from cds_service.rollups.days import SiteDays, as_date
from cds_service.signals.inbox import Signal

_COLUMNS = ("plan", "card", "month", "signal", "seed", "made_at", "drawn", "read", "read_twice", "differ", *WORK)


def draw(asked: PageRequest) -> Page:
    """Return the page of all plans, with the cases of one where the address names it."""
    reviewer, zone = reviewer_of(asked), ZoneInfo(asked.settings.time_zone)
    cases = {plan.id: (plan, samples(asked.database, plan.id)) for plan in plans(asked.database)}
    if asked.reader.scoped:  # plans of other clients alone are not there
        cases = {number: one for number, one in cases.items() if one[1]}
    rows = [_row(plan, of_plan, reviewer, zone) for plan, of_plan in cases.values()]
    number = asked.query.get("plan", "")
    chosen = cases.get(whole_number(number) or 0)
    if number and chosen is None:
        raise PageNotFoundError("There is no such plan")
    data = {"plans": rows, "plan": _detail(*chosen, reviewer) if chosen is not None else None}
    last_month = local(micros(asked.now), zone).replace(day=1) - timedelta(days=1)
    only_html = {
        "reviewer": reviewer,
        "may_draw": not asked.reader.scoped,
        "cards": [card for card in asked.knowledge.cards if card.file.status != "retired"],
        "month": f"{last_month:%Y-%m}",
        "card": asked.query.get("card", ""),
        "work": WORK,
        "verdicts": VERDICTS,
        "signal": _offer(_signal(asked, asked.query["signal"])) if asked.query.get("signal") else None,
        "saved": VERDICTS.get(asked.query.get("saved", ""), ""),
    }
    return Page("Queue", "queue.html", data, only_html, rows=rows, columns=_COLUMNS)


def change(asked: PageRequest) -> Page | Response:
    """Draw a plan, or keep the reviewer's name."""
    if "reviewer" in asked.form and not asked.reader.verified:
        try:
            return remember(see_other("/queue"), reviewer_name(asked.form["reviewer"]))
        except VerdictError as error:
            raise BadFormError(str(error)) from None
    if asked.form.get("signal"):
        return _draw_of_signal(asked)
    if asked.reader.scoped:
        raise ScopeError(
            "A plan of a month is drawn from the cases of all clients, and is the only one of its card and month: ask somebody "
            "who may see them all"
        )
    card, month = asked.form.get("card", ""), asked.form.get("month", "").replace("-", "")
    if asked.knowledge.card(card) is None:
        raise BadFormError("Choose a card")
    if not month.isdecimal() or len(month) != 6:
        raise BadFormError("Choose a month, such as 2026-11")
    zone = ZoneInfo(asked.settings.time_zone)
    try:
        plan = make_plan(asked.database, card, int(month), zone=zone, now=asked.now, seed=secrets.randbelow(2**31))
    except PlanError as error:
        raise BadFormError(str(error)) from None
    return see_other(f"/queue?{urlencode({'plan': plan})}")


def _draw_of_signal(asked: PageRequest) -> Response:
    signal, days = _signal(asked, asked.form["signal"]), SiteDays(asked.settings.time_zone)
    try:
        plan = make_signal_plan(asked.database, signal, days=days, now=asked.now, seed=secrets.randbelow(2**31))
    except PlanError as error:
        raise BadFormError(str(error)) from None
    return see_other(f"/queue?{urlencode({'plan': plan})}")


def _signal(asked: PageRequest, number: str) -> Signal:
    """Return a signal that the reader may see. Raises PageNotFoundError."""
    found = seen_by(asked, whole_number(number) or 0)
    if not found:
        raise PageNotFoundError("There is no such signal")
    return found[0]


def _offer(signal: Signal) -> dict[str, Any] | None:
    """Return what a plan of the signal is drawn from; None where it has no cases."""
    span = days_of_signal(signal)
    if span is None or not signal.place.card:
        return None
    first, last = (as_date(day) for day in span)
    place = signal.place
    return {"id": signal.id, "says": sentence(signal), "card": place.card, "client": place.client, "first": first, "last": last}


def _row(plan: Plan, cases: list[Sample], reviewer: str, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "plan": plan.id,
        "card": plan.card,
        "month": _month(plan.month),
        "signal": plan.signal or None,
        "seed": plan.seed,
        "made_at": local(plan.made_at, zone).isoformat(sep=" ", timespec="minutes"),
        "drawn": plan.drawn or len(cases),  # strata count all clients, so a reader of some does not see them
        "read": sum(bool(one.readings) for one in cases),
        "read_twice": sum(len(one.readings) > 1 for one in cases),
        "differ": sum(disputed(one.readings) for one in cases),
        **{work: len(to_do(cases, reviewer, work)) for work in WORK},
    }


def _detail(plan: Plan, cases: list[Sample], reviewer: str) -> dict[str, Any]:
    """Return the strata of a plan and its cases; which stratum a case is of is not told, so that it sways nobody."""
    strata = [
        {
            "name": one.name,
            "title": one.title,
            "size": one.size,
            "drawn": one.drawn,
            "read": sum(bool(case.readings) for case in cases if case.stratum == one.name),
        }
        for one in plan.strata
    ]
    first = {work: next((one.path for one in to_do(cases, reviewer, work)), "") for work in WORK}
    return {
        "id": plan.id,
        "card": plan.card,
        "month": _month(plan.month),
        "signal": plan.signal or None,
        "seed": plan.seed,
        "strata": strata,
        "next": first,
        "cases": [_case(one, reviewer) for one in cases],
    }


def _case(one: Sample, reviewer: str) -> dict[str, Any]:
    mine = next((read.opinion.verdict for read in one.readings if read.reviewer == reviewer), "")
    if not one.readings:
        state = "unread"
    elif disputed(one.readings):
        state = "two readers differ"
    elif len(one.readings) == 1:
        state = "read once"
    else:
        state = "settled by a third" if settled(one.readings) is not one.readings[0] else "two readers agree"
    return {"position": one.position, "path": one.path, "state": state, "mine": mine}


def _month(month: int) -> str:
    return f"{month // 100}-{month % 100:02d}"


ROUTE = PageRoute("/queue", draw, "reviewer", nav="Queue", csv=True, post=change, post_role="reviewer", scoped=True)
