"""Make the page on which a reader takes the log home: what the filter matches, or listed cases, in one of several formats."""

from __future__ import annotations

from starlette.responses import Response, StreamingResponse

from cds_service.exports.columns import CARD_COLUMNS, EVALUATION_COLUMNS, FEEDBACK_COLUMNS
from cds_service.exports.evaluation_rows import OF_CALLS, OF_EVALUATIONS, cases_of
from cds_service.exports.formats import FORMATS
from cds_service.review.export_stream import ExportStream
from cds_service.review.filter_bar import filter_bar, period
from cds_service.review.page import BASE, BadFormError, Page, PageRequest, PageRoute
from cds_service.rollups.counting import dimensions
from cds_service.rollups.days import as_date
from cds_service.rollups.filter import Filter
from cds_service.rollups.log_rows import days_with_matches, not_applied
from cds_service.rollups.queries import call_counts

MOST_REASON = 500  # characters
MOST_CASES = 2_000


def draw(asked: PageRequest) -> Page:
    """Return the form, with how many cards and calls it would hand out."""
    chosen, listed = _asked_for(asked)
    aggregates = asked.reader.may("viewer")
    matches = days_with_matches(asked.database, chosen) if aggregates else []
    of_calls = chosen.without(*(chosen.names - {"tenant", "client", "hook"}))
    data = {
        "period": period(chosen),
        "filter": [{"name": name, "values": values} for name, values in chosen.values],
        "cards": sum(one.at_most for one in matches),
        "cards_exactly": chosen.names <= {*dimensions("card")},
        "calls": sum(row["n"] for row in call_counts(asked.database, of_calls)) if aggregates else 0,
        "formats": [
            {"name": one.name, "title": one.title, "ending": one.ending, "resumable": one.resumable}
            for one in FORMATS.values()
            if asked.reader.may(one.role)
        ],
        "cases": listed,
        "not_of_cards": sorted(not_applied(chosen)),
        "not_of_evaluations": sorted(chosen.names - {*OF_CALLS, *OF_EVALUATIONS, "order"}),
        "counted": aggregates,
    }
    only_html = {
        "filters": filter_bar(asked.database, chosen, asked.knowledge, asked.settings.time_zone) if aggregates else None,
        "query": asked.url.partition("?")[2],
        "columns": {
            "Before all others in CSV, as US rules (HTI-1) ask": FEEDBACK_COLUMNS,
            "Of a card": CARD_COLUMNS,
            "Of an evaluation": EVALUATION_COLUMNS,
        },
        "month": as_date(asked.today).strftime("%Y-%m"),
        "most_reason": MOST_REASON,
        "action": f"{BASE}/exports",
    }
    return Page("Exports", "exports.html", data, only_html)


def hand_out(asked: PageRequest) -> Response:
    """Return the export that the form asks for, as a file."""
    wanted = FORMATS.get(asked.form.get("format", ""))
    if wanted is None:
        raise BadFormError("Choose a format")
    asked.reader.require(wanted.role)
    reason = asked.form.get("reason", "").strip()
    if not reason or len(reason) > MOST_REASON:
        raise BadFormError(f"Say what the export is for, in at most {MOST_REASON} characters; the audit keeps it")
    chosen, _ = _asked_for(asked)
    lines = [one for one in asked.form.get("cases", "").splitlines() if one.strip()]
    if len(lines) > MOST_CASES:
        raise BadFormError(f"At most {MOST_CASES} cases can be listed")
    if lines and not wanted.name.startswith(("evaluations-", "guidance-response")):
        raise BadFormError("Listed cases are evaluations: choose one of the formats of evaluations")
    try:
        cases = cases_of(lines)
    except ValueError as error:
        raise BadFormError(str(error)) from None
    stream = ExportStream(asked, chosen, wanted, reason, cases)
    name = f"cramp-cds-{wanted.name}-{_days(chosen)}.{wanted.ending}"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(stream, headers=headers, media_type=wanted.media_type)


def _asked_for(asked: PageRequest) -> tuple[Filter, list[str]]:
    """Return the filter of the address, and the cases that it lists."""
    return asked.filter(other=("case",)), [value for name, value in asked.pairs if name == "case"]


def _days(chosen: Filter) -> str:
    ends = [as_date(day).isoformat() if day is not None else "" for day in (chosen.since, chosen.until)]
    return "-to-".join(one for one in ends if one) or "all"


ROUTE = PageRoute("/exports", draw, "signed in", nav="Exports", post=hand_out, post_role="signed in", scoped=True)
