"""Run `cds-service report`: write the monthly report as one HTML file."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import Any

from cds_service.settings import load_settings


def add_report_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `report` to the commands."""
    report = commands.add_parser("report", help="write a month of the log as one HTML file that prints, without patient data")
    report.add_argument("--month", required=True, metavar="YYYY-MM")
    report.add_argument("--tenant", help="of this tenant only; of several together, small counts are hidden")
    report.add_argument("--client", help="of this client only")
    report.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    from cds_service.clock import utc_now
    from cds_service.database import DatabaseError, open_site_database
    from cds_service.exports.month_figures import Month
    from cds_service.knowledge.site_knowledge import load_knowledge
    from cds_service.review.drawing import Templates
    from cds_service.review.monthly_report import monthly_report, report_style
    from cds_service.rollups.days import SiteDays
    from cds_service.rollups.filter import Filter
    from cds_service.rollups.rollup import roll_up

    settings = load_settings()
    try:
        month = Month.parse(options.month)
    except ValueError as error:
        print(f"--month: {error}", file=sys.stderr)
        return 2
    chosen = Filter.of(**{name: value for name in ("tenant", "client") if (value := getattr(options, name)) is not None})
    try:
        with closing(open_site_database(settings, limit_ms=None, writes_review=True)) as database:
            roll_up(database, SiteDays(settings.time_zone), utc_now)
            report = monthly_report(database, load_knowledge(settings, before_approval=True), month, chosen)
    except DatabaseError as error:
        print(f"the report can't be made: {error}", file=sys.stderr)
        return 1
    written = utc_now().isoformat(sep=" ", timespec="minutes")
    drawing = Templates(base="", banner="", navigation=())
    sys.stdout.write(drawing.file("report_file.html", report=report, style=report_style(), written=written))
    return 0
