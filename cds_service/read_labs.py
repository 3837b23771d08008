"""Observations → laboratory results, and the reasons why some of them can't be used.

A result counts by its LOINC code, its status and its specimen; its unit is the one that was sent, never the one that its code
stands for. What is known to be a result but can't be relied on becomes an `Unusable` with a sentence for a clinician.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from cds_service.correction import corrected
from cds_service.facts import Lab, LabSeries, Patient, Unusable, When
from cds_service.fhir import CodeableConcept, Coding, Resource, first, listed, pairs, texts
from cds_service.kidney import computed_egfr
from cds_service.lab_order import newest_first
from cds_service.units import canonical, is_number, is_plausible, unit_of
from cds_service.when import when

if TYPE_CHECKING:
    from cds_service.terminology import Analyte, LabCode, Terminology

USABLE = frozenset({"final", "amended", "corrected", "preliminary"})  # the last may only raise a severe alarm, so it is marked
_LOINC = frozenset(
    {"http://loinc.org", "http://loinc.org/", "https://loinc.org", "https://loinc.org/", "urn:oid:2.16.840.1.113883.6.1"}
)
# A result under a local code only: its name says what was measured, unless it says that it was not measured in blood.
_NAMED = re.compile(r"\b(?:(potassium|kalium)|magnesium)\b", re.IGNORECASE)
_NOT_BLOOD = re.compile(
    r"urin|\bur?\b|csf|spinal|stool|fa?ec|dialysate|fluid|sweat|saliva|rbc|erythro|red (?:blood )?cell|hair|tissue|milk"
    r"|ratio|ium ?/|/ ?(?:potas|magnes)|creat|clearance|intake|excret|output|\b24 ?h|hydroxide|channel|antibod"
    r"|ioni[sz]ed|free",
    re.IGNORECASE,
)
_HAS_DIGIT = re.compile(r"\d")

Comparator = Literal["", "<", "<=", ">", ">="]
_COMPARATORS: dict[str | None, Comparator] = {"<": "<", "<=": "<=", ">": ">", ">=": ">="}
Reason = Literal["unit", "implausible", "value", "date", "future", "unmapped"]


def read_labs(
    observations: Iterable[Resource], patient: Patient, now: datetime, terminology: Terminology, source: str
) -> dict[str, LabSeries]:
    """All results by analyte, newest first. Not among them, as if they had never been made: samples taken after dialysis, and
    results that are registered, cancelled, entered in error or of unknown status.

    Where no eGFR was reported on the day of the newest creatinine or later, one computed from that stands in the eGFR series.
    A race-based eGFR (low priority) is in it only where there is neither.
    """
    reader = _Reader(now + terminology.engineering.result_ahead.span, terminology, source)
    for observation in observations:
        if observation.status in USABLE:
            reader.add(observation)
    reader.add_egfr(patient)
    reader.correct()
    return {
        analyte: LabSeries(
            tuple(newest_first(reader.results.get(analyte, []), terminology.analytes[analyte].worse)),
            tuple(reader.unusable.get(analyte, ())),
        )
        for analyte in (*reader.results, *(other for other in reader.unusable if other not in reader.results))
    }


def lab_coding(observation: Resource, terminology: Terminology) -> tuple[Coding, LabCode] | None:
    """The first coding of an Observation that is a LOINC code of a known analyte, and what that measures."""
    concept = first(observation.code)
    if concept is not None:
        for coding in listed(concept.coding):
            known = terminology.lab(coding.code) if isinstance(coding.code, str) else None
            if known is not None and (not coding.system or coding.system in _LOINC):
                return coding, known
    return None


def effective_of(observation: Resource) -> When | None:
    """When the sample was taken: the effective time, the end of a period before its start, else when it was issued.

    None where nothing is said or it can't be read; an effective time that can't be read is not replaced by another.
    """
    text = observation.effectiveDateTime or observation.effectiveInstant
    if not text and (period := observation.effectivePeriod) is not None:
        text = period.end or period.start
    return when(text or observation.issued)


class _Reader:
    def __init__(self, latest: datetime, terminology: Terminology, source: str) -> None:
        self.latest = latest
        self.terminology = terminology
        self.source = source
        self.results: dict[str, list[Lab]] = {}
        self.unusable: dict[str, list[Unusable]] = {}

    def add(self, observation: Resource) -> None:
        found = lab_coding(observation, self.terminology)
        if found is None:
            if not _has_loinc(observation):
                self._add_unmapped(observation)
        elif found[1].role != "post-dialysis":
            self._add_known(observation, *found)

    def add_egfr(self, patient: Patient) -> None:
        reported = [lab for lab in self.results.get("egfr", []) if not lab.low_priority]
        analyte, creatinine = self.terminology.analytes.get("egfr"), self.results.get("creatinine")
        if analyte is not None and creatinine:
            newest = newest_first(creatinine, self.terminology.analytes["creatinine"].worse)
            computed = computed_egfr(newest, patient, analyte, self.terminology.engineering.egfr_computed_from.value)
            if computed is not None and all(lab.preliminary or lab.effective.day < computed.effective.day for lab in reported):
                reported.append(computed)
        if reported:
            self.results["egfr"] = reported

    def correct(self) -> None:
        """Corrects the results of the analytes that another one corrects, where that was measured too."""
        for name in self.terminology.corrected:
            analyte = self.terminology.analytes[name]
            if (results := self.results.get(name)) and analyte.corrected is not None:
                self.results[name] = corrected(results, self.results.get(analyte.corrected.by, []), analyte)

    def _add_known(self, observation: Resource, coding: Coding, known: LabCode) -> None:
        analyte = self.terminology.analytes[known.analyte]
        quantity, effective = observation.valueQuantity, effective_of(observation)
        if not analyte.factors:
            return  # not a quantity: pregnancy status
        if quantity is None or quantity.value is None:
            if _is_result(observation):
                self._refuse(observation, analyte, "value", "{} is a text, not a number")
            return
        if effective is None:
            self._refuse(observation, analyte, "date", "a {} result has no date that can be read")
            return
        unit = unit_of(quantity, analyte, self.terminology)
        if unit == "" and analyte.no_unit == "accept_code_unit" and known.unit == analyte.unit:
            unit = analyte.unit
        if effective.start > self.latest:
            self._refuse(observation, analyte, "future", "{} is dated in the future")
        elif not is_number(quantity.value):
            self._refuse(observation, analyte, "value", "{} has a value that is not a usable number")
        elif unit is None:
            self._refuse(observation, analyte, "unit", "{} has a unit that is not known for it")
        elif unit == "":
            self._refuse(observation, analyte, "unit", "{} has no unit")
        elif not is_plausible(value := canonical(quantity.value, unit, analyte), analyte):
            self._refuse(observation, analyte, "implausible", "{} is outside the range of plausible values")
        else:
            lab = Lab(  # by position, in the order of the fields: by name costs five times as much
                analyte.id,
                value,
                quantity.value,
                unit,
                analyte.unit,
                effective,
                _COMPARATORS.get(quantity.comparator, ""),
                _instant(observation.issued),
                observation.status == "preliminary",
                self._haemolysed(observation),
                "pre-dialysis" if known.role == "pre-dialysis" else "routine",
                self._limit(observation, unit, analyte, "low"),
                known.role == "low-priority",
                "",
                f"{coding.system or 'http://loinc.org'}|{coding.code}",
                _reference(observation),
                self.source,
                self._limit(observation, unit, analyte, "high"),
            )
            self.results.setdefault(analyte.id, []).append(lab)

    def _add_unmapped(self, observation: Resource) -> None:
        text = " ".join(texts(first(observation.code)))
        named = _NAMED.search(text)
        if named is None or _NOT_BLOOD.search(text) or not _is_result(observation):
            return
        analyte = self.terminology.analytes.get("potassium" if named[1] else "magnesium")
        if analyte is not None:
            self._refuse(observation, analyte, "unmapped", "{} has only a local code: what was measured is not certain")

    def _refuse(self, observation: Resource, analyte: Analyte, reason: Reason, sentence: str) -> None:
        effective = effective_of(observation)
        subject = f"{analyte.name} of {effective.day}" if effective is not None else analyte.name
        unusable = Unusable(analyte.id, reason, effective, _reference(observation), sentence.format(subject))
        self.unusable.setdefault(analyte.id, []).append(unusable)

    def _haemolysed(self, observation: Resource) -> bool:
        """True where a note, a comment or the interpretation says so, or the condition of the specimen (HL7 v2-0493: HEM)."""
        said: list[str | None] = []
        if observation.note is not None:
            said += [observation.note] if isinstance(observation.note, str) else [note.text for note in listed(observation.note)]
        if observation.comment is not None or observation.comments is not None:
            said += [observation.comment, observation.comments]
        concepts: list[CodeableConcept] = []
        if observation.interpretation is not None:
            concepts += listed(observation.interpretation)
        if observation.dataAbsentReason is not None:
            concepts.append(observation.dataAbsentReason)
        if observation.contained is not None:
            concepts += [condition for specimen in listed(observation.contained) for condition in listed(specimen.condition)]
        for concept in concepts:
            if any(code == "HEM" for _, code in pairs(concept)):
                return True
            said += texts(concept)
        return bool(said) and any(text and self.terminology.matches("haemolysis", text) for text in said)

    def _limit(self, observation: Resource, unit: str, analyte: Analyte, side: Literal["low", "high"]) -> Decimal | None:
        for reference_range in listed(observation.referenceRange):
            limit = reference_range.low if side == "low" else reference_range.high
            if limit is not None and limit.value is not None and is_number(limit.value):
                own = unit_of(limit, analyte, self.terminology)
                return None if own is None else canonical(limit.value, own or unit, analyte)
        return None


def _has_loinc(observation: Resource) -> bool:
    """True where a coding is LOINC's: by its system and form, or by its form where no system was sent."""
    concept = first(observation.code)
    for coding in listed(concept.coding) if concept is not None else ():
        code = str(coding.code)
        if code[-2:-1] == "-" and code[:-2].isdigit() and (not coding.system or coding.system in _LOINC):
            return True
    return False


def _is_result(observation: Resource) -> bool:
    """True where a number was sent, as a quantity or in a text; a text such as "see comment" is no result."""
    quantity, text = observation.valueQuantity, observation.valueString
    return (quantity is not None and quantity.value is not None) or (text is not None and _HAS_DIGIT.search(text) is not None)


def _instant(text: str | None) -> datetime | None:
    moment = when(text)
    return None if moment is None else moment.start


def _reference(observation: Resource) -> str:
    return f"Observation/{observation.id}" if observation.id else ""
