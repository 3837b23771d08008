"""What criteria find in the facts: met, unmet or unknown, with the evidence; and what they look things up in.

"We could not look" is never "we looked and found nothing". All here is pure: the clock is `Facts.now`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from enum import IntEnum
from typing import Literal, Protocol, TypeAlias

import msgspec

from cds_service.criteria.facts import Allergy, Drug, Facts, Lab, Order, Patient, Problem, Source, SourceState, Unusable


class Truth(IntEnum):
    UNMET = 0
    UNKNOWN = 1
    MET = 2


# The members once more as module names, because looking a member up in its enumeration is slow and this is the hot path.
IS_UNMET, IS_UNKNOWN, IS_MET = Truth.UNMET, Truth.UNKNOWN, Truth.MET

Evidence: TypeAlias = Lab | Drug | Problem | Allergy | Order | Patient
OnError = Callable[[str, Exception], None]  # the name of a criterion or card, and what it raised
Cause = Literal["", "not_recorded", "not_readable", "not_obtained", "failed"]


class Finding(msgspec.Struct, frozen=True, gc=False):
    """What one criterion found.

    `cause` tells unknowns apart: `not_recorded` looked and there is nothing; `not_readable` there is something that cannot be
    used; `not_obtained` the data did not arrive; `failed` the evaluation itself broke. `note` says it to a clinician.
    """

    truth: Truth
    evidence: tuple[Evidence, ...] = ()
    cause: Cause = ""
    note: str = ""
    words: str = ""  # what a laboratory wrote that could not be read, as it was sent
    alarming: bool = False  # what could not be read may be a value that needs somebody today, in whatever workflow


SPOKEN_SOURCES = {
    "patient": "patient",
    "labs": "laboratory results",
    "statements": "medication statements",
    "prescriptions": "prescriptions",
    "problems": "problem list",
    "allergies": "allergies",
    "orders": "draft orders",
}
_NEVER_SENT = Source(SourceState.ABSENT)
UNMET = Finding(IS_UNMET)
MET = Finding(IS_MET)
UNNAMED_ORDER = Finding(IS_UNKNOWN, cause="not_readable", note="an order names no medication that could be recognised")


class View:
    """The facts of one request with the indexes that criteria look things up in, made once per request."""

    __slots__ = (
        "_labs", "_no_allergy", "_no_pregnancy", "_no_problem", "_unclear_allergies", "_unclear_problems", "active_by_class",
        "allergies_by_class", "facts", "no_drug", "no_lab", "no_order", "no_session_drug", "no_therapy", "orders",
        "problems_by_set", "session_by_class",
    )  # fmt: skip

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.orders: Sequence[Order] = [order for order in facts.orders if order.selected]
        self._labs: dict[str, Newest] = {}
        self.active_by_class: dict[str, list[Drug]] = {}
        for drug in facts.drugs:
            for name in drug.classes:
                self.active_by_class.setdefault(name, []).append(drug)
        drafted = [order.drug for order in facts.orders if order.drug is not None and order.action == "start"]
        if drafted:
            self.session_by_class = {name: list(drugs) for name, drugs in self.active_by_class.items()}
            for drug in drafted:
                for name in drug.classes:
                    self.session_by_class.setdefault(name, []).append(drug)
        else:
            self.session_by_class = self.active_by_class
        self.problems_by_set: dict[str, list[Problem]] = {}
        self._unclear_problems = [problem for problem in facts.problems if problem.unclear]
        for problem in facts.problems:
            for name in problem.sets if not problem.unclear else ():
                self.problems_by_set.setdefault(name, []).append(problem)
        self.allergies_by_class: dict[str, list[Allergy]] = {}
        self._unclear_allergies = [allergy for allergy in facts.allergies if allergy.unclear]
        for allergy in facts.allergies:
            for name in allergy.classes if not allergy.unclear else ():
                self.allergies_by_class.setdefault(name, []).append(allergy)
        self.no_therapy = self.no_drug = self._nothing_in("statements", "prescriptions")
        if self.no_drug is UNMET and not all(drug.identified for drug in facts.drugs):
            self.no_drug = Finding(IS_UNKNOWN, cause="not_readable", note="a medication could not be recognised")
        orders = facts.sources.get("orders")
        self.no_order = UNMET
        if orders is not None and not orders.complete:
            self.no_order = Finding(IS_UNKNOWN, cause="not_obtained", note=orders.note)
        self.no_session_drug = self.no_drug if self.no_drug is not UNMET else self.no_order
        if self.no_session_drug is UNMET and not all(drug.identified for drug in drafted):
            self.no_session_drug = UNNAMED_ORDER
        self._no_problem = self._nothing_in("problems")
        self._no_pregnancy = self._nothing_in("problems", "labs")  # which is recorded as either
        self._no_allergy = self._nothing_in("allergies")
        self.no_lab = self._nothing_in("labs")

    def of_unread_orders(self) -> View:
        """The same facts, with none of the orders that could be read to look at."""
        unread = copy(self)
        unread.orders = ()
        return unread

    def newest(self, analyte: str) -> Newest:
        """The results of an analyte that can decide, found once per request."""
        newest = self._labs.get(analyte)
        if newest is None:
            newest = self._labs[analyte] = _newest(self.facts, analyte)
        return newest

    def no_problem(self, sets: Iterable[str]) -> Finding:
        """What it means that no problem of these sets was found: unknown where one may be among what could not be told."""
        nothing = self._no_pregnancy if "pregnancy" in sets else self._no_problem
        for problem in self._unclear_problems if nothing is UNMET else ():
            if not problem.sets or not problem.sets.isdisjoint(sets):
                return Finding(IS_UNKNOWN, (problem,), "not_readable", problem.unclear)
        return nothing

    def no_allergy(self, classes: Iterable[str]) -> Finding:
        """What it means that no allergy to these classes was found, likewise."""
        for allergy in self._unclear_allergies if self._no_allergy is UNMET else ():
            if not allergy.classes or not allergy.classes.isdisjoint(classes):
                return Finding(IS_UNKNOWN, (allergy,), "not_readable", allergy.unclear)
        return self._no_allergy

    def _nothing_in(self, *names: str) -> Finding:
        """What it means that nothing was found in these sources: unmet where all of them are complete, else unknown."""
        for name in names:
            source = self.facts.sources.get(name, _NEVER_SENT)
            if not source.complete:
                unread = source.state is SourceState.PARTIAL and not source.more
                note = f"{SPOKEN_SOURCES[name]}: {source.note or 'not sent'}"
                return Finding(IS_UNKNOWN, cause="not_readable" if unread else "not_obtained", note=note)
        return UNMET


class Findable(Protocol):
    """A criterion, see `criteria`."""

    def find(self, view: View, findings: Findings) -> Finding:
        """What it finds; may raise, see `Findings`."""


class Findings(dict[str, Finding]):
    """What the criteria find, by name, each evaluated when it is first asked for and then remembered.

    `focus` is the order that a card is being decided for, if it is decided for one. Asking for a criterion that does not exist
    raises KeyError; nothing else is ever raised.
    """

    __slots__ = ("_criteria", "_on_error", "_patient_level", "_per_order", "_view", "focus")

    def __init__(self, view: View, criteria: Mapping[str, Findable], per_order: frozenset[str], on_error: OnError) -> None:
        """`per_order`: the names of the criteria that depend on the order; `on_error(name, exception)` is told of failures."""
        self.focus: Order | None = None
        self._view = view
        self._criteria = criteria
        self._per_order = per_order
        self._on_error = on_error
        # Where criteria that do not depend on the order are remembered; None is here. A reference to itself would be a cycle,
        # which only a collection frees.
        self._patient_level: Findings | None = None

    def of_order(self, order: Order) -> Findings:
        """The same criteria with `order` in focus."""
        focused = Findings(self._view, self._criteria, self._per_order, self._on_error)
        focused.focus = order
        focused._patient_level = self
        return focused

    def of_unread_orders(self) -> Findings:
        """The same criteria about the orders that are there and could not be read."""
        unread = Findings(self._view.of_unread_orders(), self._criteria, self._per_order, self._on_error)
        unread._patient_level = self
        return unread

    def __missing__(self, name: str) -> Finding:
        patient_level = self._patient_level
        if patient_level is not None and name not in self._per_order:
            finding = patient_level[name]
        else:
            criterion = self._criteria[name]
            try:
                finding = criterion.find(self._view, self)
            except Exception as error:  # noqa: BLE001 - law 5: one criterion that breaks must not silence the other cards
                self._on_error(name, error)
                finding = Finding(IS_UNKNOWN, cause="failed", note="the evaluation failed")
        self[name] = finding
        return finding

    @property
    def of_patient(self) -> Findings:
        """Where the criteria are remembered that do not depend on which order is looked at."""
        return self if self._patient_level is None else self._patient_level

    def own(self) -> Iterator[tuple[str, Finding]]:
        """All that was evaluated for this order; without one, all that does not depend on which order is looked at."""
        for name, finding in self.items():
            if self._patient_level is None or name in self._per_order:
                yield name, finding

    def evaluated(self, names: Iterable[str]) -> Iterator[tuple[str, Finding]]:
        """Those of `names` that were evaluated: the others could not change the decision."""
        for name in names:
            finding = self.get(name)
            if finding is not None:
                yield name, finding


class Newest(msgspec.Struct, gc=False):
    """What can decide about one analyte: its newest usable result, preliminary ones since, and newer ones that cannot be used."""

    usable: Lab | None
    days: int  # age of `usable`
    preliminary: list[tuple[Lab, int]]
    unusable: list[tuple[Unusable, int]]
    other: bool  # there is a result that counts only for whether there is one: dated in the future
    met: Finding  # with `usable` as its evidence
    unmet: Finding


_NEVER = Newest(None, 0, [], [], False, MET, UNMET)


def _newest(facts: Facts, analyte: str) -> Newest:
    series = facts.labs.get(analyte)
    if series is None:
        return _NEVER
    now = facts.now
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
        # A result dated in the future is ignored and named by the card.
        if bad.reason != "future" and (bad.effective is None or since is None or bad.effective.start >= since)
    ]
    evidence = (usable,) if usable is not None else ()
    days = (now - usable.effective.start).days if usable is not None else 0
    future = any(bad.reason == "future" for bad in series.unusable) if series.unusable else False
    return Newest(usable, days, preliminary, unusable, future, Finding(IS_MET, evidence), Finding(IS_UNMET, evidence))
