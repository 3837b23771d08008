"""Run `cds-service demo-log`: make a log as months of service leave it, to try the review pages with."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cds_service.clock import utc_now
from cds_service.settings import Settings, load_settings
from cds_service.telemetry.events import LOGGER

if TYPE_CHECKING:
    from fastapi import FastAPI

    from cds_service.demo.run import Made
    from cds_service.runtime import Runtime

_MARKED = 50  # calls between two writings of the mark, from which a page tells how far it is


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
    from cds_service.demo.changes import ChangedTextError
    from cds_service.demo.target import ForeignLogError, review_line

    settings = load_settings()
    if settings.profile != "dev":
        print("demo-log makes up patients, which have no place beside those of a production profile", file=sys.stderr)
        return 2
    # Calls with missing data are answered with a notice, so that the pages have more to show than refusals.
    settings = settings.model_copy(update={"on_unavailable": "card"})
    if options.into is None and settings.log_database_url:
        print(
            "this site's log is shipped to CDS_LOG_DATABASE_URL, where made-up records have no place: use --into", file=sys.stderr
        )
        return 2
    if options.into is not None:
        settings = settings.model_copy(update={"log_path": options.into / "alerts.sqlite3", "review_path": None})
    try:
        made = _make(options, settings)
    except (ForeignLogError, ChangedTextError) as error:
        print(error, file=sys.stderr)
        return 1
    statuses = ", ".join(f"{count:,} x {status}" for status, count in sorted(made.statuses.items()))
    print(f"{settings.log_path}: {made.calls:,} calls ({statuses}), {made.cards:,} cards, {made.answers:,} items of feedback")
    print(f"The pages over it, with the cards of its last update:\n\n    {review_line(settings.log_path)}\n")
    return 0


def _make(options: argparse.Namespace, settings: Settings) -> Made:
    """Make the log with its mark, and show the progress. Raises ForeignLogError, ChangedTextError."""
    from cds_service.app import create_app
    from cds_service.authoring.progress import Progress
    from cds_service.database import review_path
    from cds_service.demo.changes import changes, write_cards
    from cds_service.demo.mark import Mark, write_mark
    from cds_service.demo.run import make_log
    from cds_service.demo.schedule import Period
    from cds_service.demo.target import clear_for, made_up_cards
    from cds_service.files.paths import cards_dir

    path, days, calls_per_day, seed = settings.log_path, options.days, options.calls_per_day, options.seed
    period = Period.of_days(days, options.until or utc_now())
    mark = Mark(days=days, calls_per_day=calls_per_day, seed=seed, until=period.end, written_at=utc_now())

    def app(own: Settings, runtime: Runtime) -> FastAPI:
        return create_app(own, runtime=runtime)

    def on_call(at: datetime, calls: int) -> None:
        shown.advance(round((at - period.start).total_seconds()), calls)
        if calls % _MARKED == 0:
            write_mark(path, replace(mark, calls=calls, reached=at, written_at=utc_now()))

    clear_for(path, review_path(settings))
    write_mark(path, mark)
    with (
        _only_errors(),
        Progress(sys.stderr, every=1, what="calls").of("demo-log", round((period.end - period.start).total_seconds())) as shown,
    ):
        made = asyncio.run(make_log(settings, app, period, calls_per_day, seed, on_call))
    write_cards(cards_dir(), made_up_cards(path), changes(period))
    write_mark(path, replace(mark, calls=made.calls, reached=period.end, written_at=utc_now(), finished=True))
    return made


@contextmanager
def _only_errors() -> Iterator[None]:
    """Keep the service's warnings off the terminal: refused calls are part of the picture."""
    level = LOGGER.level
    LOGGER.setLevel(logging.ERROR)
    try:
        yield
    finally:
        LOGGER.setLevel(level)
