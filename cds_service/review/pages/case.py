"""Make the page of one case, and take the verdict on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec
from starlette.responses import Response

from cds_service.alert_log import micros
from cds_service.review import case_rows, verdicts
from cds_service.review.case import Case, CaseNotFoundError, feedback_of, find_case
from cds_service.review.knowledge_then import KnowledgeThen, knowledge_then
from cds_service.review.page import BASE, Page, PageNotFoundError, PageRequest, PageRoute, see_other
from cds_service.review.plans import WORK, Sample, Work, case_path, next_to_do, samples, to_do
from cds_service.review.reviewer import remember, reviewer_of
from cds_service.review.timeline import DAYS, MOST_CALLS, drawing, events_around, local
from cds_service.review_site.json_view import coloured
from cds_service.review_site.words import html, template
from cds_service.rollups.days import SiteDays
from cds_service.rollups.filter import MOST_DAYS
from cds_service.signals.update import keep_judged

_NUMBER = re.compile("[0-9]{1,9}")  # of a plan
_WORDS: dict[str, Any] = {
    "verdicts": verdicts.VERDICTS,
    "responses": verdicts.RESPONSES,
    "causes": verdicts.CAUSES,
    "harms": verdicts.HARMS,
    "five_rights": verdicts.FIVE_RIGHTS,
    "keys": {"appropriate": "a", "inappropriate": "i", "malfunction": "m", "unsure": "u"},
}


def draw(asked: PageRequest, error: str = "") -> Page:
    """Return the page of a case. `error`: why its form was refused."""
    case = _case(asked)
    asked.audit("open case", BASE + case_path(case.id))
    database, zone = asked.database, ZoneInfo(asked.settings.time_zone)
    then = _knowledge(case, asked)
    read = verdicts.readings_of(database, case.id)
    reviewer = reviewer_of(asked)
    place = _place(asked, case, reviewer)
    events = events_around(database, case)
    data = {
        "case": _described(case, asked, then, zone),
        "card_json": case.drawn,
        "evidence": case_rows.evidence(case, then.known),
        "missing": case_rows.missing(case, then.known),
        "criteria": case_rows.criteria(case, then.known),
        "stood_back": case_rows.stood_back(case),
        "not_checked": case_rows.not_checked(case),
        "others": case_rows.others(case),
        "times": _times(case, asked),
        "sources": case.body.sources,
        "feedback": _feedback(case, asked, zone),
        "calls": [{**msgspec.to_builtins(one), "time": _time(one.at, zone)} for one in events],
        "readings": [_reading(one, zone) for one in verdicts.visible(reviewer, read)],
    }
    mine = next((one.opinion for one in read if one.reviewer == reviewer), None)
    only_html = {
        **_WORDS,
        "drawn": msgspec.json.decode(case.drawn) if case.drawn is not None else None,
        "markdown": html,
        "template": template,
        "coloured": coloured,
        "encoded": msgspec.json.encode,
        "chart": drawing(events, case.id.received_at, zone),
        "days": DAYS,
        "patient": bytes(case.call["patient"]).hex() if case.call["patient"] is not None else "",
        "most_days": MOST_DAYS,
        "cut": len(events) >= MOST_CALLS,
        "reviewer": reviewer,
        "role": verdicts.role_of(reviewer, read),
        "hidden": len(read) - len(data["readings"]),  # type: ignore[arg-type]
        "filled": _filled(asked.form, mine),
        "error": error,
        "place": place,
        "silent": case.evaluation is None or "evidence" not in case.evaluation,
        "saved": verdicts.VERDICTS.get(asked.query.get("saved", ""), ""),
        "saved_of": _saved_of(asked),
        "action": f"?{urlencode({'plan': place.plan, 'work': place.work})}" if place is not None else "",
    }
    return Page(f"Case: {case.id.card}", "case.html", data, only_html, status=400 if error else 200)


def judge(asked: PageRequest) -> Page | Response:
    """Keep the verdict of the form and open the next case of the plan; without one, the same case again."""
    case = _case(asked)
    reviewer = reviewer_of(asked)
    try:
        verdicts.reviewer_name(reviewer)
        opinion = verdicts.opinion_of(asked.form)
        place = _place(asked, case, reviewer)
        plan = place.plan if place is not None else None
        verdicts.keep(asked.database, case.id, reviewer, opinion, plan=plan, at=micros(asked.now))
        keep_judged(asked.database, SiteDays(asked.settings.time_zone), micros(asked.now))
    except verdicts.VerdictError as error:
        return draw(asked, str(error))
    own = case_path(case.id)
    if place is None:
        return remember(see_other(f"{own}?{urlencode({'saved': opinion.verdict})}"), reviewer)
    saved = urlencode({"plan": place.plan, "work": place.work, "saved": opinion.verdict, "of": own.removeprefix("/cases/")})
    following = next_to_do(samples(asked.database, place.plan), reviewer, place.work, place.position)
    return remember(see_other(f"{following.path if following is not None else '/queue'}?{saved}"), reviewer)


def _case(asked: PageRequest) -> Case:
    try:
        return find_case(asked.database, asked.path["call"], asked.path["card"], int(asked.path["n"]))
    except CaseNotFoundError as error:
        raise PageNotFoundError(str(error)) from None


def _knowledge(case: Case, asked: PageRequest) -> KnowledgeThen:
    wanted = asked.database.names.text(case.call["knowledge"])
    content_hash = str(case.evaluation["hash"]) if case.evaluation is not None else ""
    return knowledge_then(asked.database, wanted, asked.settings, asked.knowledge, case.id.card, content_hash)


class Place(msgspec.Struct, frozen=True):
    """Where the reader is in a plan: "3 of 52", how many are left to read in this role, and the cases beside."""

    plan: int
    work: Work
    position: int
    of: int
    left: int
    before: str  # address below /review, "" for none
    after: str


def _place(asked: PageRequest, case: Case, reviewer: str) -> Place | None:
    """Return the place in the plan that the address names; None without one, or where the case is not in it."""
    number, work = asked.query.get("plan", ""), asked.query.get("work", "first")
    if not _NUMBER.fullmatch(number) or work not in WORK:
        return None
    cases = samples(asked.database, int(number))
    here = next((one for one in cases if one.case == case.id), None)
    if here is None:
        return None
    chosen: Work = next(one for one in WORK if one == work)
    left = to_do(cases, reviewer, chosen)
    return Place(
        int(number),
        chosen,
        here.position,
        len(cases),
        len(left),
        _path(next((one for one in reversed(left) if one.position < here.position), None)),
        _path(next((one for one in left if one.position > here.position), None)),
    )


def _path(sample: Sample | None) -> str:
    return sample.path if sample is not None else ""


def _saved_of(asked: PageRequest) -> str:
    """Return the address of the case that was just judged; "" for anything that is no address of a case."""
    parts = asked.query.get("of", "").split("/")
    known = len(parts) == 3 and len(parts[0]) == 32 and parts[0].isalnum() and parts[2].isdecimal()
    return f"/cases/{'/'.join(parts)}" if known and parts[1].replace("-", "").isalnum() else ""


def _filled(form: Mapping[str, str], mine: verdicts.Opinion | None) -> dict[str, Any]:
    """Return what the form shows: what was just sent, else the reviewer's last opinion."""
    if form or mine is None:
        rights = [one for one in verdicts.FIVE_RIGHTS if f"right_{one}" in form]
        return {name: form.get(name, "") for name in ("verdict", "response", "cause", "harm", "comment")} | {"rights": rights}
    return {**msgspec.structs.asdict(mine), "rights": list(mine.five_rights)}


