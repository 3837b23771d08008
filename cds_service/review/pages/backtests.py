"""Make the list of backtests."""

from __future__ import annotations

from typing import Any

from cds_service.replay.backtest import Backtest
from cds_service.replay.backtest_queue import BacktestQueue
from cds_service.review.backtest_view import described
from cds_service.review.page import Page, PageRequest, PageRoute

_COLUMNS = (
    "id",
    "card",
    "changes",
    "since",
    "until",
    "hook",
    "client",
    "share",
    "candidate",
    "progress",
    "records",
    "discordant",
)


def draw(asked: PageRequest) -> Page:
    """Return all backtests, the newest period first."""
    queue = BacktestQueue(asked.settings)
    queue.keep_working()
    found = [_row(one, asked) for one in queue.backtests()]
    found.sort(key=lambda one: (one["until"], one["id"]), reverse=True)
    rows = [
        one | {"changes": "; ".join(f"{each.name} {each.before} -> {each.after}" for each in one["changes"])} for one in found
    ]
    return Page("Backtests", "backtests.html", {"backtests": found}, rows=rows, columns=_COLUMNS)


def _row(backtest: Backtest, asked: PageRequest) -> dict[str, Any]:
    result = backtest.result
    known = described(backtest, asked)
    return known | {
        "progress": known["standing"].progress,
        "records": result.total.records if result is not None else None,
        "discordant": result.discordant if result is not None else None,
    }


ROUTE = PageRoute("/backtests", draw, "viewer", nav="Backtests", csv=True)
