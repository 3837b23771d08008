"""Read the chart of one patient into `Facts`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

from cds_service.criteria.facts import Facts, Unread
from cds_service.read.allergies import read_allergies
from cds_service.read.chart import Chart
from cds_service.read.conditions import read_pregnancy, read_problems, unread_codes
from cds_service.read.draft_orders import read_order
from cds_service.read.labs import read_labs
from cds_service.read.medications import read_drugs

if TYPE_CHECKING:
    from cds_service.terminology.terminology import Terminology


def read_chart(chart: Chart, *, hook: str, now: datetime, jurisdiction: Literal["US", "GB"], terminology: Terminology) -> Facts:
    """Read the facts in a chart at `now` (aware, UTC). Raises nothing, whatever the data."""
    given, targets = chart.given, chart.targets
    unread: list[Unread] = []
    lists = ("statements", "prescriptions")
    drugs = tuple(drug for name in lists for drug in read_drugs(given[name], name, targets, now, terminology, unread))
    observations = given["labs"].resources
    labs, unread_labs = read_labs(observations, chart.patient, now, terminology, "labs")
    problems = (
        *read_problems(given["problems"].resources, now, terminology, "problems"),
        *read_pregnancy(observations, now, terminology, "labs"),
    )
    allergies = tuple(read_allergies(given["allergies"].resources, terminology, "allergies"))
    return Facts(
        now=now,
        hook=hook,
        jurisdiction=jurisdiction,
        patient=chart.patient,
        sources=chart.sources,
        labs=labs,
        drugs=drugs,
        problems=problems,
        allergies=allergies,
        orders=tuple([read_order(one, targets, drugs, terminology, unread) for one in chart.drafts]),
        quarantined=chart.quarantined,
        unread=tuple(dict.fromkeys((*unread, *unread_labs, *unread_codes((*problems, *allergies))))),
    )
