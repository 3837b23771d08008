"""The closed vocabulary of criteria: each kind with its fields, and how it is found in the facts.

Criteria are data (decoded from card files by msgspec, tagged by `kind`); `sentences` turns the same data into English. What a
card does with an unknown is written in the card (`on_unknown`), not here. Quantities are `Decimal` in canonical units.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

from cds_service.criteria.facts import Drug, Facts, Lab, Order, Problem, Route, Unusable, When
from cds_service.criteria.findings import (
    IS_MET,
    IS_UNKNOWN,
    IS_UNMET,
    MET,
    UNMET,
    UNNAMED_ORDER,
    Cause,
    Evidence,
    Finding,
    Findings,
    Newest,
    Truth,
    View,
)


class Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """What every kind of criterion has."""

    source: list[str] = []  # ids of cards/sources.yaml; "engineering" marks a choice for a clinician to sign

    @property
    def per_order(self) -> bool:
        """True where the finding depends on which order is looked at."""
        return False

    @property
    def children(self) -> list[str]:
        return []

    def find(self, view: View, findings: Findings) -> Finding:
        raise NotImplementedError


class LabCriterion(Base, frozen=True, tag="lab", kw_only=True):
    """The newest usable result of an analyte, compared with a threshold.

    Thresholds are in `unit`, the canonical unit of the analyte. A comparator "<" is read as low by its value; ">" is never low.
    Where a source rounds a threshold differently in another unit, `below_reported` has it by that unit: a result that was
    reported in it is compared as it was reported (calcium: 2.0 mmol/L, 8.0 mg/dL). With `upper_limit_times` the threshold is
    that multiple of the upper limit that the laboratory sent; `above` holds where it sent none.
    """

    analyte: str
    within_days: int
    unit: str = ""
    below: Decimal | None = None
    at_most: Decimal | None = None
    above: Decimal | None = None
    at_least: Decimal | None = None
    below_reported: dict[str, Decimal] = {}
    older_than_days: int | None = None
    # Results that nobody has confirmed: one that would meet this makes it unknown, or they do not count, count, or count alone.
    preliminary: Literal["unknown", "ignored", "accepted", "only"] = "unknown"
    below_reference_range: bool = False  # the laboratory's own lower limit, where it sent one, must be crossed too
    upper_limit_times: Decimal | None = None
    own_range: Literal["below", "not below", "not sent"] | None = None  # against the lower limit that the laboratory sent
    as_measured: bool = False  # only a value that was used as it was sent, not a computed or corrected one
    haemolysed: bool | None = None
    sampling: Literal["routine", "pre-dialysis"] | None = None
    missing: bool = False  # met where nothing is recorded (and it could be looked for), in any form
    alarm: bool = False  # a result that cannot be used and may meet this is said at the chart too

    def find(self, view: View, findings: Findings) -> Finding:
        newest = view.newest(self.analyte)
        candidates = self._candidates(newest)
        if self.missing and (candidates or any(days <= self.within_days for _, days in newest.preliminary)):
            return UNMET
        unclear = False
        for lab in candidates:
            truth = self._compare(lab)
            if truth is IS_MET:
                return newest.met if lab is newest.usable else Finding(IS_MET, (lab,))
            unclear = unclear or truth is IS_UNKNOWN
        if (unread := self._unread(newest)) is not None:
            return unread
        if (unconfirmed := self._unconfirmed(newest)) is not None:
            return unconfirmed
        if unclear:
            why = "came without the laboratory's range" if self.own_range else "with a comparator is not exact enough"
            return Finding(IS_UNKNOWN, (), "not_readable", f"a result {why}")
        if self.missing and newest.other:  # there is one, in a form that counts for nothing else
            return UNMET
        if candidates or (newest.usable is not None and newest.days <= self.within_days):  # the latter: too new, or final
            return newest.unmet if view.no_lab is UNMET else view.no_lab
        return self._nothing(view)

    def _unread(self, newest: Newest) -> Finding | None:
        """What it means that results in the time window cannot be used; one that is alarming is named before others."""
        found: Finding | None = None
        for bad, days in newest.unusable:
            if days <= self.within_days:
                alarming = self.alarm and self._may_be(bad)
                if found is None or alarming:
                    found = Finding(IS_UNKNOWN, (), "not_readable", bad.explanation, bad.words, alarming)
                if alarming:
                    break
        return found

    def _unconfirmed(self, newest: Newest) -> Finding | None:
        """What it means that a newer result, which nobody has confirmed, would meet this."""
        if self.preliminary != "unknown" or self.missing:
            return None
        for lab, days in newest.preliminary:
            if days <= self.within_days and self._compare(lab) is not IS_UNMET:
                note = f"{self.analyte} of {lab.effective.day} is {lab.standing}"
                return Finding(IS_UNKNOWN, (), "not_readable", note)
        return None

    def _may_be(self, bad: Unusable) -> bool:
        """Whether a result that cannot be used may meet this: a value that it may mean, or the laboratory's own flag."""
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

    def _candidates(self, newest: Newest) -> list[Lab]:
        """The results in the time window that may decide: preliminary ones where they count, then the newest usable one."""
        found: list[Lab] = []
        if self.preliminary in ("accepted", "only"):
            found = [lab for lab, days in newest.preliminary if days <= self.within_days]
        old_enough = self.older_than_days is None or newest.days > self.older_than_days
        if newest.usable is not None and self.preliminary != "only" and old_enough and newest.days <= self.within_days:
            found.append(newest.usable)
        return found

    def _nothing(self, view: View) -> Finding:
        if view.no_lab is not UNMET:
            return view.no_lab
        if self.missing:
            return MET
        return Finding(IS_UNKNOWN, (), "not_recorded", f"no {self.analyte} result in the last {self.within_days} days")

    def _compare(self, lab: Lab) -> Truth:
        if self.haemolysed is not None and lab.haemolysed is not self.haemolysed:
            return IS_UNMET
        if self.sampling is not None and lab.sampling != self.sampling:
            return IS_UNMET
        if self.as_measured and lab.computed_from:
            return IS_UNMET
        for side in (self._against_range, self._below, self._above):
            if (truth := side(lab)) is not IS_MET:
                return truth
        return IS_MET

    def _against_range(self, lab: Lab) -> Truth:
        if self.own_range is None:
            return IS_MET
        if self.own_range == "not sent":
            return IS_MET if lab.range_low is None else IS_UNMET
        if lab.range_low is None or lab.comparator:
            return IS_UNKNOWN
        return IS_MET if (lab.value < lab.range_low) is (self.own_range == "below") else IS_UNMET

    def _below(self, lab: Lab) -> Truth:
        limit = self.at_most if self.below is None else self.below
        if limit is None:
            return IS_MET
        below = lab.comparator == "<" or self.below is None  # a result of "<3.0" lies below 3.0
        value = lab.value
        if lab.reported_unit in self.below_reported:
            value, limit = lab.reported_value, self.below_reported[lab.reported_unit]
        if not (value < limit or (value == limit and below)):
            return IS_UNKNOWN if lab.comparator.startswith("<") else IS_UNMET
        if lab.comparator.startswith(">"):
            return IS_UNKNOWN
        if self.below_reference_range and lab.range_low is not None and lab.value >= lab.range_low:
            return IS_UNMET
        return IS_MET

    def _above(self, lab: Lab) -> Truth:
        limit = self.at_least if self.above is None else self.above
        if limit is None:
            return IS_MET
        if self.upper_limit_times is not None and lab.range_high is not None:
            limit = self.upper_limit_times * lab.range_high
        above = lab.comparator == ">" or self.above is None  # a result of ">60" lies above 60
        if not (lab.value > limit or (lab.value == limit and above)):
            return IS_UNKNOWN if lab.comparator.startswith(">") else IS_UNMET
        return IS_UNKNOWN if lab.comparator.startswith("<") else IS_MET


