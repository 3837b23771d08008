"""Make the reduced inputs that the log keeps of a call, where a site asks for them."""

from __future__ import annotations

from collections.abc import Iterable
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
        birth_date=_birth_date(chart, now),
        searched=sorted(reducer.searched),
        may_ask=may_ask,
    )
    too_long = any(reducer.characters(chart.given[name].resources) > MOST_CHARACTERS for name in _DRUG_LISTS)
    return None if reducer.read_differently or too_long else inputs


def _birth_date(chart: Chart, now: datetime) -> date | None:
    born = chart.patient.birth_date
    if born is None:
        return None
    taken = [at.start for one in chart.given["labs"].resources if (at := effective_of(one)) is not None]
    return same_age(born, (now, *taken))


def same_age(born: date, days: Iterable[datetime]) -> date:
    """Return the first date of the year of birth that gives the same completed years on each of the days."""
    before = max((day for one in days if (day := (one.month, one.day)) < (born.month, born.day)), default=None)
    if before is None:
        return date(born.year, 1, 1)
    after = date(2000, *before) + timedelta(days=1)  # a leap year
    first = (3, 1) if (after.month, after.day) == (2, 29) and born.month > 2 else (after.month, after.day)
    return date(born.year, *first)
