"""Say why a page has nothing to show."""

from __future__ import annotations

from cds_service.database import Database
from cds_service.review.charts import day_text
from cds_service.review.filter_bar import period
from cds_service.rollups.filter import Filter
from cds_service.rollups.queries import call_counts
from cds_service.rollups.rollup import rollup_state


def why_empty(database: Database, chosen: Filter) -> str:
    """Return why there is no call under the filter; "" where there is one."""
    if _calls(database, chosen):
        return ""
    state = rollup_state(database)
    if not state.looked_at:
        return "The log is being counted for the first time. Please come back in a minute."
    if state.days_waiting:
        return f"The log is being counted: {state.days_waiting} days are still to be done. Please come back in a minute."
    if state.last_day is None:
        return "The log holds no call yet. Numbers appear within 30 seconds after the first one."
    others = _calls(database, Filter(chosen.since, chosen.until))
    if others:
        return f"None of the {others:,} calls of this period ({period(chosen)}) has what the filters ask for."
    return (
        f"There was no call in this period ({period(chosen)}). The log holds days from {day_text(state.first_day or 0)} to "
        f"{day_text(state.last_day)}."
    )


def _calls(database: Database, chosen: Filter) -> int:
    return sum(row["n"] for row in call_counts(database, chosen, ()))
