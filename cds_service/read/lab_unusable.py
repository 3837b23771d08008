"""Collect the results of known analytes that can't be used, each with a sentence for a clinician."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from cds_service.criteria.facts import Lab, Unusable
from cds_service.fhir.resources import Quantity, Resource
from cds_service.read.lab_details import effective_of, reference_of
from cds_service.read.lab_identity import flag_of
from cds_service.read.lab_value import written_as
from cds_service.terminology.units import canonical, is_number, is_plausible, unit_of

if TYPE_CHECKING:
    from cds_service.terminology.lab_terms import Analyte
    from cds_service.terminology.terminology import Terminology

Reason = Literal["unit", "implausible", "value", "date", "future", "unmapped", "disagrees"]


class UnusableResults:
    """The unusable results of one call by analyte."""

    def __init__(self, terminology: Terminology) -> None:
        """Start without any."""
        self.terminology = terminology
        self.by_analyte: dict[str, list[Unusable]] = {}

    def refuse(
        self,
        observation: Resource,
        analyte: Analyte,
        reason: Reason,
        sentence: str,
        quantities: tuple[Quantity, ...] = (),
        words: str = "",
    ) -> None:
        """Add a result that can't be used.

        `sentence`: its explanation, with {} for the name and date of the result. `quantities`: what its value may be. `words`:
        what was written in place of a quantity.
        """
        effective = effective_of(observation)
        subject = f"{analyte.name} of {effective.day}" if effective is not None else analyte.name
        unusable = Unusable(
            analyte.id,
            reason,
            effective,
            reference_of(observation),
            sentence.format(subject),
            words or "; ".join(written_as(one) for one in quantities),
            tuple(dict.fromkeys(value for one in quantities for value in self._could_be(one, analyte, reason))),
            flag_of(observation, self.terminology),
        )
        self.by_analyte.setdefault(analyte.id, []).append(unusable)

    def _could_be(self, quantity: Quantity, analyte: Analyte, reason: Reason) -> Iterable[Decimal]:
        """Yield the plausible values of a number in canonical units: in its unit, else in each unit of laboratories."""
        if quantity.value is None or not is_number(quantity.value):
            return
        unit = unit_of(quantity, analyte, self.terminology)
        for possible in (unit,) if unit and reason != "implausible" else analyte.reported_in:
            if is_plausible(value := canonical(quantity.value, possible, analyte), analyte):
                yield value

    def of(self, analyte: str, results: Iterable[Lab]) -> tuple[Unusable, ...]:
        """Return the unusable results of an analyte, each once.

        Those with an unknown code are left out where `results` of the same analyte have the same time and value.
        """
        unusable = self.by_analyte.get(analyte)
        if not unusable:
            return ()
        usable = {(lab.effective.text, lab.value) for lab in results}
        return tuple(dict.fromkeys(bad for bad in unusable if not (bad.reason == "unmapped" and _is_among(bad, usable))))


def _is_among(bad: Unusable, usable: set[tuple[str, Decimal]]) -> bool:
    return bad.effective is not None and any((bad.effective.text, value) in usable for value in bad.could_be)