def _described(case: Case, asked: PageRequest, then: KnowledgeThen, zone: ZoneInfo) -> dict[str, Any]:
    name, call, evaluation = asked.database.names.text, case.call, case.evaluation or {}
    card = then.known.card(case.id.card) if then.known is not None else None
    state = name(case.card["state"]) if case.card is not None else ""
    return {
        "call": case.id.call_id.hex(),
        "card": case.id.card,
        "nth": case.id.nth,
        "of": case.of,
        "title": card.file.title if card is not None else "",
        "received_at": _time(case.id.received_at, zone),
        **{field: name(call[field]) for field in ("tenant", "client", "service", "hook", "jurisdiction", "dialect")},
        "status": call["status"],
        "call_outcome": name(call["outcome"]),
        "degraded": name(call["degraded"] or 0).split(),
        "withdrawn": case.withdrawn,
        "outcome": case.outcome,
        "applies": evaluation.get("applies", True),
        "state": state,
        "mode": name(case.card["mode"]) if case.card is not None else "",
        "indicator": name(case.card["indicator"]) if case.card is not None else "",
        "version": evaluation.get("version") or (name(case.card["version"]) if case.card is not None else ""),
        "row": int(evaluation.get("row", -1)) + 1,
        "reason": evaluation.get("reason", ""),
        "gave_way_to": evaluation.get("gave_way_to", ""),
        "repeats": evaluation.get("repeats", ""),
        "error": evaluation.get("error", ""),
        "order": case.order_key,
        "hook_instance": case.body.hook_instance,
        "service_version": name(call["service_version"]),
        "knowledge": then.hash,
        "knowledge_from": then.source,
    }


def _times(case: Case, asked: PageRequest) -> dict[str, Any]:
    sql = "SELECT log_us, total_us, delivered FROM log.delivery WHERE received_at = :at AND call_id = :call"
    sent = asked.database.one(sql, at=case.id.received_at, call=case.id.call_id) or {}
    took = case.call["took_us"]
    return {
        "phases": case.body.timings,
        "until_log_ms": took / 1000 if took is not None else None,
        "log_ms": sent["log_us"] / 1000 if sent.get("log_us") is not None else None,
        "total_ms": sent["total_us"] / 1000 if "total_us" in sent else None,
        "delivered": bool(sent["delivered"]) if sent else None,
        "clock_offset_ms": case.call["clock_offset_ms"],
        "bytes_in": case.call["bytes_in"],
        "bytes_out": case.call["bytes_out"],
    }


def _feedback(case: Case, asked: PageRequest, zone: ZoneInfo) -> list[dict[str, Any]]:
    if case.card is None:
        return []
    name = asked.database.names.text
    return [
        {
            "outcome": name(row["outcome"]),
            "reason": name(row["reason_display"]) or name(row["reason_code"]),
            "accepted": msgspec.json.decode(row["accepted"] or "[]"),
            "comment_length": row["comment_length"],
            "at": _time(row["outcome_at"] or row["received_at"], zone),
            "received_at": _time(row["received_at"], zone),
            "after_s": round(((row["outcome_at"] or row["received_at"]) - case.id.received_at) / 1e6, 1),
            "counts": not place,
        }
        for place, row in enumerate(feedback_of(asked.database, case.card))
    ]


def _reading(one: verdicts.Reading, zone: ZoneInfo) -> dict[str, Any]:
    return {"reviewer": one.reviewer, "role": one.role, "at": _time(one.at, zone), **msgspec.to_builtins(one.opinion)}


def _time(at: int, zone: ZoneInfo) -> str:
    return local(at, zone).isoformat(sep=" ", timespec="seconds")


ROUTE = PageRoute("/cases/{call}/{card}/{n:number}", draw, "reviewer", post=judge, post_role="reviewer", scoped=True)
