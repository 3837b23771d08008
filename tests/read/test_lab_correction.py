"""The nearest other result corrects, wherever it stands in the list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

from cds_service.criteria.facts import Lab, When
from cds_service.read.lab_correction import corrected
from tests.reading import terminology

TODAY = datetime(2026, 3, 1, 8, tzinfo=UTC)


def result(analyte: str, value: str, days_ago: int) -> Lab:
    taken = TODAY - timedelta(days=days_ago)
    return Lab(analyte, Decimal(value), Decimal(value), "mmol/L", "mmol/L", When(taken, taken.isoformat(), has_time=True))


def test_the_first_of_the_nearest_albumins_corrects_calcium() -> None:
    random = Random(7)
    analyte = terminology().analytes["calcium"]
    assert analyte.corrected is not None
    for _ in range(300):
        calcium = [result("calcium", "2.00", random.randint(0, 12)) for _ in range(3)]
        albumin = [result("albumin", str(20 + place), random.randint(0, 12)) for place in range(random.randint(1, 6))]
        for was, now in zip(calcium, corrected(calcium, albumin, analyte), strict=True):
            nearest = min(albumin, key=lambda one, taken=was.effective.start: abs(one.effective.start - taken))  # type: ignore[misc]
            apart = abs(nearest.effective.start - was.effective.start).days
            added = analyte.corrected.per_unit * (analyte.corrected.normal - nearest.value)
            assert now.value == (was.value + added if apart <= analyte.corrected.within_days else was.value)
