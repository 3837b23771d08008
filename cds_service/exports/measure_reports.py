"""Make a FHIR R4 MeasureReport of a month: counts of each card, none of a person."""

from __future__ import annotations

from datetime import datetime

from cds_service.exports.fhir_bundles import Resource, concept, device, resource_id
from cds_service.exports.month_figures import CardMonth, Month, MonthFigures
from cds_service.rollups.days import as_date

_MASKED = [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]
_MEASURE = "urn:cramp-cds:measure:alerts-of-a-month"


def measure_report(figures: MonthFigures, month: Month, at: datetime, scope: str) -> Resource:
    """Return the MeasureReport. `at`: aware, when it was made; `scope`: which clients and tenants, to tell reports apart."""
    return {
        "resourceType": "MeasureReport",
        "id": resource_id("MeasureReport", figures.month, scope),
        "status": "complete",
        "type": "summary",
        "measure": _MEASURE,
        "date": at.isoformat(timespec="seconds"),
        "reporter": device(""),
        "period": {"start": as_date(month.first).isoformat(), "end": as_date(month.last).isoformat()},
        "group": [_group(one) for one in (*figures.cards, figures.total)],
    }


def _group(one: CardMonth) -> Resource:
    """Return the populations of one card; a count that is hidden has no value and says so."""
    counts = {f"cards-{name}": getattr(one.responses, name) for name in one.responses.__struct_fields__}
    counts |= {f"evaluations-{name.replace('_', '-')}": getattr(one.checks, name) for name in one.checks.__struct_fields__}
    return {
        "code": concept("card", one.card or "all-cards"),
        "population": [
            {"code": concept("population", name), **({"_count": {"extension": _MASKED}} if n is None else {"count": n})}
            for name, n in counts.items()
        ],
    }