class DrugCriterion(Base, frozen=True, tag="drug", kw_only=True):
    """An active medication of one of the classes; the other drafts of the session count as active where `drafts` is true.

    With `begun_days_before` only one that began at most so many days before a problem of `before_sets`; the earliest start of
    the same ingredient counts, because a renewed prescription has a date of its own.
    """

    classes: list[str]
    drafts: bool = True
    route: Route | None = None
    not_routes: list[Route] = []
    ingredients: list[str] = []  # only these drugs of the classes; all of them where empty
    started_after: str | None = None  # analyte: the therapy began after its newest usable result
    started_at_most_days_ago: int | None = None
    started_more_than_days_ago: int | None = None
    started_at_most_hours_ago: int | None = None  # a start without a time counts from the beginning of its day
    started_more_than_hours_ago: int | None = None  # and here from the end of it
    new_therapy: bool = False  # not what renews a therapy that was there before that result
    same_as_order: bool = False  # only what has an ingredient of the order that is looked at: it renews a therapy
    dose_above: Decimal | None = None  # mg/day; a dose that can't be read is unknown
    regular: bool = False  # only what is taken on a schedule, not as needed
    begun_days_before: int | None = None
    before_sets: list[str] = []

    @property
    def per_order(self) -> bool:
        return self.same_as_order

    def find(self, view: View, findings: Findings) -> Finding:
        index = view.session_by_class if self.drafts else view.active_by_class
        ordered = findings.focus.drug if findings.focus is not None else None
        if self.same_as_order and (ordered is None or ordered.classes.isdisjoint(self.classes)):
            return view.no_order if findings.focus is None else UNMET
        nothing = view.no_session_drug if self.drafts else view.no_drug
        if index.keys().isdisjoint(self.classes):
            return nothing
        found: dict[Drug, None] = {}  # each once, though it may be of several classes
        undated: Drug | None = None
        for name in self.classes:
            for drug in index.get(name, ()):
                if self.same_as_order and (ordered is None or set(ordered.ingredients).isdisjoint(drug.ingredients)):
                    continue
                fits = self._fits(drug, view)
                if fits is IS_MET:
                    found[drug] = None
                elif fits is IS_UNKNOWN:
                    undated = drug
        if found:
            return Finding(IS_MET, tuple(found))
        if undated is not None:
            return Finding(IS_UNKNOWN, (undated,), "not_readable", self._unread)
        return nothing

    @property
    def _unread(self) -> str:
        if self.dose_above is not None:
            return "the daily dose of a medication could not be read"
        if self.regular:
            return "whether a medication is taken regularly could not be read"
        return "when a medication was started is not recorded"

    def _fits(self, drug: Drug, view: View) -> Truth:
        if (self.route is not None and not drug.is_given_by((self.route,))) or drug.is_given_by(self.not_routes):
            return IS_UNMET
        if self.ingredients and set(self.ingredients).isdisjoint(drug.ingredients):
            return IS_UNMET
        if self.dose_above is not None:
            if drug.daily_dose_mg is None:
                return IS_UNKNOWN
            if drug.daily_dose_mg <= self.dose_above:
                return IS_UNMET
        if self.regular and drug.as_needed is not False:
            return IS_UNKNOWN if drug.as_needed is None else IS_UNMET
        if self.begun_days_before is not None:
            return self._begun_before(drug, view)
        if self.started_after is None and not self._has_span:
            return IS_MET
        if drug.started is None:
            return IS_UNKNOWN
        in_span = IS_MET if self._in_span(view.facts.now, drug.started) else IS_UNMET
        return (
            in_span
            if self.started_after is None
            else min(in_span, self._after_result(drug, drug.started, self.started_after, view))
        )

    def _after_result(self, drug: Drug, started: When, analyte: str, view: View) -> Truth:
        """Whether the therapy began after the newest result, and is new where only a new one counts."""
        newest = view.newest(analyte)
        if newest.usable is None and not newest.preliminary:  # after a result that was not seen, or cannot be used?
            return IS_UNKNOWN if newest.unusable or view.no_lab is not UNMET else IS_UNMET
        if not self._started_after_result(started, newest):
            return IS_UNMET
        if not self.new_therapy:
            return IS_MET
        earlier = (one for one in view.facts.drugs if one.started and not self._started_after_result(one.started, newest))
        if any(renews(drug, one) for one in earlier):
            return IS_UNMET
        return IS_MET if view.no_drug is UNMET else IS_UNKNOWN  # what it may renew was not seen

    @property
    def _has_span(self) -> bool:
        days = (self.started_at_most_days_ago, self.started_more_than_days_ago)
        return any(one is not None for one in (*days, self.started_at_most_hours_ago, self.started_more_than_hours_ago))

    def _in_span(self, now: datetime, started: When) -> bool:
        since = now - started.start
        known = since if started.has_time else since - timedelta(days=1)  # what has certainly passed
        at_most, more_than = self.started_at_most_days_ago, self.started_more_than_days_ago
        at_most_hours, more_than_hours = self.started_at_most_hours_ago, self.started_more_than_hours_ago
        return (
            (at_most is None or since.days <= at_most)
            and (more_than is None or since.days > more_than)
            and (at_most_hours is None or since <= timedelta(hours=at_most_hours))
            and (more_than_hours is None or known > timedelta(hours=more_than_hours))
        )

    def _begun_before(self, drug: Drug, view: View) -> Truth:
        same = [one for one in view.facts.drugs if one is drug or not set(one.ingredients).isdisjoint(drug.ingredients)]
        starts = [one.started.start for one in same if one.started is not None]
        onsets = [one.onset for name in self.before_sets for one in view.problems_by_set.get(name, ())]
        dated = [onset.start for onset in onsets if onset is not None]
        if not onsets:
            return IS_UNMET
        if not starts or not dated:
            return IS_UNKNOWN
        days = self.begun_days_before or 0
        return IS_MET if any(0 <= (onset - min(starts)).days <= days for onset in dated) else IS_UNMET

    @staticmethod
    def _started_after_result(started: When, newest: Newest) -> bool:
        # A preliminary result since then may be severe: what was started before it has not treated that.
        result = newest.preliminary[0][0] if newest.preliminary else newest.usable
        if result is None:
            return False
        if started.has_time and result.effective.has_time:
            return started.start > result.effective.start
        return started.day > result.effective.day  # the same day does not tell which came first


