"""Make the page of one case that a backtest decides differently, with both decisions side by side."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec

from cds_service.files.yaml_file import KnowledgeError
from cds_service.replay.again import Again
from cds_service.replay.backtest import Backtest, CandidateChangedError
from cds_service.replay.compare import Discordant
from cds_service.replay.run_backtest import PartOfBacktest
from cds_service.review.backtest_view import find_backtest
from cds_service.review.both_decisions import Side, candidate_of, compared, with_candidate
from cds_service.review.case import Case, CaseNotFoundError, body_of, find_call, find_case
from cds_service.review.discordant_list import CHANGES, beside, chosen_of, listed
from cds_service.review.knowledge_then import knowledge_then
from cds_service.review.page import BASE, Page, PageNotFoundError, PageRequest, PageRoute
from cds_service.review.plans import case_path
from cds_service.review.reviewer import reviewer_of
from cds_service.review.timeline import local
from cds_service.review.verdicts import VERDICTS, CaseId
from cds_service.review_site.words import html


def draw(asked: PageRequest) -> Page:
    """Return both decisions, with the cards as drawn and every criterion that differs."""
    backtest = find_backtest(asked, asked.path["backtest"])
    number = int(asked.path["n"])
    found = backtest.case(number)
    if found is None:
        raise PageNotFoundError("The backtest has no such case")
    asked.audit("open case", f"{BASE}/backtests/{backtest.spec.id}/cases/{number}")
    case, again, why = _decided(asked, backtest, found)
    old, new = _sides(asked, backtest, found, case, again)
    chosen = chosen_of(asked)
    cases = listed(asked.database, backtest, chosen)
    before, after, place, of = beside(cases, number)
    verdict = next((one.seen_by(reviewer_of(asked)) for one in cases if one.number == number), "")
    zone = ZoneInfo(asked.settings.time_zone)
    data: dict[str, Any] = {
        "backtest": backtest.spec.id,
        "number": number,
        "case": {
            "time": local(found.received_at, zone).isoformat(sep=" ", timespec="seconds"),
            **{name: getattr(found, name) for name in ("call_id", "card", "nth", "hook", "client", "change")},
        },
        "old": old.described() if old is not None else None,
        "new": new.described() if new is not None else None,
        "shown_old": found.shown_old,
        "shown_new": found.shown_new,
        "recorded_rows": {"old": found.old, "new": found.new},
        "criteria": compared(old.criteria(), new.criteria()) if old is not None and new is not None else [],
        "verdict": verdict,
        "why_not": why,
    }
    only_html = {
        "place": place,
        "of": of,
        "query": f"?{urlencode(chosen.query)}" if chosen.query else "",
        "before": before,
        "after": after,
        "changes": CHANGES,
        "verdicts": VERDICTS | {"disputed": "Readers differ", "judged": "Judged by another reader"},
        "markdown": html,
        "drawn": {side: _json(one.case.drawn) for side, one in (("old", old), ("new", new)) if one is not None},
        "case_path": case_path(case.id) if case is not None and found.nth else "",
    }
    return Page(f"Case {number} of backtest {backtest.spec.id[:8]}: {found.card}", "backtest_case.html", data, only_html)


def _json(card: msgspec.Raw | None) -> Any:
    return msgspec.json.decode(card) if card is not None else None


def _decided(asked: PageRequest, backtest: Backtest, found: Discordant) -> tuple[Case | None, Again | None, str]:
    """Return the case in the log, what the candidate decides of it, and why either is not there."""
    try:
        case = _case(asked, found)
    except CaseNotFoundError as error:
        return None, None, str(error)
    patient = case.call["patient"]
    try:
        cards = candidate_of(backtest, asked.settings)
        part = PartOfBacktest(asked.settings, backtest.folder, asked.database, cards)
        again = part.again(case.id.call_id, case.id.received_at, bytes(patient) if patient is not None else None)
    except (KnowledgeError, CandidateChangedError) as error:
        return case, None, str(error)
    return case, again, "" if again is not None else "The record can't be decided again now, as its files have changed since"


def _case(asked: PageRequest, found: Discordant) -> Case:
    if found.nth:
        return find_case(asked.database, found.call_id, found.card, found.nth)
    call = find_call(asked.database, found.call_id)
    case = CaseId(bytes(call["id"]), call["received_at"], found.card, 1)
    return Case(case, call, body_of(asked.database, call), None, 1, None, None, withdrawn=False)


def _sides(
    asked: PageRequest, backtest: Backtest, found: Discordant, case: Case | None, again: Again | None
) -> tuple[Side | None, Side | None]:
    if case is None:
        return None, None
    wanted = asked.database.names.text(case.call["knowledge"])
    content_hash = str((case.evaluation or {}).get("hash", ""))
    then = knowledge_then(asked.database, wanted, asked.settings, asked.knowledge, found.card, content_hash)
    old = Side(case, then.known)
    if again is None:
        return old, None
    return old, Side(with_candidate(case, again, found), candidate_of(backtest, asked.settings).knowledge)


ROUTE = PageRoute("/backtests/{backtest}/cases/{n:number}", draw, "reviewer")
