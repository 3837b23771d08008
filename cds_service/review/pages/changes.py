"""Make the list of changes, and take a new one."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.responses import Response

from cds_service.alert_log import micros
from cds_service.changes.change import Case, Change, ChangeError, changes, propose
from cds_service.files.yaml_file import KnowledgeError
from cds_service.replay.backtest import Backtest, CandidateChangedError
from cds_service.replay.candidate import origin_of
from cds_service.review.backtest_figures import judged_between, readings_of
from cds_service.review.backtest_view import described, find_backtest
from cds_service.review.both_decisions import candidate_of
from cds_service.review.page import BadFormError, Page, PageRequest, PageRoute, see_other
from cds_service.review.pages.what_if import signal_of
from cds_service.review.timeline import local

_COLUMNS = ("id", "card", "state", "at", "author", "signed", "signal", "cases", "backtest", "candidate", "why")


def draw(asked: PageRequest, error: str = "") -> Page:
    """Return all changes, and the form for a new one where the address names a backtest. `error`: why it was refused."""
    zone = ZoneInfo(asked.settings.time_zone)
    rows = [_row(one, zone) for one in changes(asked.database)]
    proof = asked.form.get("backtest") or asked.query.get("backtest") or ""
    backtest = find_backtest(asked, proof) if proof else None
    known = described(backtest, asked) if backtest is not None else None
    data = {"changes": rows, "proof": known}
    only_html = {
        "signal": signal_of(asked),
        "cases": len(_judged(asked, backtest, known["card"])) if backtest is not None and known is not None else 0,
        "cards": [one.id for one in asked.knowledge.cards if one.file.status != "retired"],
        "why": asked.form.get("why", ""),
        "error": error,
        "may_propose": asked.reader.may("rule owner"),
        "name": asked.reader.name,
    }
    return Page("Changes", "changes.html", data, only_html, rows=rows, columns=_COLUMNS, status=400 if error else 200)


def make(asked: PageRequest) -> Page | Response:
    """Keep a new change, with the judged cases of its backtest as reasons."""
    backtest = find_backtest(asked, asked.form.get("backtest", ""))
    origin = origin_of(backtest)
    card = origin.card if origin is not None else asked.form.get("card", "")
    if backtest.result is None:
        return draw(asked, "The backtest is not finished")
    try:
        candidate = candidate_of(backtest, asked.settings).knowledge
    except (KnowledgeError, CandidateChangedError) as error:
        raise BadFormError(str(error)) from None
    changed = candidate.card(card)
    if changed is None:
        return draw(asked, "Choose the card that is changed")
    asked.audit("propose change", f"/review/backtests/{backtest.spec.id}", asked.form.get("why", "")[:200], {"card": card})
    try:
        number = propose(
            asked.database,
            asked.reader,
            card=card,
            card_hash=changed.hash,
            candidate=backtest.spec.candidate,
            base=origin.base if origin is not None else "",
            backtest=backtest.spec.id,
            signal=signal_of(asked),
            why=asked.form.get("why", ""),
            cases=_judged(asked, backtest, card),
            at=micros(asked.now),
        )
    except ChangeError as error:
        return draw(asked, str(error))
    return see_other(f"/changes/{number}")


def _judged(asked: PageRequest, backtest: Backtest, card: str) -> list[Case]:
    """Return the judged cases of the card that come out differently."""
    judged = judged_between(asked.database, backtest.spec.selection.since, backtest.spec.selection.until)
    return [
        Case(one.call_id, one.received_at, one.card, one.nth)
        for one in (backtest.outlines() if judged else ())
        if one.card == card and readings_of(one, judged)
    ]


def _row(one: Change, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "id": one.id,
        "card": one.card,
        "state": one.state,
        "at": local(one.at, zone).isoformat(sep=" ", timespec="minutes"),
        "author": one.author,
        "signed": ", ".join(step.reader for step in one.signatures),
        "signal": one.signal,
        "cases": len(one.cases),
        "backtest": one.backtest,
        "candidate": one.candidate,
        "why": one.why,
    }


def propose_address(backtest: str, signal: int | None) -> str:
    """Return the address, below `/review`, of the form for a change that a backtest proves."""
    return f"/changes?{urlencode({'backtest': backtest} | ({'signal': signal} if signal else {}))}"


ROUTE = PageRoute("/changes", draw, "viewer", nav="Changes", csv=True, post=make, post_role="rule owner")
