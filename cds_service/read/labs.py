"""Observations → laboratory results, and the reasons why some of them can't be used.

A result counts by its code, its status and its specimen; its unit is the one that was sent, never the one of its code. What is
known to be a result, by its code or its whole name, and can't be relied on becomes an `Unusable` with a sentence for a clinician.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import msgspec

from cds_service.criteria.facts import Lab, LabSeries, Patient, Unread, Unusable, When
from cds_service.fhir.dates import when
from cds_service.fhir.panels import is_panel
from cds_service.fhir.resources import CodeableConcept, Quantity, Resource, first, listed, pairs, texts
from cds_service.read.egfr import computed_egfr
from cds_service.read.lab_correction import corrected
from cds_service.read.lab_identity import Standing, flag_of, meaning_of, specimen_of, status_of, strange_status
from cds_service.read.lab_value import value_of, written_as
from cds_service.read.newest_first import newest_first
from cds_service.terminology.lab_meaning import LabCoding, LabMeaning
from cds_service.terminology.lab_terms import OTHER
from cds_service.terminology.units import canonical, is_number, is_plausible, unit_of

if TYPE_CHECKING:
    from cds_service.terminology.lab_terms import Analyte, LabCode
    from cds_service.terminology.terminology import Terminology

_NEVER_MADE = frozenset({"not-performed", "not-asked", "not-applicable"})  # reasons for which there is no result at all
_UNREAD_LIMIT = 60  # characters of a code that was not understood
_UNREAD_MOST = 50  # of them from one call

Comparator = Literal["", "<", "<=", ">", ">="]
_COMPARATORS: dict[str | None, Comparator] = {"<": "<", "<=": "<=", ">": ">", ">=": ">="}
Reason = Literal["unit", "implausible", "value", "date", "future", "unmapped", "disagrees"]


def read_labs(
    observations: Iterable[Resource], patient: Patient, now: datetime, terminology: Terminology, source: str
) -> tuple[dict[str, LabSeries], tuple[Unread, ...]]:
    """All results by analyte, newest first, and the codes, units and statuses that were not understood.

    Not among the results, as if they had never been made: samples taken after dialysis, and results that are cancelled, entered
    in error, or registered without a value. `observations` hold no others (`panels.flattened`).

    Where no eGFR was reported on the day of the newest creatinine or later, one computed from that stands in the eGFR series.
    A race-based eGFR (low priority) is in it only where there is neither.
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
            reader.not_used(analyte),
        )
        for analyte in (*reader.results, *(other for other in reader.unusable if other not in reader.results))
    }, tuple(reader.unread)[:_UNREAD_MOST]


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
        self.unread: dict[Unread, None] = {}

    def add(self, observation: Resource) -> None:
        meaning = meaning_of(observation, self.terminology)
        if meaning.coding is None:
            self._add_named(observation, meaning)
        elif meaning.coding.code.role not in ("post-dialysis", "never"):
            self._add_known(observation, meaning.coding, meaning.otherwise, meaning.other_coding)

    def add_egfr(self, patient: Patient) -> None:
        """Adds what was computed from creatinine, and what could not be because a creatinine can't be used."""
        analyte = self.terminology.analytes.get("egfr")
        if analyte is None:
            return
        reported = [lab for lab in self.results.get("egfr", []) if not lab.low_priority]
        of_day = max((lab.effective.day for lab in reported if not lab.preliminary), default="")
        for bad in self.unusable.get("creatinine", ()):
            if bad.effective is None or bad.effective.day > of_day:
                not_computed = msgspec.structs.replace(bad, analyte="egfr", could_be=(), flagged="")
                self.unusable.setdefault("egfr", []).append(not_computed)
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
        """Corrects the results of the analytes that another one corrects, where that was measured too."""
        for name in self.terminology.corrected:
            analyte = self.terminology.analytes[name]
            if (results := self.results.get(name)) and analyte.corrected is not None:
                self.results[name] = corrected(results, self.results.get(analyte.corrected.by, []), analyte)

    def not_used(self, analyte: str) -> tuple[Unusable, ...]:
        """What can't be used of an analyte, each once; without what is there a second time under a code that is known."""
        unusable = self.unusable.get(analyte)
        if not unusable:
            return ()
        known = {(lab.effective.text, lab.value) for lab in self.results.get(analyte, ())}
        return tuple(dict.fromkeys(bad for bad in unusable if not (bad.reason == "unmapped" and _is_among(bad, known))))

    def _add_known(
        self, observation: Resource, coding: LabCoding, otherwise: str | None = None, other_coding: LabCoding | None = None
    ) -> None:
        """A result under a known code; `otherwise` and `other_coding`: what its names say in place of that (`LabMeaning`)."""
        analyte = self.terminology.analytes[coding.code.analyte]
        standing = status_of(observation)
        if standing == "denied" or not analyte.factors:  # the latter is no quantity: pregnancy status
            return
        if standing == "unconfirmed":
            self._note("status", "", strange_status(observation), analyte.id)
        quantity = self._quantity(observation, analyte)
        if quantity is None:
            return
        if other_coding is not None:
            self._add_known(observation, other_coding)
        elif otherwise is not None:
            self._refuse(observation, analyte, "disagrees", "{} has the name of another result", (quantity,))
        elif self._is_of_blood(observation, coding.code, quantity):
            self._add_quantity(observation, coding, quantity, standing)

    def _is_of_blood(self, observation: Resource, known: LabCode, quantity: Quantity) -> bool:
        """Whether nothing names another specimen, and something names blood where the code leaves that open; else refuses it."""
        if not known.needs_blood and observation.specimen is None and observation.contained is None:  # as nearly always
            return True
        analyte = self.terminology.analytes[known.analyte]
        specimen = specimen_of(observation, self.terminology)
        if specimen == "other":
            if not known.needs_blood:
                self._refuse(observation, analyte, "disagrees", "{} has a code for blood and is of another specimen")
            return False
        if known.needs_blood and specimen != "blood":
            self._refuse(observation, analyte, "unmapped", "{} does not say that it was measured in blood", (quantity,))
            return False
        return True

    def _add_quantity(self, observation: Resource, coding: LabCoding, quantity: Quantity, standing: Standing) -> None:
        known, number = coding.code, quantity.value
        analyte, effective = self.terminology.analytes[known.analyte], effective_of(observation)
        if effective is None:
            self._refuse(observation, analyte, "date", "a {} result has no date that can be read", (quantity,))
            return
        unit = unit_of(quantity, analyte, self.terminology)
        if unit == "":
            by_code = known.unit if analyte.no_unit == "accept_code_unit" and known.unit == analyte.unit else ""
            unit = known.sent_without or by_code
        if effective.start > self.latest:
            self._refuse(observation, analyte, "future", "{} is dated in the future")
        elif number is None or not is_number(number):
            self._refuse(observation, analyte, "value", "{} has a value that is not a usable number")
        elif unit is None:
            self._note("unit", "", quantity.unit or quantity.code or "", analyte.id)
            self._refuse(observation, analyte, "unit", "{} has a unit that is not known for it", (quantity,))
        elif unit == "":
            self._refuse(observation, analyte, "unit", "{} has no unit", (quantity,))
        elif not is_plausible(value := canonical(number, unit, analyte), analyte):
            self._refuse(observation, analyte, "implausible", "{} is outside the range of plausible values", (quantity,))
        else:
            low, high = self._limits(observation, unit, analyte)
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
                self._haemolysed(observation),
                "pre-dialysis" if known.role == "pre-dialysis" else "routine",
                low,
                known.role == "low-priority",
                "",
                coding.text,
                _reference(observation),
                self.source,
                high,
                standing == "unconfirmed",
            )
            self.results.setdefault(analyte.id, []).append(lab)

    def _add_named(self, observation: Resource, meaning: LabMeaning) -> None:
        """A result under a code of no table: a result that can't be used where its whole name says what was measured."""
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
            self._refuse(observation, analyte, "unmapped", sentence, (quantity,))

    def _by_short_name(self, observation: Resource, meaning: LabMeaning) -> str:
        """The analyte that a short name says, where the result has one of its units."""
        if not meaning.short_name:  # as nearly always
            return ""
        value = value_of(observation, self.terminology)
        analyte = self.terminology.analytes[meaning.short_name]
        return analyte.id if isinstance(value, Quantity) and unit_of(value, analyte, self.terminology) else ""

    def _quantity(self, observation: Resource, analyte: Analyte) -> Quantity | None:
        """The one number of a result; where there is none, it is refused, unless it was never made."""
        value = value_of(observation, self.terminology)
        if isinstance(value, Quantity):
            return value
        if value is None:
            never = {code for _, code in pairs(observation.dataAbsentReason)} if observation.dataAbsentReason is not None else ()
            if flag_of(observation, self.terminology) or not (is_panel(observation) or not _NEVER_MADE.isdisjoint(never)):
                self._refuse(observation, analyte, "value", "{} has no value that can be read")
        elif not self.terminology.matches("result_not_made", value.text):
            self._refuse(observation, analyte, "value", "{} can't be read as one number", value.numbers, value.text)
        return None

    def _refuse(
        self,
        observation: Resource,
        analyte: Analyte,
        reason: Reason,
        sentence: str,
        quantities: tuple[Quantity, ...] = (),
        words: str = "",
    ) -> None:
        """`quantities`: what its value may be; `words`: what was written where that is no quantity."""
        effective = effective_of(observation)
        subject = f"{analyte.name} of {effective.day}" if effective is not None else analyte.name
        unusable = Unusable(
            analyte.id,
            reason,
            effective,
            _reference(observation),
            sentence.format(subject),
            words or "; ".join(written_as(one) for one in quantities),
            tuple(dict.fromkeys(value for one in quantities for value in self._could_be(one, analyte, reason))),
            flag_of(observation, self.terminology),
        )
        self.unusable.setdefault(analyte.id, []).append(unusable)

    def _could_be(self, quantity: Quantity, analyte: Analyte, reason: Reason) -> Iterable[Decimal]:
        """The plausible values that a number may mean: with its unit, else with each in which laboratories report it."""
        if quantity.value is None or not is_number(quantity.value):
            return
        unit = unit_of(quantity, analyte, self.terminology)
        for one in (unit,) if unit and reason != "implausible" else analyte.reported_in:
            if is_plausible(value := canonical(quantity.value, one, analyte), analyte):
                yield value

    def _note_codes(self, observation: Resource, meaning: str) -> None:
        """Notes codes that no table knows; `meaning`: the id of the analyte that their names say, or ""."""
        for system, code in pairs(first(observation.code)):
            self._note("lab", system, code, meaning)

    def _note(self, kind: Literal["lab", "unit", "status"], system: str, code: str, meaning: str) -> None:
        if code and len(self.unread) < _UNREAD_MOST:
            self.unread[Unread(kind, system[: 4 * _UNREAD_LIMIT], code[:_UNREAD_LIMIT], self.source, meaning)] = None

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

    def _limits(self, observation: Resource, unit: str, analyte: Analyte) -> tuple[Decimal | None, Decimal | None]:
        """The laboratory's own limits, low and high, in the canonical unit; without a unit they are in that of the result."""
        low = high = None
        for one in listed(observation.referenceRange):
            low = low or _numbered(one.low)
            high = high or _numbered(one.high)
        return self._limit(low, unit, analyte), self._limit(high, unit, analyte)

    def _limit(self, end: Quantity | None, unit: str, analyte: Analyte) -> Decimal | None:
        if end is None or end.value is None:
            return None
        own = unit_of(end, analyte, self.terminology)
        return None if own is None else canonical(end.value, own or unit, analyte)


def _numbered(quantity: Quantity | None) -> Quantity | None:
    """A quantity that has a number; None for any other."""
    return quantity if quantity is not None and quantity.value is not None and is_number(quantity.value) else None


def _is_among(bad: Unusable, known: set[tuple[str, Decimal]]) -> bool:
    return bad.effective is not None and any((bad.effective.text, value) in known for value in bad.could_be)


def _instant(text: str | None) -> datetime | None:
    moment = when(text)
    return None if moment is None else moment.start


def _reference(observation: Resource) -> str:
    return f"Observation/{observation.id}" if observation.id else ""