def renews(drug: Drug, taken: Drug) -> bool:
    """Whether `drug` is the same product as `taken`: they share an ingredient, and no codes of one system tell them apart."""
    if set(drug.ingredients).isdisjoint(taken.ingredients):
        return False
    system, _, code = drug.code.partition("|")
    other_system, _, other_code = taken.code.partition("|")
    return not system or system != other_system or code == other_code


class ProblemCriterion(Base, frozen=True, tag="problem", kw_only=True):
    """A present problem of one of the value sets; with an onset window, only one whose onset is known to lie in it.

    The onset is when it was recorded, where nothing else is said. With `undated` one without a date counts too: the safe side
    for a problem that warns, and not for one that excuses (malaria excuses quinine). With `newer_than` only one that began after
    the newest result of that analyte, or whose date is not known. With `text_patterns`, only one whose name matches one of them:
    codes do not tell a cramp after exercise from another.
    """

    sets: list[str]
    text_patterns: list[str] = []
    onset_within_days: int | None = None
    onset_more_than_days_ago: int | None = None
    undated: bool = False
    newer_than: str | None = None  # analyte

    def find(self, view: View, findings: Findings) -> Finding:
        if view.problems_by_set.keys().isdisjoint(self.sets):
            return view.no_problem(self.sets)
        found: list[Problem] = []
        for name in self.sets:
            for problem in view.problems_by_set.get(name, ()):
                if problem not in found and self._fits(problem, view.facts) and self._is_newer(problem, view):
                    found.append(problem)
        return Finding(IS_MET, tuple(found)) if found else view.no_problem(self.sets)

    def _is_newer(self, problem: Problem, view: View) -> bool:
        if self.newer_than is None or problem.onset is None:
            return True
        result = view.newest(self.newer_than).usable
        return result is None or problem.onset.day > result.effective.day

    def _fits(self, problem: Problem, facts: Facts) -> bool:
        if self.text_patterns and problem.patterns.isdisjoint(self.text_patterns):
            return False
        if self.onset_within_days is None and self.onset_more_than_days_ago is None:
            return True
        if problem.onset is None:
            return self.undated
        days = (facts.now - problem.onset.start).days
        return (self.onset_within_days is None or days <= self.onset_within_days) and (
            self.onset_more_than_days_ago is None or days > self.onset_more_than_days_ago
        )


