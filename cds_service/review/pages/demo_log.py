"""Offer to fill an empty log with calls of made-up patients, for a machine without patient data."""

from __future__ import annotations

import os
import subprocess
import sys
from threading import Thread
from typing import Literal

from starlette.responses import Response

from cds_service.demo.mark import Mark, read_mark, write_mark
from cds_service.demo.target import review_line
from cds_service.review.page import BadFormError, Page, PageRequest, PageRoute, see_other

PATH = "/demo-log"
_DAYS = {"7": "a week", "30": "a month", "90": "three months"}
State = Literal["not there", "records", "running", "stopped", "finished"]


def draw(asked: PageRequest) -> Page:
    """Return the page with a button, or with how far the made-up log is."""
    mark = read_mark(asked.settings.log_path)
    state = _state(asked, mark)
    data: dict[str, object] = {"state": state}
    if mark is not None:
        data |= {"calls": mark.calls, "days": mark.days, "percent": int(100 * mark.share)}
    return Page("Made-up log", "demo_log.html", data, only_html={"periods": _DAYS, "line": review_line(asked.settings.log_path)})


def start(asked: PageRequest) -> Response:
    """Start `cds-service demo-log` in a process of its own. Raises BadFormError where that would spoil a log."""
    days = asked.form.get("days", "")
    if days not in _DAYS:
        raise BadFormError(f"The number of days must be {', '.join(_DAYS)}")
    state = _state(asked, read_mark(asked.settings.log_path))
    if state != "not there":
        raise BadFormError("The log has records, or is being made; `cds-service demo-log --into FOLDER` makes one elsewhere")
    settings = asked.settings
    environment = {**os.environ, "CDS_PROFILE": "dev", "CDS_LOG_PATH": str(settings.log_path.absolute())}
    if settings.review_path is not None:
        environment["CDS_REVIEW_PATH"] = str(settings.review_path.absolute())
    # Its first mark takes some seconds, in which this page would offer the button again.
    write_mark(settings.log_path, Mark(days=int(days), calls_per_day=0, seed=0, until=asked.now, written_at=asked.now))
    command = [sys.executable, "-m", "cds_service.cli.main", "demo-log", "--days", days]
    running = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603 (our own words)
    Thread(target=running.wait, daemon=True).start()  # so that no ended process is left behind
    return see_other(PATH)


def _state(asked: PageRequest, mark: Mark | None) -> State:
    """Return whether a log is being made, or may be."""
    if mark is not None and (mark.calls or mark.state(asked.now) == "running"):
        return mark.state(asked.now)
    shipped = bool(asked.settings.log_database_url)  # made-up records have no place in a database that services share
    return "records" if shipped or asked.database.rows("SELECT seq FROM log.call LIMIT 1") else "not there"


ROUTE = PageRoute(PATH, draw, "viewer", post=start, post_role="rule owner")
