"""Find a backtest, and describe what it is of and how far it is."""

from __future__ import annotations

import re
from typing import Any
from zoneinfo import ZoneInfo

from cds_service.replay.backtest import Backtest, open_backtest
from cds_service.replay.backtest_queue import BacktestQueue
from cds_service.replay.candidate import origin_of
from cds_service.review.page import PageNotFoundError, PageRequest
from cds_service.review.timeline import local

_ID = re.compile("[0-9a-f]{16}")


def find_backtest(asked: PageRequest, backtest_id: str) -> Backtest:
    """Return a backtest. Raises PageNotFoundError."""
    if not _ID.fullmatch(backtest_id):
        raise PageNotFoundError("There is no such backtest")
    try:
        return open_backtest(asked.settings, backtest_id)
    except FileNotFoundError:
        raise PageNotFoundError("There is no such backtest. Its records may have been deleted since") from None


def described(backtest: Backtest, asked: PageRequest) -> dict[str, Any]:
    """Return what a backtest is of and where it stands."""
    spec, origin = backtest.spec, origin_of(backtest)
    chosen, zone = spec.selection, ZoneInfo(asked.settings.time_zone)
    return {
        "id": spec.id,
        "candidate": spec.candidate,
        "card": origin.card if origin is not None else "",
        "base": origin.base if origin is not None else "",
        "changes": origin.changes if origin is not None else (),
        "since": _minute(chosen.since, zone),
        "until": _minute(chosen.until, zone),
        "days": round((chosen.until - chosen.since) / 86_400_000_000, 1) if chosen.since else None,
        "hook": chosen.hook,
        "client": chosen.client,
        "share": chosen.share,
        "seed": chosen.seed,
        "history_since": _minute(spec.history_since, zone),
        "program": spec.program,
        "standing": BacktestQueue(asked.settings).standing(backtest),
    }


def _minute(at: int, zone: ZoneInfo) -> str:
    return local(at, zone).isoformat(sep=" ", timespec="minutes") if at else ""