class CountCriterion(Base, frozen=True, tag="count", kw_only=True):
    """At least so many different culprits: active drugs of the classes (each ingredient once) and problem sets."""

    classes: list[str]
    at_least: int
    sets: list[str] = []
    not_routes: list[Route] = []

    def find(self, view: View, findings: Findings) -> Finding:
        culprits: dict[str, Drug | Problem] = {}
        for name in self.classes:
            for drug in view.active_by_class.get(name, ()):
                if not drug.is_given_by(self.not_routes):
                    culprits.setdefault(" ".join(drug.ingredients) or drug.text, drug)
        for name in self.sets:
            for problem in view.problems_by_set.get(name, ()):
                culprits.setdefault(name, problem)
        if len(culprits) >= self.at_least:
            return Finding(IS_MET, tuple(culprits.values()))
        return view.no_drug if view.no_drug is not UNMET or not self.sets else view.no_problem(self.sets)


class AllergyCriterion(Base, frozen=True, tag="allergy", kw_only=True):
    """A recorded allergy or reaction to a drug of one of the classes."""

    classes: list[str]

    def find(self, view: View, findings: Findings) -> Finding:
        found = [allergy for name in self.classes for allergy in view.allergies_by_class.get(name, ())]
        return Finding(IS_MET, tuple(found)) if found else view.no_allergy(self.classes)


