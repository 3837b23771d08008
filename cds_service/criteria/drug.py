"""Evaluate the criterion `drug`: an active medication of a class."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import ClassVar

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.fact_index import (
    UNCLEAR_DRUGS,
    UNCLEAR_DRUGS_OR_DRAFTS,
    UNCLEAR_ORDERS,
    FactIndex,
    NewestResults,
    Trait,
)
from cds_service.criteria.facts import Drug, Facts, Route, When
from cds_service.criteria.findings import IS_MET, IS_UNKNOWN, IS_UNMET, UNMET, Finding, Truth
from cds_service.criteria.kind import MEDICATIONS, DrugsSought, Kind, Known, Names, Needs, Used, results_of
from cds_service.criteria.wording import alternatives, counted, number


class DrugCriterion(Kind, frozen=True, tag="drug", kw_only=True):
    """An active medication of one of the classes; with `drafts` the other draft orders count as active.

    With `begun_days_before` only one that began at most so many days before a problem of `before_sets`; the earliest start of
    the same ingredient counts, because a renewed prescription has its own date.
    """

    placeholders: ClassVar[frozenset[str]] = frozenset({"names", "dose"})

    classes: list[str]
    drafts: bool = True
    route: Route | None = None
    not_routes: list[Route] = []
    ingredients: list[str] = []  # only these drugs of the classes; all of them where empty
    started_after: str | None = None  # analyte: the therapy began after its newest usable result
    started_at_most_days_ago: int | None = None
    started_more_than_days_ago: int | None = None
    started_at_most_hours_ago: int | None = None  # a start without a time counts from the start of its day
    started_more_than_hours_ago: int | None = None  # and here from the end of its day
    new_therapy: bool = False  # not one that renews a therapy from before that result
    same_as_order: bool = False  # only with an ingredient of the order that the card is about, which renews a therapy
    dose_above: Decimal | None = None  # mg/day; a dose that can't be read is unknown
    regular: bool = False  # only one taken on a schedule, not as needed
    begun_days_before: int | None = None
    before_sets: list[str] = []

    @property
    def per_order(self) -> bool:
        return self.same_as_order

    def find(self, index: FactIndex, evaluator: Evaluator) -> Finding:
        ordered = evaluator.order.drug if evaluator.order is not None else None
        if self.same_as_order and (ordered is None or ordered.classes.isdisjoint(self.classes)):
            return evaluator.order_absent
        by_class = index.with_drafts_by_class if self.drafts else index.active_by_class
        absent = index.drug_and_draft_absent if self.drafts else index.drug_absent
        if by_class.keys().isdisjoint(self.classes):
            return absent
        found: dict[Drug, None] = {}  # each once, though it may be of several classes
        unclear: Drug | None = None
        for name in self.classes:
            for drug in by_class.get(name, ()):
                if self.same_as_order and (ordered is None or not ordered.shares_ingredient(drug)):
                    continue
                fits = self._fits(drug, index)
                if fits is IS_MET:
                    found[drug] = None
                elif fits is IS_UNKNOWN:
                    unclear = drug
        if found:
            return Finding(IS_MET, tuple(found))
        if unclear is not None:
            return Finding(IS_UNKNOWN, (unclear,), "not_readable", self._unread)
        return absent

    @property
    def _unread(self) -> str:
        """Return why a medication may match, in words for a clinician."""
        if self.dose_above is not None:
            return "the daily dose of a medication could not be read"
        if self.regular:
            return "whether a medication is taken regularly could not be read"
        return "when a medication was started is not recorded"

    def _fits(self, drug: Drug, index: FactIndex) -> Truth:
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
            return self._begun_before(drug, index, self.begun_days_before)
        if self.started_after is None and not self._has_span:
            return IS_MET
        if drug.started is None:
            return IS_UNKNOWN
        in_span = IS_MET if self._in_span(index.facts.now, drug.started) else IS_UNMET
        if self.started_after is None:
            return in_span
        return min(in_span, self._after_result(drug, drug.started, self.started_after, index))

    @property
    def _has_span(self) -> bool:
        days = (self.started_at_most_days_ago, self.started_more_than_days_ago)
        return any(one is not None for one in (*days, self.started_at_most_hours_ago, self.started_more_than_hours_ago))

    def _in_span(self, now: datetime, started: When) -> bool:
        since = now - started.start
        at_least = since if started.has_time else since - timedelta(days=1)  # the time that has certainly passed
        at_most, more_than = self.started_at_most_days_ago, self.started_more_than_days_ago
        at_most_hours, more_than_hours = self.started_at_most_hours_ago, self.started_more_than_hours_ago
        return (
            (at_most is None or since.days <= at_most)
            and (more_than is None or since.days > more_than)
            and (at_most_hours is None or since <= timedelta(hours=at_most_hours))
            and (more_than_hours is None or at_least > timedelta(hours=more_than_hours))
        )

    def _after_result(self, drug: Drug, started: When, analyte: str, index: FactIndex) -> Truth:
        """Tell whether the therapy began after the newest result, and is new where only a new one counts."""
        newest = index.newest(analyte)
        if newest.usable is None and not newest.preliminary:  # unknown where a result is missing or unusable
            return IS_UNKNOWN if newest.unusable or index.result_absent is not UNMET else IS_UNMET
        if not _is_after(started, newest):
            return IS_UNMET
        if not self.new_therapy:
            return IS_MET
        earlier = (one for one in index.facts.drugs if one.started and not _is_after(one.started, newest))
        if any(drug.renews(one) for one in earlier):
            return IS_UNMET
        return IS_MET if index.drug_absent is UNMET else IS_UNKNOWN  # the medication that it may renew is unknown

    def _begun_before(self, drug: Drug, index: FactIndex, days: int) -> Truth:
        same = [one for one in index.facts.drugs if one is drug or one.shares_ingredient(drug)]
        starts = [one.started.start for one in same if one.started is not None]
        onsets = [one.onset for name in self.before_sets for one in index.problems_by_set.get(name, ())]
        dated = [onset.start for onset in onsets if onset is not None]
        if not onsets:
            return IS_UNMET
        if not starts or not dated:
            return IS_UNKNOWN
        return IS_MET if any(0 <= (onset - min(starts)).days <= days for onset in dated) else IS_UNMET

    @property
    def looks_for(self) -> frozenset[Trait]:
        found = {("drug", name) for name in self.classes} | {UNCLEAR_DRUGS_OR_DRAFTS if self.drafts else UNCLEAR_DRUGS}
        if self.same_as_order:
            found |= {("order", name) for name in self.classes} | {UNCLEAR_ORDERS}
        return frozenset(found)

    def sentence(self, names: Names) -> str:
        said = f"takes {alternatives(self.ingredients or names.classes(self.classes))}"
        if self.route is not None:
            said += f" ({self.route})"
        if self.not_routes:
            said += f" (not by {alternatives(self.not_routes)})"
        if self.dose_above is not None:
            said += f" above {number(self.dose_above)} mg/day"
        if self.regular:
            said += " on a schedule, not as needed"
        if self.begun_days_before is not None:
            said += f" begun at most {self.begun_days_before} days before: {alternatives(names.problems(self.before_sets))}"
        if self.started_after is not None:
            said += f" started after the newest {names.analyte(self.started_after)}"
        said += "".join(
            f", {words} {span} {unit} ago"
            for words, span, unit in (
                ("at most", self.started_at_most_days_ago, "days"),
                ("more than", self.started_more_than_days_ago, "days"),
                ("at most", self.started_at_most_hours_ago, "hours"),
                ("more than", self.started_more_than_hours_ago, "hours"),
            )
            if span is not None
        )
        if self.new_therapy:
            said += ", not renewed from before"
        if self.same_as_order:
            said += " with the same active ingredient as the order"
        return said if self.drafts else f"{said} (the drafts of this session not counted)"

    def names_used(self, known: Known) -> Iterable[Used]:
        yield Used("classes", known.drug_classes, self.classes)
        yield Used("ingredients", known.ingredients, self.ingredients)
        yield Used("started_after", known.analytes, [self.started_after] if self.started_after else [])
        yield Used("before_sets", known.problem_sets, self.before_sets)

    def needs(self) -> Needs:
        result = results_of(self.started_after)
        return Needs(result.sources | MEDICATIONS | ({"problems"} if self.before_sets else set()), result.analytes)

    def looked_through(self, facts: Facts) -> str:
        return f"among {counted(len(facts.drugs), 'active medication')} there is none that fits"

    @property
    def drugs_sought(self) -> DrugsSought:
        return DrugsSought(self.ingredients) if self.ingredients else DrugsSought(classes=self.classes)


def _is_after(started: When, newest: NewestResults) -> bool:
    """Tell whether a therapy began after the newest result."""
    # A preliminary result since then may be severe: what was started before it has not treated that.
    result = newest.preliminary[0][0] if newest.preliminary else newest.usable
    if result is None:
        return False
    if started.has_time and result.effective.has_time:
        return started.start > result.effective.start
    return started.day > result.effective.day  # the same day does not tell which came first
