"""Delete backtests that hold evidence of records older than the site keeps."""

from __future__ import annotations

import shutil
from pathlib import Path

from cds_service.replay.backtest import Backtest, backtests_folder
from cds_service.settings import Settings


def delete_old_backtests(settings: Settings, before: int, *, dry_run: bool = False) -> int:
    """Delete each backtest with a case from before a time (µs since 1970); return how many. Raises OSError.

    One that is not finished goes where it covers such times at all, because its parts are not in the order of time.
    """
    old = [one for one in map(Backtest, _folders(settings)) if _oldest(one) < before]
    for one in old if not dry_run else ():
        shutil.rmtree(one.folder)
    return len(old)


def _folders(settings: Settings) -> list[Path]:
    return [path.parent for path in sorted(backtests_folder(settings).glob("*/spec.json"))]


def _oldest(backtest: Backtest) -> int:
    """Return the receipt of the oldest case; of one without cases the end of what it covers."""
    if backtest.result is None:
        return backtest.spec.selection.since
    return next((one.received_at for one in backtest.outlines()), backtest.spec.selection.until)