class AgeCriterion(Base, frozen=True, tag="age", kw_only=True):
    """Completed years at the time of the request."""

    below: int | None = None
    at_least: int | None = None

    def find(self, view: View, findings: Findings) -> Finding:
        age = view.facts.age_years
        if age is None:
            cause: Cause = "not_recorded" if view.facts.sources["patient"].complete else "not_obtained"
            return Finding(IS_UNKNOWN, (), cause, "the age is not known")
        met = (self.below is None or age < self.below) and (self.at_least is None or age >= self.at_least)
        return Finding(IS_MET if met else IS_UNMET, (view.facts.patient,))


class OrderCriterion(Base, frozen=True, tag="order", kw_only=True):
    """The order that is being selected or signed: what it is and what it does."""

    classes: list[str]
    action: Literal["start", "stop", "switch"] = "start"
    code_disagrees: bool = False
    route: Route | None = None
    not_routes: list[Route] = []
    ingredients: list[str] = []  # only these drugs of the classes; all of them where empty
    new_therapy: bool = False  # not one that renews what is taken

    @property
    def per_order(self) -> bool:
        return True

    def find(self, view: View, findings: Findings) -> Finding:
        orders = view.orders if findings.focus is None else (findings.focus,)
        found = [order for order in orders if self._fits(order, view)]
        if found and self.new_therapy and view.no_drug is not UNMET:  # what it may renew was not seen
            return view.no_drug
        if found:
            return Finding(IS_MET, tuple(found))
        if any(order.drug is not None and not order.drug.identified for order in orders):
            return UNNAMED_ORDER
        if self.action == "switch" and any(self._may_replace(order) for order in orders) and view.no_drug is not UNMET:
            return view.no_drug  # what is replaced may be among what was not seen
        return view.no_order if findings.focus is None else UNMET

    def _fits(self, order: Order, view: View) -> bool:
        drug = order.drug
        if drug is None:
            return False
        is_drug = not drug.classes.isdisjoint(self.classes)
        if self.action == "switch":
            return self._may_replace(order) and self._replaces(order, view)
        return (
            is_drug
            and order.action == self.action
            and (not self.code_disagrees or bool(drug.code_disagrees))
            and (self.route is None or drug.is_given_by((self.route,)))
            and not drug.is_given_by(self.not_routes)
            and (not self.ingredients or not set(self.ingredients).isdisjoint(drug.ingredients))
            and not (self.new_therapy and any(renews(drug, taken) for taken in view.facts.drugs))
        )

    def _may_replace(self, order: Order) -> bool:
        drug = order.drug
        return drug is not None and drug.classes.isdisjoint(self.classes) and bool(order.replaces) and order.action == "start"

    def _replaces(self, order: Order, view: View) -> bool:
        replaced = order.replaces.partition("/_history")[0].rsplit("/", 1)[-1]
        drugs = (drug for name in self.classes for drug in view.active_by_class.get(name, ()))
        return any(drug.reference.rsplit("/", 1)[-1] == replaced for drug in drugs)


class DoseCriterion(Base, frozen=True, tag="dose", kw_only=True):
    """The daily dose of the order that is being looked at, in mg/day."""

    above: Decimal | None = None
    at_least: Decimal | None = None
    unit: Literal["mg/day"] = "mg/day"

    @property
    def per_order(self) -> bool:
        return True

    def find(self, view: View, findings: Findings) -> Finding:
        if findings.focus is None:
            return view.no_order
        if findings.focus.drug is None:
            return UNMET
        dose = findings.focus.drug.daily_dose_mg
        if dose is None:
            return Finding(IS_UNKNOWN, (findings.focus,), "not_readable", "the daily dose of the order could not be read")
        met = (self.above is not None and dose > self.above) or (self.at_least is not None and dose >= self.at_least)
        return Finding(IS_MET if met else IS_UNMET, (findings.focus,))


