"""Index the facts of one request once, for all criteria."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TypeAlias

import msgspec

from cds_service.criteria.facts import Allergy, Drug, Facts, Lab, LabSeries, Order, Problem, Source, SourceState, Unusable
from cds_service.criteria.findings import IS_MET, IS_UNKNOWN, IS_UNMET, MET, UNMET, Finding

SOURCE_NAMES = {
    "patient": "patient",
    "labs": "laboratory results",
    "statements": "medication statements",
    "prescriptions": "prescriptions",
    "problems": "problem list",
    "allergies": "allergies",
    "orders": "draft orders",
}
UNNAMED_ORDER = Finding(IS_UNKNOWN, cause="not_readable", note="an order names no medication that could be recognised")
_UNNAMED_DRUG = Finding(IS_UNKNOWN, cause="not_readable", note="a medication could not be recognised")
_NEVER_SENT = Source(SourceState.ABSENT)

# Something that a criterion can look for: its sort and its name. ("lab", "potassium"), ("drug", class), ("order", class),
# ("problem", set), ("allergy", class), ("reason", pattern or set); others have no name. ("unclear", kind) stands for whatever may
# be hidden in data that are incomplete or not understood.
Trait: TypeAlias = tuple[str, str]
ANY_ORDER: Trait = ("an order", "")
REPLACING_ORDER: Trait = ("an order that replaces a prescription", "")
UNNAMED_ORDERED_DRUG: Trait = ("an order for a drug that is not recognised", "")
STATED_REASON: Trait = ("a stated reason", "")
UNREAD_REASON: Trait = ("a reason that could not be read", "")
UNCLEAR_LABS: Trait = ("unclear", "labs")
UNCLEAR_DRUGS: Trait = ("unclear", "drugs")
UNCLEAR_DRUGS_OR_DRAFTS: Trait = ("unclear", "drugs or drafts")
UNCLEAR_PROBLEMS: Trait = ("unclear", "problems")
UNCLEAR_ALLERGIES: Trait = ("unclear", "allergies")
UNCLEAR_ORDERS: Trait = ("unclear", "orders")


class FactIndex:
    """The indexed facts of one request, made once per request.

    Each `…_absent` is the finding of a criterion that found nothing of that kind: unmet where all its sources are complete, else
    unknown.

    Attributes:
        facts: what was read of the request.
        selected_orders: the draft orders that cards are about; at order-select only the selected ones.
        active_by_class: the active medications by drug class.
        with_drafts_by_class: the same, and the medications that the draft orders of the session start.
        problems_by_set: the present problems by problem set.
        allergies_by_class: the allergies by drug class.
        medication_absent: no active medication of any drug matches.
        drug_absent: no active medication is of the drug classes; unknown also where one of them could not be recognised.
        drug_and_draft_absent: the same, with the medications of draft orders.
        order_absent: no draft order matches.
        result_absent: there is no result of an analyte.
    """

    __slots__ = (
        "_allergy_absent", "_newest", "_pregnancy_absent", "_problem_absent", "_unclear_allergies", "_unclear_problems",
        "active_by_class", "allergies_by_class", "drug_absent", "drug_and_draft_absent", "facts", "medication_absent",
        "order_absent", "problems_by_set", "result_absent", "selected_orders", "with_drafts_by_class",
    )  # fmt: skip

    def __init__(self, facts: Facts) -> None:
        """Index `facts`."""
        self.facts = facts
        self.selected_orders = tuple([order for order in facts.orders if order.selected])
        self._newest: dict[str, NewestResults] = {}
        drafted = [order.drug for order in facts.orders if order.drug is not None and order.action == "start"]
        self._index_drugs(facts.drugs, drafted)
        self._index_problems(facts.problems)
        self._index_allergies(facts.allergies)
        self._set_findings_of_absence(facts, drafted)

    def newest(self, analyte: str) -> NewestResults:
        """Return the results of `analyte` (an id of cards/value_sets/labs.yaml) that can decide, found once per request."""
        newest = self._newest.get(analyte)
        if newest is None:
            series = self.facts.labs.get(analyte)
            newest = self._newest[analyte] = _NO_RESULTS if series is None else _newest(series, self.facts.now)
        return newest

    def problem_absent(self, sets: Iterable[str]) -> Finding:
        """Return the finding where no problem of `sets` was found; unknown where an unclear one may match."""
        absent = self._pregnancy_absent if "pregnancy" in sets else self._problem_absent
        for problem in self._unclear_problems if absent is UNMET else ():
            if not problem.sets or not problem.sets.isdisjoint(sets):
                return Finding(IS_UNKNOWN, (problem,), "not_readable", problem.unclear)
        return absent

    def allergy_absent(self, classes: Iterable[str]) -> Finding:
        """Return the finding where no allergy to `classes` was found; unknown where an unclear one may match."""
        for allergy in self._unclear_allergies if self._allergy_absent is UNMET else ():
            if not allergy.classes or not allergy.classes.isdisjoint(classes):
                return Finding(IS_UNKNOWN, (allergy,), "not_readable", allergy.unclear)
        return self._allergy_absent

    def traits(self) -> Iterator[Trait]:
        """Yield everything in these facts that a criterion can look for, apart from the patient, the hook and the site.

        A criterion that looks for none of it finds what it finds in an empty chart (`Kind.looks_for`).
        """
        named = (
            ("lab", self.facts.labs),
            ("drug", self.with_drafts_by_class),
            ("problem", self.problems_by_set),
            ("allergy", self.allergies_by_class),
        )
        for sort, names in named:
            for name in names:
                yield sort, name
        for drug in self.facts.drugs:
            yield from _traits_of_reason(drug)
        for order in self.selected_orders:
            yield ANY_ORDER
            yield from _traits_of_order(order)
        yield from self._unclear()

    def _unclear(self) -> Iterator[Trait]:
        """Yield the kinds of data of which something may be hidden."""
        if self.result_absent is not UNMET:
            yield UNCLEAR_LABS
        if self.drug_absent is not UNMET:
            yield UNCLEAR_DRUGS
        if self.drug_and_draft_absent is not UNMET:
            yield UNCLEAR_DRUGS_OR_DRAFTS
        if self._pregnancy_absent is not UNMET or self._unclear_problems:
            yield UNCLEAR_PROBLEMS
        if self._allergy_absent is not UNMET or self._unclear_allergies:
            yield UNCLEAR_ALLERGIES
        if self.order_absent is not UNMET:
            yield UNCLEAR_ORDERS

    def _index_drugs(self, active: Iterable[Drug], drafted: list[Drug]) -> None:
        self.active_by_class: dict[str, list[Drug]] = {}
        for drug in active:
            for name in drug.classes:
                self.active_by_class.setdefault(name, []).append(drug)
        self.with_drafts_by_class = self.active_by_class
        if drafted:
            self.with_drafts_by_class = {name: list(drugs) for name, drugs in self.active_by_class.items()}
            for drug in drafted:
                for name in drug.classes:
                    self.with_drafts_by_class.setdefault(name, []).append(drug)

    def _index_problems(self, problems: Iterable[Problem]) -> None:
        self.problems_by_set: dict[str, list[Problem]] = {}
        self._unclear_problems: list[Problem] = []
        for problem in problems:
            if problem.unclear:
                self._unclear_problems.append(problem)
                continue
            for name in problem.sets:
                self.problems_by_set.setdefault(name, []).append(problem)

    def _index_allergies(self, allergies: Iterable[Allergy]) -> None:
        self.allergies_by_class: dict[str, list[Allergy]] = {}
        self._unclear_allergies: list[Allergy] = []
        for allergy in allergies:
            if allergy.unclear:
                self._unclear_allergies.append(allergy)
                continue
            for name in allergy.classes:
                self.allergies_by_class.setdefault(name, []).append(allergy)

    def _set_findings_of_absence(self, facts: Facts, drafted: Iterable[Drug]) -> None:
        sources = facts.sources
        self.result_absent = _absent_from(sources, "labs")
        self._problem_absent = _absent_from(sources, "problems")
        self._pregnancy_absent = _absent_from(sources, "problems", "labs")  # recorded as a problem or as a result
        self._allergy_absent = _absent_from(sources, "allergies")
        orders = sources.get("orders")
        self.order_absent = UNMET
        if orders is not None and not orders.complete:
            self.order_absent = Finding(IS_UNKNOWN, cause="not_obtained", note=orders.note)
        self.medication_absent = self.drug_absent = _absent_from(sources, "statements", "prescriptions")
        if self.drug_absent is UNMET and not all(drug.identified for drug in facts.drugs):
            self.drug_absent = _UNNAMED_DRUG
        self.drug_and_draft_absent = self.drug_absent if self.drug_absent is not UNMET else self.order_absent
        if self.drug_and_draft_absent is UNMET and not all(drug.identified for drug in drafted):
            self.drug_and_draft_absent = UNNAMED_ORDER


def _traits_of_order(order: Order) -> Iterator[Trait]:
    if order.replaces:
        yield REPLACING_ORDER
    drug = order.drug
    if drug is not None:
        if not drug.identified:
            yield UNNAMED_ORDERED_DRUG
        for name in drug.classes:
            yield "order", name
        yield from _traits_of_reason(drug)


def _traits_of_reason(drug: Drug) -> Iterator[Trait]:
    if drug.reason_stated:
        yield STATED_REASON
    if drug.reason_unread:
        yield UNREAD_REASON
    for name in drug.reasons:
        yield "reason", name
    for name in drug.reason_sets:
        yield "reason", name


def _absent_from(sources: Mapping[str, Source], *names: str) -> Finding:
    """Return the finding where the sources `names` hold no match: unmet where all are complete."""
    for name in names:
        source = sources.get(name, _NEVER_SENT)
        if not source.complete:
            unread = source.state is SourceState.PARTIAL and not source.more
            note = f"{SOURCE_NAMES[name]}: {source.note or 'not sent'}"
            return Finding(IS_UNKNOWN, cause="not_readable" if unread else "not_obtained", note=note)
    return UNMET


class NewestResults(msgspec.Struct, gc=False):
    """The results of one analyte that can decide.

    The newest usable one, preliminary ones since, and newer ones that cannot be used.
    """

    usable: Lab | None
    days: int  # age of `usable`
    preliminary: list[tuple[Lab, int]]  # newest first, with their age in days
    unusable: list[tuple[Unusable, int]]
    in_future: bool  # a result is dated in the future: it counts as recorded and for nothing else
    met: Finding  # with `usable` as its evidence
    unmet: Finding


_NO_RESULTS = NewestResults(None, 0, [], [], False, MET, UNMET)


def _newest(series: LabSeries, now: datetime) -> NewestResults:
    preliminary: list[tuple[Lab, int]] = []
    usable: Lab | None = None
    for lab in series.results:  # newest first
        if not lab.preliminary:
            usable = lab
            break
        preliminary.append((lab, (now - lab.effective.start).days))
    since = usable.effective.start if usable is not None else None
    unusable = [
        (bad, (now - bad.effective.start).days if bad.effective is not None else 0)
        for bad in series.unusable
        # A result dated in the future is ignored; the card names it.
        if bad.reason != "future" and (bad.effective is None or since is None or bad.effective.start >= since)
    ]
    evidence = (usable,) if usable is not None else ()
    days = (now - usable.effective.start).days if usable is not None else 0
    in_future = any(bad.reason == "future" for bad in series.unusable) if series.unusable else False
    return NewestResults(usable, days, preliminary, unusable, in_future, Finding(IS_MET, evidence), Finding(IS_UNMET, evidence))
