"""Make the reduced inputs that the log keeps of a call, where a site asks for them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from cds_service.alert_log.inputs import INPUTS_VERSION, InputDraft, Inputs
from cds_service.alert_log.reduced_resources import Reducer
from cds_service.read.chart import Chart
from cds_service.read.lab_details import effective_of

if TYPE_CHECKING:
    from cds_service.terminology.terminology import Terminology

MOST_CHARACTERS = 60_000  # of the words of one list of drugs; beyond it, readers look up only some of them
_DRUG_LISTS = ("statements", "prescriptions")


def kept_inputs(chart: Chart, now: datetime, terminology: Terminology, *, may_ask: bool) -> Inputs | None:
    """Return the reduced inputs of a call at `now`.

    `may_ask`: the call names a FHIR server. None where a chart is so large that readers skip a part of it, or where a dosage
    would be read differently without its unknown words.
    """
    reducer = Reducer(chart.targets, terminology)
    given = {name: reducer.source(one) for name, one in chart.given.items()}
    inputs = Inputs(
        INPUTS_VERSION,
        given=given,
        referenced=[reducer.targets_in(one) for one in chart.targets.sources[len(given) :]],
        drafts=[
            InputDraft(reducer.resource(one.draft.resource), reducer.number(one.draft.url), one.selected) for one in chart.drafts
        ],
        birth_date=_of_same_age(chart, now),
        searched=sorted(reducer.searched),
        may_ask=may_ask,
    )
    too_long = any(reducer.characters(chart.given[name].resources) > MOST_CHARACTERS for name in _DRUG_LISTS)
    return None if reducer.read_differently or too_long else inputs


def _of_same_age(chart: Chart, now: datetime) -> date | None:
    """Return the earliest day of the year that gives the same completed years on each day of the chart, and at `now`."""
    born = chart.patient.birth_date
    if born is None:
        return None
    days = {(now.month, now.day)}
    days |= {(at.start.month, at.start.day) for one in chart.given["labs"].resources if (at := effective_of(one)) is not None}
    before = max((day for day in days if day < (born.month, born.day)), default=None)
    if before is None:
        return born.replace(month=1, day=1)
    leap = date(2000, *before) + timedelta(days=1)
    return min(born, date(born.year, 3, 1) if (leap.month, leap.day) == (2, 29) else born.replace(month=leap.month, day=leap.day))