class ReasonCriterion(Base, frozen=True, tag="reason", kw_only=True):
    """The stated reason of an order or of an active medication, by text pattern or by the problem that it refers to.

    With `stated` any reason will do. A reason that is a condition which was not at hand makes it unknown: of the orders, and of
    the medications where `of_classes` names those that matter.
    """

    patterns: list[str] = []
    sets: list[str] = []
    stated: bool = False
    of: Literal["order", "order or medication"] = "order"
    of_classes: list[str] = []  # only medications and orders of these classes; all where empty

    @property
    def per_order(self) -> bool:
        return self.of == "order"

    def find(self, view: View, findings: Findings) -> Finding:
        orders = view.orders if findings.focus is None or self.of != "order" else (findings.focus,)
        drugs: Iterable[Drug] = [order.drug for order in orders if order.drug is not None]
        if self.of == "order or medication":
            drugs = [*drugs, *view.facts.drugs]
        speaking = [drug for drug in drugs if (drug.reason_stated or drug.reasons or drug.reason_sets) and self._fits(drug)]
        found = tuple(drug for drug in speaking if not self.of_classes or not drug.classes.isdisjoint(self.of_classes))
        if found:
            return Finding(IS_MET, found)
        if not all(drug.identified for drug in speaking):
            return Finding(IS_UNKNOWN, (), "not_readable", "a medication that is given for it could not be recognised")
        asked = drugs if self.of_classes else [order.drug for order in orders if order.drug is not None]
        unread = [drug for drug in asked if drug.reason_unread and not drug.classes.isdisjoint(self.of_classes or drug.classes)]
        if unread:
            return Finding(IS_UNKNOWN, tuple(unread), "not_readable", "the condition that is the reason could not be read")
        if self.of == "order or medication" and view.no_therapy is not UNMET:
            return view.no_therapy
        return view.no_order if findings.focus is None or self.of != "order" else UNMET

    def _fits(self, drug: Drug) -> bool:
        if self.stated and drug.reason_stated:
            return True
        return not (drug.reason_sets.isdisjoint(self.sets) and drug.reasons.isdisjoint(self.patterns))


class HookCriterion(Base, frozen=True, tag="hook", kw_only=True):
    """The moment in the workflow."""

    hooks: list[Literal["patient-view", "order-select", "order-sign"]]

    def find(self, view: View, findings: Findings) -> Finding:
        return MET if view.facts.hook in self.hooks else UNMET


class JurisdictionCriterion(Base, frozen=True, tag="jurisdiction", kw_only=True):
    """The country whose licence and wording apply (a setting of the site)."""

    country: Literal["US", "GB"]

    def find(self, view: View, findings: Findings) -> Finding:
        return MET if view.facts.jurisdiction == self.country else UNMET


class Composite(Base, frozen=True, kw_only=True):
    """A named group of other criteria, which are found before it."""

    of: list[str] = []
    none_of: list[str] = []

    @property
    def children(self) -> list[str]:
        return [*self.of, *self.none_of]


class AnyCriterion(Composite, frozen=True, tag="any", kw_only=True):
    """Kleene's OR: met by one that is met; unknown where none is met and one is unknown. All that are met are evidence."""

    def find(self, view: View, findings: Findings) -> Finding:
        met: Finding | None = None
        unknown: Finding | None = None
        for name in self.of:
            finding = findings[name]
            if finding.truth is IS_MET:
                met = finding if met is None else Finding(IS_MET, met.evidence + finding.evidence)
            elif finding.truth is IS_UNKNOWN:
                unknown = _worse(unknown, finding)
        return met or unknown or UNMET


class AllCriterion(Composite, frozen=True, tag="all", kw_only=True):
    """Kleene's AND of `of` and the negation of `none_of`; an unmet one decides before an unknown one."""

    def find(self, view: View, findings: Findings) -> Finding:
        unknown: Finding | None = None
        evidence: tuple[Evidence, ...] = ()
        for names, wanted in ((self.of, IS_MET), (self.none_of, IS_UNMET)):
            for name in names:
                finding = findings[name]
                if finding.truth is IS_UNKNOWN:
                    unknown = _worse(unknown, finding)
                elif finding.truth is not wanted:
                    return UNMET
                elif wanted is IS_MET:
                    evidence += finding.evidence
        return unknown or Finding(IS_MET, evidence)


_CAUSES: tuple[Cause, ...] = ("", "not_recorded", "not_readable", "not_obtained", "failed")


def _worse(one: Finding | None, other: Finding) -> Finding:
    """The unknown that says more: data that did not arrive must not hide behind data that is merely not recorded."""
    return other if one is None or _CAUSES.index(other.cause) > _CAUSES.index(one.cause) else one


Criterion: TypeAlias = (
    LabCriterion
    | DrugCriterion
    | ProblemCriterion
    | CountCriterion
    | AllergyCriterion
    | AgeCriterion
    | OrderCriterion
    | DoseCriterion
    | ReasonCriterion
    | HookCriterion
    | JurisdictionCriterion
    | AnyCriterion
    | AllCriterion
)
