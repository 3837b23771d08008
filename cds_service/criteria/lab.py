"""Evaluate the criterion `lab`: a result compared with thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import ClassVar, Literal, NamedTuple

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.fact_index import UNCLEAR_LABS, FactIndex, NewestResults, Trait
from cds_service.criteria.facts import Facts, Lab, Order, Unusable
from cds_service.criteria.findings import IS_MET, IS_UNKNOWN, IS_UNMET, MET, UNMET, Finding, Truth
from cds_service.criteria.kind import ALL_TRUTHS, Kind, Known, Names, Needs, Used, results_of
from cds_service.criteria.wording import counted, number, readable_unit


class _Beyond(NamedTuple):
    """Whether a result is beyond a limit, by the position of its number."""

    beyond: Truth
    at: Truth  # equal to a limit that is not included
    short: Truth


_EXACT = _Beyond(IS_MET, IS_UNMET, IS_UNMET)
_FURTHER_AWAY = _Beyond(IS_UNKNOWN, IS_UNMET, IS_UNMET)  # the result lies on the other side of its number
# By direction of the limit and comparator of the result: "<3.0" is below 3.0, ">2.8" may be below 3.0, "<4.0" too.
_COMPARED: dict[Literal["low", "high"], dict[str, _Beyond]] = {
    "low": {
        "": _EXACT,
        "<": _Beyond(IS_MET, IS_MET, IS_UNKNOWN),
        "<=": _Beyond(IS_MET, IS_UNKNOWN, IS_UNKNOWN),
        ">": _FURTHER_AWAY,
        ">=": _FURTHER_AWAY,
    },
    "high": {
        "": _EXACT,
        ">": _Beyond(IS_MET, IS_MET, IS_UNKNOWN),
        ">=": _Beyond(IS_MET, IS_UNKNOWN, IS_UNKNOWN),
        "<": _FURTHER_AWAY,
        "<=": _FURTHER_AWAY,
    },
}


class LabCriterion(Kind, frozen=True, tag="lab", kw_only=True):
    """The newest usable result of an analyte, compared with a threshold.

    Thresholds are in `unit`, the canonical unit of the analyte. A comparator "<" is read as low by its value; ">" is never low.
    Where a source rounds a threshold differently in another unit, `below_reported` has it by that unit: a result
    reported in it is compared as reported (calcium: 2.0 mmol/L, 8.0 mg/dL). With `upper_limit_times` the threshold is
    that multiple of the upper limit that the laboratory sent; `above` holds where it sent none.
    """

    placeholders: ClassVar[frozenset[str]] = frozenset({"value", "day", "ago", "standing"})

    analyte: str
    within_days: int
    unit: str = ""
    below: Decimal | None = None
    at_most: Decimal | None = None
    above: Decimal | None = None
    at_least: Decimal | None = None
    below_reported: dict[str, Decimal] = {}
    older_than_days: int | None = None
    # Preliminary results: a matching one makes the criterion unknown, or they do not count, count, or count alone.
    preliminary: Literal["unknown", "ignored", "accepted", "only"] = "unknown"
    below_reference_range: bool = False  # it must be below the laboratory's own lower limit too, where that was sent
    upper_limit_times: Decimal | None = None
    own_range: Literal["below", "not below", "not sent"] | None = None  # against the lower limit that the laboratory sent
    as_measured: bool = False  # only a value as sent, not a computed or corrected one
    haemolysed: bool | None = None
    sampling: Literal["routine", "pre-dialysis"] | None = None
    missing: bool = False  # met where the data are complete and nothing is recorded, in any form
    alarm: bool = False  # an unusable result that may match is in the notice at patient-view too

    def find(self, index: FactIndex, evaluator: Evaluator) -> Finding:
        newest = index.newest(self.analyte)
        usable = newest.usable
        in_time = usable is not None and newest.days <= self.within_days
        # Results in the time window that may decide: preliminary ones where they count, then the usable one.
        candidates = self._preliminary(newest) if self.preliminary in ("accepted", "only") else []
        old_enough = self.older_than_days is None or newest.days > self.older_than_days
        if usable is not None and in_time and old_enough and self.preliminary != "only":
            candidates.append(usable)
        if self.missing and (candidates or self._preliminary(newest)):
            return UNMET
        unclear = False
        for lab in candidates:
            truth = self._compare(lab)
            if truth is IS_MET:
                return newest.met if lab is usable else Finding(IS_MET, (lab,))
            unclear = unclear or truth is IS_UNKNOWN
        if newest.unusable and (unread := self._unread(newest)) is not None:
            return unread
        if newest.preliminary and (unconfirmed := self._unconfirmed(newest)) is not None:
            return unconfirmed
        if unclear:
            why = "came without the laboratory's range" if self.own_range else "with a comparator is not exact enough"
            return Finding(IS_UNKNOWN, (), "not_readable", f"a result {why}")
        if self.missing and newest.in_future:  # dated in the future: it is recorded, and counts for nothing else
            return UNMET
        if candidates or in_time:  # the latter is too new, or not preliminary
            return newest.unmet if index.result_absent is UNMET else index.result_absent
        return self._absent(index)

    def _preliminary(self, newest: NewestResults) -> list[Lab]:
        """Return the preliminary results in the time window."""
        return [lab for lab, days in newest.preliminary if days <= self.within_days]

    def _unread(self, newest: NewestResults) -> Finding | None:
        """Return the finding for unusable results in the time window, an alarming one first; None without any."""
        found: Finding | None = None
        for bad, days in newest.unusable:
            if days <= self.within_days:
                alarming = self.alarm and self._may_be(bad)
                if found is None or alarming:
                    found = Finding(IS_UNKNOWN, (), "not_readable", bad.explanation, bad.words, alarming)
                if alarming:
                    break
        return found

    def _unconfirmed(self, newest: NewestResults) -> Finding | None:
        """Return the finding where a newer, unconfirmed result would match; None where none would."""
        if self.preliminary != "unknown" or self.missing:
            return None
        for lab, days in newest.preliminary:
            if days <= self.within_days and self._compare(lab) is not IS_UNMET:
                note = f"{self.analyte} of {lab.effective.day} is {lab.standing}"
                return Finding(IS_UNKNOWN, (), "not_readable", note)
        return None

    def _absent(self, index: FactIndex) -> Finding:
        if index.result_absent is not UNMET:
            return index.result_absent
        if self.missing:
            return MET
        return Finding(IS_UNKNOWN, (), "not_recorded", f"no {self.analyte} result in the last {self.within_days} days")

    def _may_be(self, bad: Unusable) -> bool:
        """Tell whether an unusable result may match, by a possible value or by the laboratory's flag."""
        low = self.below is not None or self.at_most is not None
        if bad.flagged in ("either", "low" if low else "high"):
            return True
        return any(
            (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            for value in bad.could_be
        )

    def _compare(self, lab: Lab) -> Truth:
        if self.haemolysed is not None and lab.haemolysed is not self.haemolysed:
            return IS_UNMET
        if self.sampling is not None and lab.sampling != self.sampling:
            return IS_UNMET
        if self.as_measured and lab.computed_from:
            return IS_UNMET
        if self.own_range is not None and (truth := self._against_own_range(lab)) is not IS_MET:
            return truth
        low = self.at_most if self.below is None else self.below
        if low is not None and (truth := self._low(lab, low)) is not IS_MET:
            return truth
        high = self.at_least if self.above is None else self.above
        return IS_MET if high is None else self._high(lab, high)

    def _against_own_range(self, lab: Lab) -> Truth:
        if self.own_range == "not sent":
            return IS_MET if lab.range_low is None else IS_UNMET
        if lab.range_low is None or lab.comparator:
            return IS_UNKNOWN
        return IS_MET if (lab.value < lab.range_low) is (self.own_range == "below") else IS_UNMET

    def _low(self, lab: Lab, limit: Decimal) -> Truth:
        """Compare with `below` or `at_most`."""
        value = lab.value
        if lab.reported_unit in self.below_reported:
            value, limit = lab.reported_value, self.below_reported[lab.reported_unit]
        truths = _COMPARED["low"][lab.comparator]
        if value < limit or (value == limit and self.below is None):
            truth = truths.beyond
        else:
            truth = truths.at if value == limit else truths.short
        if truth is IS_MET and self.below_reference_range and lab.range_low is not None and lab.value >= lab.range_low:
            return IS_UNMET
        return truth

    def _high(self, lab: Lab, limit: Decimal) -> Truth:
        """Compare with `above` or `at_least`."""
        if self.upper_limit_times is not None and lab.range_high is not None:
            limit = self.upper_limit_times * lab.range_high
        truths = _COMPARED["high"][lab.comparator]
        if lab.value > limit or (lab.value == limit and self.above is None):
            return truths.beyond
        return truths.at if lab.value == limit else truths.short

    @property
    def looks_for(self) -> frozenset[Trait]:
        return frozenset({("lab", self.analyte), UNCLEAR_LABS})

    def sentence(self, names: Names) -> str:
        analyte = names.analyte(self.analyte)
        if self.missing:
            return f"no {analyte} in the last {self.within_days} days"
        limits = self._limits_in_words()
        said = f"{analyte} {' and '.join(limits)}" if limits else analyte
        if self.at_least == 0 and len(limits) == 1:
            said = f"any {analyte}"  # only requires a result
        said += "".join(self._conditions_in_words())
        if self.older_than_days is not None:
            return f"{said}, {self.older_than_days + 1} to {self.within_days} days old"
        return f"{said}, at most {self.within_days} days old"

    def _limits_in_words(self) -> list[str]:
        limits = [
            f"{words} {number(limit)} {readable_unit(self.unit)}"
            for words, limit in (
                ("below", self.below),
                ("of at most", self.at_most),
                ("above", self.above),
                ("of at least", self.at_least),
            )
            if limit is not None
        ]
        if self.below_reported:
            limits[0] += "".join(
                f" (below {number(limit)} {unit} where it is reported in {unit})" for unit, limit in self.below_reported.items()
            )
        if self.upper_limit_times is not None:
            own = f"above {number(self.upper_limit_times)} times the laboratory's upper limit"
            limits[0] = f"{own} ({limits[0]} where it sent none)"
        return limits

    def _conditions_in_words(self) -> Iterator[str]:
        if self.own_range is not None:
            own = "without a" if self.own_range == "not sent" else f"{self.own_range} the laboratory's own"
            yield f" {own} lower limit"
        if self.as_measured:
            yield " as it was measured, without a correction"
        if self.below_reference_range:
            yield " (and below the laboratory's own limit, where it sent one)"
        if self.haemolysed is not None:
            yield " in a haemolysed sample" if self.haemolysed else " in a sample that is not haemolysed"
        if self.sampling is not None:
            yield f" taken {self.sampling.replace('-', ' ')}"
        if self.preliminary == "accepted":
            yield ", results that are not confirmed included"
        elif self.preliminary == "only":
            yield ", in a result that is not confirmed"
        elif self.preliminary == "ignored":
            yield " (results that are not confirmed do not count)"

    def names_used(self, known: Known) -> Iterable[Used]:
        yield Used("analyte", known.analytes, [self.analyte])
        yield Used("below_reported", known.analytes.get(self.analyte, ()), list(self.below_reported))

    def needs(self) -> Needs:
        return results_of(self.analyte)

    def looked_through(self, facts: Facts) -> str:
        """Return the newest result and the unusable ones, of any age, in words."""
        series = facts.labs.get(self.analyte)
        if series is None:
            return ""
        said: list[str] = []
        for lab in series.results[:1]:
            days = (facts.now - lab.effective.start).days
            value = f"{lab.comparator}{number(lab.reported_value)} {readable_unit(lab.reported_unit or lab.canonical_unit)}"
            said.append(f"the newest is {value} of {lab.effective.day}, {counted(days, 'day')} old")
        return "; ".join(said + [bad.explanation for bad in series.unusable[:3] if bad.explanation])

    @property
    def truths_in_cases(self) -> tuple[Truth, ...]:
        return (Truth.MET, Truth.UNKNOWN) if self.at_least == 0 else ALL_TRUTHS  # at least 0 only requires a result

    @property
    def limits(self) -> list[Decimal]:
        return [limit for limit in (self.below, self.at_most, self.above, self.at_least) if limit]

    def compared(self, finding: Finding, facts: Facts, order: Order | None) -> Decimal | None:
        return next((item.value for item in finding.evidence if isinstance(item, Lab)), None)
