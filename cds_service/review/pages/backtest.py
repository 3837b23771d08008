"""Make the page of one backtest: how far it is, what would have changed, what it can't say; stop and resume it."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from cds_service.alert_log import micros
from cds_service.replay.answerable import WHY
from cds_service.replay.backtest import Backtest, Result
from cds_service.replay.backtest_queue import BacktestQueue
from cds_service.replay.compare import FOUR, CardCounts
from cds_service.review.backtest_figures import CardFigures, figures, judged
from cds_service.review.backtest_view import described, find_backtest
from cds_service.review.page import BadFormError, Page, PageRequest, PageRoute, see_other
from cds_service.review.pages.changes import propose_address
from cds_service.review.pages.what_if import signal_of
from cds_service.review.verdicts import VERDICTS

_REFRESH_SECONDS = 2  # of a page that waits, until the reader stops it
_COLUMNS = (
    "card",
    "both",
    "only_old",
    "only_new",
    "neither",
    "apart",
    "difference",
    "low",
    "high",
    "p",
    "per_100_orders_old",
    "per_100_orders_new",
    "shown_old",
    "shown_new",
)
_HELD_BACK = ("gave_way", "capped", "repeated")


def draw(asked: PageRequest) -> Page:
    """Return how far the backtest is, and its result once it is done."""
    backtest = find_backtest(asked, asked.path["backtest"])
    queue = BacktestQueue(asked.settings)
    queue.keep_working()
    known, result = described(backtest, asked), backtest.result
    cards = [] if result is None else [_card(one) for one in figures(result.total)]
    data: dict[str, Any] = {"backtest": known, "result": None if result is None else _result(asked, backtest, result, cards)}
    waiting = known["standing"].progress in ("running", "waiting") and "still" not in asked.query
    own = next((one for one in cards if one["card"] == known["card"]), None)
    only_html = {
        "own": own,
        "changed": [one for one in cards if _changed(one) and one is not own],
        "same": sum(not _changed(one) for one in cards),
        "waiting": waiting,
        "may_run": asked.reader.may("reviewer"),
        "may_open": asked.reader.may("reviewer"),
        "may_propose": asked.reader.may("rule owner"),
        "verdicts": VERDICTS | {"disputed": "Readers differ"},
        "signal": signal_of(asked),
        "to_change": propose_address(backtest.spec.id, signal_of(asked)),
    }
    headers = {"refresh": str(_REFRESH_SECONDS)} if waiting else {}
    title = f"Backtest {backtest.spec.id[:8]}{': ' + known['card'] if known['card'] else ''}"
    return Page(title, "backtest.html", data, only_html, rows=cards, columns=_COLUMNS, headers=headers)


def steer(asked: PageRequest) -> Page | Response:
    """Stop the backtest, or put it into the queue again."""
    backtest = find_backtest(asked, asked.path["backtest"])
    queue, todo = BacktestQueue(asked.settings), asked.form.get("do", "")
    if todo not in ("stop", "resume"):
        raise BadFormError("Choose to stop or to resume it")
    asked.audit(f"{todo} backtest", f"/review/backtests/{backtest.spec.id}")
    if todo == "stop":
        queue.stop(backtest)
    else:
        queue.ask(backtest, micros(asked.now))
    signal = signal_of(asked)
    return see_other(f"/backtests/{backtest.spec.id}{'?' + urlencode({'signal': signal}) if signal else ''}")


def _card(one: CardFigures) -> dict[str, Any]:
    counts = one.counts
    return {
        "card": one.card,
        **{name: getattr(counts, name) for name in (*FOUR, "apart", "shown_old", "shown_new")},
        "difference": one.difference,
        "low": one.interval.low,
        "high": one.interval.high,
        "p": one.p,
        "per_100_orders_old": one.per_100_orders_old,
        "per_100_orders_new": one.per_100_orders_new,
        "instead": _instead(counts),
        "outcomes_old": counts.outcomes_old,
        "outcomes_new": counts.outcomes_new,
    }


def _instead(counts: CardCounts) -> dict[str, tuple[int, int]]:
    """Return what fired and was held back, as recorded and with the candidate, by why."""
    return {name: (counts.outcomes_old.get(name, 0), counts.outcomes_new.get(name, 0)) for name in _HELD_BACK}


def _changed(one: dict[str, Any]) -> bool:
    return bool(
        one["outcomes_old"] != one["outcomes_new"] or one["only_old"] or one["only_new"] or one["shown_old"] != one["shown_new"]
    )


def _result(asked: PageRequest, backtest: Backtest, result: Result, cards: list[dict[str, Any]]) -> dict[str, Any]:
    by_verdict: Counter[tuple[str, str, str]] = judged(asked.database, backtest)
    total = result.total
    return {
        "records": total.records,
        "answered": total.answered,
        "orders": total.orders,
        "unanswerable": [
            {"why": WHY.get(why, why), "reason": why, "n": n}  # type: ignore[call-overload]
            for why, n in sorted(total.unanswerable.items(), key=lambda one: (-one[1], one[0]))
        ],
        "unanswerable_before": total.unanswerable_before,
        "counts": msgspec.to_builtins(total),
        "cards": cards,
        "discordant": result.discordant,
        "judged": [
            {"card": card, "change": change, "verdict": verdict, "n": n}
            for (card, change, verdict), n in sorted(by_verdict.items())
        ],
        "history": result.history,
        "independence": result.independence,
    }


ROUTE = PageRoute("/backtests/{backtest}", draw, "viewer", csv=True, post=steer, post_role="reviewer")
