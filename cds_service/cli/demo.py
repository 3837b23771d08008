"""Run `cds-service demo-log`: make a log as months of service leave it, to try the review pages with."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from cds_service.clock import utc_now
from cds_service.settings import load_settings


def add_demo_command(
    commands: argparse._SubParsersAction[Any], instant: Callable[[str], datetime], at_least_one: Callable[[str], int]
) -> None:
    """Add `demo-log` to `commands`; `instant` and `at_least_one` read a time and a number from an argument."""
    demo = commands.add_parser("demo-log", help="make a log of made-up patients, by firing their calls at the real engine")
    demo.add_argument("--days", type=at_least_one, default=90, help="how many days before the end it begins; default 90")
    demo.add_argument("--calls-per-day", type=at_least_one, default=300, metavar="N", help="as a mean over a week; default 300")
    demo.add_argument("--seed", type=int, default=1, metavar="N", help="another seed makes other patients; default 1")
    demo.add_argument("--until", type=instant, help="where it ends, an ISO time, UTC where no zone is given; default now")
    demo.add_argument(
        "--into", type=Path, metavar="FOLDER", help="write alerts.sqlite3 there, in place of the log that CDS_LOG_PATH names"
    )
    demo.set_defaults(run=_demo_log)


def _demo_log(options: argparse.Namespace) -> int:
    from cds_service.app import create_app
    from cds_service.authoring.progress import Progress
    from cds_service.database import review_path
    from cds_service.demo.changes import ChangedTextError
    from cds_service.demo.run import make_log
    from cds_service.demo.schedule import Period
    from cds_service.demo.target import ForeignLogError, Mark, clear_for
    from cds_service.telemetry.events import LOGGER

    settings = load_settings()
    if settings.profile != "dev":
        print("demo-log makes up patients, which have no place beside those of a production profile", file=sys.stderr)
        return 2
    # Calls with missing data are answered with a notice, so that the pages have more to show than refusals.
    settings = settings.model_copy(update={"on_unavailable": "card", "checking_seconds": 0})
    if options.into is not None:
        settings = settings.model_copy(update={"log_path": options.into / "alerts.sqlite3", "review_path": None})
    period = Period.of_days(options.days, options.until or utc_now())
    mark = Mark(options.days, options.calls_per_day, options.seed, period.end.isoformat())
    level = LOGGER.level
    LOGGER.setLevel(logging.ERROR)  # refusals and calls about the wrong patient are part of the picture
    progress = Progress(sys.stderr, every=1, what="calls")
    try:
        clear_for(settings.log_path, review_path(settings), mark)
        with progress.of("demo-log", round((period.end - period.start).total_seconds())) as shown:
            made = asyncio.run(
                make_log(
                    settings,
                    lambda own, runtime: create_app(own, runtime=runtime),
                    period,
                    options.calls_per_day,
                    options.seed,
                    lambda at, count: shown.advance(round((at - period.start).total_seconds()), count),
                )
            )
    except (ForeignLogError, ChangedTextError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        LOGGER.setLevel(level)
    statuses = ", ".join(f"{count:,} x {status}" for status, count in sorted(made.statuses.items()))
    print(f"{settings.log_path}: {made.calls:,} calls ({statuses}), {made.cards:,} cards, {made.answers:,} items of feedback")
    return 0
