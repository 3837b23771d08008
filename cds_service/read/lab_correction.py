"""Correct results by another analyte of the same days: total calcium by albumin."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from cds_service.criteria.facts import Lab

if TYPE_CHECKING:
    from cds_service.terminology.lab_terms import Analyte

_STEP = Decimal("0.01")


def corrected(results: Iterable[Lab], others: Sequence[Lab], analyte: Analyte) -> list[Lab]:
    """Correct results by the nearest of `others` within the days of the rule.

    All in canonical units. A normal or high value of the other changes nothing, and the result still counts as corrected.
    Preliminary results and results with a comparator are neither corrected nor used to correct.
    """
    rule = analyte.corrected
    usable = [other for other in others if not other.preliminary and not other.comparator]
    if rule is None or not usable:
        return list(results)
    by_start: dict[datetime, tuple[int, Lab]] = {}  # the first of each time, with its place
    for place, other in enumerate(usable):
        by_start.setdefault(other.effective.start, (place, other))
    starts = sorted(by_start)
    found: list[Lab] = []
    for lab in results:
        taken = lab.effective.start
        after = bisect_left(starts, taken)
        near = [by_start[start] for start in starts[max(0, after - 1) : after + 1]]
        _, nearest = min(near, key=lambda one: (abs(one[1].effective.start - taken), one[0]))
        apart = abs(nearest.effective.start - taken).days
        if lab.preliminary or lab.comparator or apart > rule.within_days:
            found.append(lab)
            continue
        added = rule.per_unit * max(Decimal(0), rule.normal - nearest.value)
        value = lab.value + added
        found.append(
            msgspec.structs.replace(
                lab,
                value=value,
                reported_value=(value / analyte.factors[lab.reported_unit]).quantize(_STEP) if added else lab.reported_value,
                computed_from=(
                    f"{lab.reported_value} {lab.reported_unit} "
                    f"with {nearest.analyte} {nearest.reported_value} {nearest.reported_unit}"
                ),
            )
        )
    return found
