"""Read Observations into laboratory results, and into reasons why some can't be used.

A result counts by its code, its status and its specimen; its unit is the one that was sent, never the one of its code. A result
of a known analyte, by its code or its whole name, that is unreliable becomes an `Unusable` with a sentence for a clinician.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from cds_service.criteria.facts import Lab, LabSeries, Patient, Unread
from cds_service.fhir.dates import when
from cds_service.fhir.panels import is_panel
from cds_service.fhir.resources import Quantity, Resource, first, pairs
from cds_service.read.egfr import computed_egfr
from cds_service.read.lab_correction import corrected
from cds_service.read.lab_details import effective_of, is_haemolysed, limits_of, reference_of
from cds_service.read.lab_identity import Standing, flag_of, meaning_of, specimen_of, status_of, unknown_status
from cds_service.read.lab_unusable import UnusableResults
from cds_service.read.lab_value import NOT_MADE, value_of
from cds_service.read.newest_first import newest_first
from cds_service.terminology.lab_meaning import LabCoding, LabMeaning
from cds_service.terminology.lab_terms import OTHER
from cds_service.terminology.units import canonical, is_number, is_plausible, unit_of

if TYPE_CHECKING:
    from cds_service.terminology.lab_terms import Analyte, LabCode
    from cds_service.terminology.terminology import Terminology

_NEVER_MADE = frozenset({"not-performed", "not-asked", "not-applicable"})  # data absent reasons: there is no result at all
_UNREAD_LIMIT = 60  # characters of a code that was not understood
_UNREAD_MOST = 50  # such codes from one call

Comparator = Literal["", "<", "<=", ">", ">="]
_COMPARATORS: dict[str | None, Comparator] = {"<": "<", "<=": "<=", ">": ">", ">=": ">="}


def read_labs(
    observations: Iterable[Resource], patient: Patient, now: datetime, terminology: Terminology, source: str
) -> tuple[dict[str, LabSeries], tuple[Unread, ...]]:
    """Return (results by analyte, newest first; codes, units and statuses that were not understood).

    Left out: samples taken after dialysis, and results that are cancelled, entered in error, or registered without a value.
    `observations` hold no others (`panels.flattened`).

    Where no eGFR was reported on the day of the newest creatinine or later, the eGFR series holds one computed from that. It
    holds a race-based eGFR (low priority) only where there is neither.
    """
    engineering = terminology.engineering
    reader = _Reader(now + engineering.result_ahead.span, terminology, source)
    for observation in observations:
        reader.add(observation)
    reader.add_egfr(patient)
    reader.correct()
    return {
        analyte: LabSeries(
            tuple(newest_first(reader.results.get(analyte, []), terminology.analytes[analyte].worse)),
            reader.unusable.of(analyte, reader.results.get(analyte, ())),
        )
        for analyte in dict.fromkeys((*reader.results, *reader.unusable.by_analyte))
    }, tuple(reader.unread)[:_UNREAD_MOST]


class _Reader:
    """Read Observations one by one; results later than `latest` are unusable."""

    def __init__(self, latest: datetime, terminology: Terminology, source: str) -> None:
        self.latest = latest
        self.terminology = terminology
        self.source = source
        self.results: dict[str, list[Lab]] = {}
        self.unusable = UnusableResults(terminology)
        self.unread: dict[Unread, None] = {}

    def add(self, observation: Resource) -> None:
        meaning = meaning_of(observation, self.terminology)
        if meaning.coding is None:
            self._add_named(observation, meaning)
        elif meaning.coding.code.role not in ("post-dialysis", "never"):
            self._add_known(observation, meaning.coding, meaning.otherwise, meaning.other_coding)

    def add_egfr(self, patient: Patient) -> None:
        """Add an eGFR computed from creatinine, or an unusable one where a creatinine is unusable."""
        analyte = self.terminology.analytes.get("egfr")
        if analyte is None:
            return
        reported = [lab for lab in self.results.get("egfr", []) if not lab.low_priority]
        of_day = max((lab.effective.day for lab in reported if not lab.preliminary), default="")
        unusable = self.unusable.by_analyte
        for bad in unusable.get("creatinine", ()):
            if bad.effective is None or bad.effective.day > of_day:
                not_computed = msgspec.structs.replace(bad, analyte="egfr", could_be=(), flagged="")
                unusable.setdefault("egfr", []).append(not_computed)
        if creatinine := self.results.get("creatinine"):
            newest = newest_first(creatinine, self.terminology.analytes["creatinine"].worse)
            for unconfirmed in (False, True):
                one_kind = [lab for lab in newest if lab.preliminary is unconfirmed]
                computed = computed_egfr(one_kind, patient, analyte, self.terminology.engineering.egfr_computed_from.value)
                if computed is not None and computed.effective.day > of_day:
                    reported.append(computed)
        if reported:
            self.results["egfr"] = reported

    def correct(self) -> None:
        """Correct the results of analytes with a correction, where the other analyte was measured."""
        for name in self.terminology.corrected:
            analyte = self.terminology.analytes[name]
            if (results := self.results.get(name)) and analyte.corrected is not None:
                self.results[name] = corrected(results, self.results.get(analyte.corrected.by, []), analyte)

    def _add_known(
        self, observation: Resource, coding: LabCoding, otherwise: str | None = None, other_coding: LabCoding | None = None
    ) -> None:
        """Add a result with a known code; `otherwise`, `other_coding`: another meaning by its names (`LabMeaning`)."""
        analyte = self.terminology.analytes[coding.code.analyte]
        standing = status_of(observation)
        if standing == "denied" or not analyte.factors:  # pregnancy status is not a quantity
            return
        if standing == "unconfirmed":
            self._note("status", "", unknown_status(observation), analyte.id)
        quantity = self._quantity(observation, analyte)
        if quantity is None:
            return
        if other_coding is not None:
            self._add_known(observation, other_coding)
        elif otherwise is not None:
            self.unusable.refuse(observation, analyte, "disagrees", "{} has the name of another result", (quantity,))
        elif self._is_of_blood(observation, coding.code, quantity):
            self._add_quantity(observation, coding, quantity, standing)

    def _is_of_blood(self, observation: Resource, known: LabCode, quantity: Quantity) -> bool:
        """Tell whether the specimen is blood; refuse a result that names another, or none where the code leaves it open."""
        if not known.needs_blood and observation.specimen is None and observation.contained is None:  # as nearly always
            return True
        analyte = self.terminology.analytes[known.analyte]
        specimen = specimen_of(observation, self.terminology)
        if specimen == "other":
            if not known.needs_blood:
                self.unusable.refuse(observation, analyte, "disagrees", "{} has a code for blood and is of another specimen")
            return False
        if known.needs_blood and specimen != "blood":
            self.unusable.refuse(observation, analyte, "unmapped", "{} does not say that it was measured in blood", (quantity,))
            return False
        return True

    def _add_quantity(self, observation: Resource, coding: LabCoding, quantity: Quantity, standing: Standing) -> None:
        known, number = coding.code, quantity.value
        analyte, effective = self.terminology.analytes[known.analyte], effective_of(observation)
        if effective is None:
            self.unusable.refuse(observation, analyte, "date", "a {} result has no date that can be read", (quantity,))
            return
        unit = unit_of(quantity, analyte, self.terminology)
        if unit == "":
            by_code = known.unit if analyte.no_unit == "accept_code_unit" and known.unit == analyte.unit else ""
            unit = known.sent_without or by_code
        if effective.start > self.latest:
            self.unusable.refuse(observation, analyte, "future", "{} is dated in the future")
        elif number is None or not is_number(number):
            self.unusable.refuse(observation, analyte, "value", "{} has a value that is not a usable number")
        elif unit is None:
            self._note("unit", "", quantity.unit or quantity.code or "", analyte.id)
            self.unusable.refuse(observation, analyte, "unit", "{} has a unit that is not known for it", (quantity,))
        elif unit == "":
            self.unusable.refuse(observation, analyte, "unit", "{} has no unit", (quantity,))
        elif not is_plausible(value := canonical(number, unit, analyte), analyte):
            self.unusable.refuse(observation, analyte, "implausible", "{} is outside the range of plausible values", (quantity,))
        else:
            low, high = limits_of(observation, unit, analyte, self.terminology)
            lab = Lab(  # by position, in the order of the fields: by name costs five times as much
                analyte.id,
                value,
                number,
                unit,
                analyte.unit,
                effective,
                _COMPARATORS.get(quantity.comparator, ""),
                _instant(observation.issued),
                standing != "confirmed",
                is_haemolysed(observation, self.terminology),
                "pre-dialysis" if known.role == "pre-dialysis" else "routine",
                low,
                known.role == "low-priority",
                "",
                coding.text,
                reference_of(observation),
                self.source,
                high,
                standing == "unconfirmed",
            )
            self.results.setdefault(analyte.id, []).append(lab)

    def _add_named(self, observation: Resource, meaning: LabMeaning) -> None:
        """Refuse a result without a known code whose whole name says what was measured."""
        if meaning.named == OTHER:
            return
        named = meaning.named or self._by_short_name(observation, meaning)
        if not named:
            if not meaning.in_tables:
                self._note_codes(observation, "")
            return
        analyte = self.terminology.analytes[named]
        if status_of(observation) == "denied" or specimen_of(observation, self.terminology) == "other":
            return
        self._note_codes(observation, analyte.id)
        quantity = self._quantity(observation, analyte)
        if quantity is not None:
            sentence = "{} has only a code that is not known: what was measured is not certain"
            self.unusable.refuse(observation, analyte, "unmapped", sentence, (quantity,))

    def _by_short_name(self, observation: Resource, meaning: LabMeaning) -> str:
        """Return the analyte that a short name means, where the result has one of its units; else ""."""
        if not meaning.short_name:  # as nearly always
            return ""
        value = value_of(observation, self.terminology)
        analyte = self.terminology.analytes[meaning.short_name]
        return analyte.id if isinstance(value, Quantity) and unit_of(value, analyte, self.terminology) else ""

    def _quantity(self, observation: Resource, analyte: Analyte) -> Quantity | None:
        """Return the one number of a result; without one refuse it, unless it was never made."""
        value = value_of(observation, self.terminology)
        if isinstance(value, Quantity):
            return value
        if value is None:
            never = {code for _, code in pairs(observation.dataAbsentReason)} if observation.dataAbsentReason is not None else ()
            if flag_of(observation, self.terminology) or not (is_panel(observation) or not _NEVER_MADE.isdisjoint(never)):
                self.unusable.refuse(observation, analyte, "value", "{} has no value that can be read")
        elif not self.terminology.matches(NOT_MADE, value.text):
            self.unusable.refuse(observation, analyte, "value", "{} can't be read as one number", value.numbers, value.text)
        return None

    def _note_codes(self, observation: Resource, meaning: str) -> None:
        """Note codes in no table; `meaning`: id of the analyte that their names mean, or ""."""
        for system, code in pairs(first(observation.code)):
            self._note("lab", system, code, meaning)

    def _note(self, kind: Literal["lab", "unit", "status"], system: str, code: str, meaning: str) -> None:
        if code and len(self.unread) < _UNREAD_MOST:
            self.unread[Unread(kind, system[: 4 * _UNREAD_LIMIT], code[:_UNREAD_LIMIT], self.source, meaning)] = None


def _instant(text: str | None) -> datetime | None:
    moment = when(text)
    return None if moment is None else moment.start
