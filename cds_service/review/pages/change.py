"""Make the page of one change: why, proof, signatures, what is missing, and what came of it."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from starlette.responses import Response

from cds_service.alert_log import micros
from cds_service.changes.change import Change, ChangeError, find_change, sign, take_back, withdraw
from cds_service.changes.requirements import requirements
from cds_service.replay.backtest import Backtest, open_backtest
from cds_service.replay.compare import FOUR
from cds_service.review.backtest_figures import figures, judged_between, verdict_of
from cds_service.review.backtest_view import described
from cds_service.review.change_effect import effect, shadow_days
from cds_service.review.page import BASE, BadFormError, Page, PageNotFoundError, PageRequest, PageRoute, see_other
from cds_service.review.plans import case_path
from cds_service.review.timeline import local
from cds_service.review.verdicts import VERDICTS, CaseId

_DO = {"sign": sign, "take back": take_back, "withdraw": withdraw}
_COLUMNS = ("at", "reader", "owner", "action", "note")


def draw(asked: PageRequest, error: str = "") -> Page:
    """Return the page. `error`: why a signature was refused."""
    change = _change(asked)
    backtest = _backtest(asked, change)
    database, zone = asked.database, ZoneInfo(asked.settings.time_zone)
    needed = requirements(database, change, backtest)
    steps = [
        {"at": _time(one.at, zone), "reader": one.reader, "owner": one.owner, "action": one.action, "note": one.note}
        for one in change.steps
    ]
    data: dict[str, Any] = {
        "change": {
            **{
                name: getattr(change, name)
                for name in ("id", "author", "card", "candidate", "base", "backtest", "signal", "why", "state")
            },
            "at": _time(change.at, zone),
        },
        "requirements": needed,
        "ready": all(one.met for one in needed),
        "proof": described(backtest, asked) if backtest is not None else None,
        "figures": _figures(change, backtest),
        "shadow_days": shadow_days(database, change, asked.settings.time_zone),
        "cases": _cases(asked, change),
        "steps": steps,
        "effect": effect(database, change, asked.settings.time_zone),
    }
    reader = asked.reader
    only_html = {
        "error": error,
        "signatures": change.signatures,
        "mine": change.signed_by(reader.name),
        "may_sign": reader.may("reviewer") and change.state == "open",
        "may_withdraw": reader.may("rule owner") and change.state == "open",
        "verdicts": VERDICTS | {"disputed": "Readers differ", "": "Not settled"},
        "name": reader.name,
    }
    title = f"Change {change.id}: {change.card}"
    return Page(title, "change.html", data, only_html, rows=steps, columns=_COLUMNS, status=400 if error else 200)


def act(asked: PageRequest) -> Page | Response:
    """Sign, take the signature back, or withdraw the change."""
    change, todo = _change(asked), asked.form.get("do", "")
    if todo not in _DO:
        raise BadFormError("Choose to sign, to take your signature back, or to withdraw the change")
    if todo == "withdraw":
        asked.reader.require("rule owner")
    if todo == "sign" and ((backtest := _backtest(asked, change)) is None or backtest.result is None):
        return draw(asked, "The backtest of this change is not there, so there is nothing that a signature could rest on")
    asked.audit(f"{todo} change", f"/review/changes/{change.id}", detail={"candidate": change.candidate})
    try:
        _DO[todo](asked.database, change, asked.reader, at=micros(asked.now))
    except ChangeError as error:
        return draw(asked, str(error))
    return see_other(f"/changes/{change.id}")


def _change(asked: PageRequest) -> Change:
    change = find_change(asked.database, int(asked.path["n"]))
    if change is None:
        raise PageNotFoundError("There is no such change")
    return change


def _backtest(asked: PageRequest, change: Change) -> Backtest | None:
    try:
        return open_backtest(asked.settings, change.backtest)
    except FileNotFoundError:
        return None


def _figures(change: Change, backtest: Backtest | None) -> dict[str, Any] | None:
    result = backtest.result if backtest is not None else None
    found = None if result is None else next((one for one in figures(result.total) if one.card == change.card), None)
    if found is None:
        return None
    counts = found.counts
    return {
        **{name: getattr(counts, name) for name in (*FOUR, "apart", "shown_old", "shown_new")},
        "difference": found.difference,
        "low": found.interval.low,
        "high": found.interval.high,
        "per_100_orders_old": found.per_100_orders_old,
        "per_100_orders_new": found.per_100_orders_new,
    }


def _cases(asked: PageRequest, change: Change) -> list[dict[str, Any]]:
    if not change.cases or not asked.reader.may("reviewer"):
        return []
    since, until = min(one.received_at for one in change.cases), max(one.received_at for one in change.cases) + 1
    judged = judged_between(asked.database, since, until)
    zone = ZoneInfo(asked.settings.time_zone)
    return [
        {
            "path": BASE + case_path(CaseId(bytes.fromhex(one.call_id), one.received_at, one.card, one.nth)),
            "time": _time(one.received_at, zone),
            "verdict": verdict_of(judged.get((bytes.fromhex(one.call_id), one.card, one.nth), [])),
        }
        for one in change.cases
    ]


def _time(at: int, zone: ZoneInfo) -> str:
    return local(at, zone).isoformat(sep=" ", timespec="minutes")


ROUTE = PageRoute("/changes/{n:number}", draw, "viewer", csv=True, post=act, post_role="reviewer")
