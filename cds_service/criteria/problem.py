"""Evaluate the criterion `problem`: a present problem of a set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.fact_index import UNCLEAR_PROBLEMS, FactIndex, Trait
from cds_service.criteria.facts import Facts, Problem
from cds_service.criteria.findings import IS_MET, Finding
from cds_service.criteria.kind import Kind, Known, Names, Needs, Used, results_of
from cds_service.criteria.wording import alternatives, counted


class ProblemCriterion(Kind, frozen=True, tag="problem", kw_only=True):
    """A present problem of one of the value sets; with an onset window, only one whose onset is known to lie in it.

    The onset is the recorded date where no other is given. With `undated` one without a date counts too: safe for a problem that
    warns, and unsafe for one that excuses (malaria excuses quinine). With `newer_than` only one that began after the newest
    result of that analyte, or whose date is unknown. With `text_patterns` only one whose name matches one of them: codes do not
    distinguish a cramp after exercise.
    """

    placeholders: ClassVar[frozenset[str]] = frozenset({"names"})

    sets: list[str]
    text_patterns: list[str] = []
    onset_within_days: int | None = None
    onset_more_than_days_ago: int | None = None
    undated: bool = False
    newer_than: str | None = None  # analyte

    def find(self, index: FactIndex, evaluator: Evaluator) -> Finding:
        if index.problems_by_set.keys().isdisjoint(self.sets):
            return index.problem_absent(self.sets)
        found: list[Problem] = []
        for name in self.sets:
            for problem in index.problems_by_set.get(name, ()):
                if problem not in found and self._fits(problem, index.facts) and self._is_newer(problem, index):
                    found.append(problem)
        return Finding(IS_MET, tuple(found)) if found else index.problem_absent(self.sets)

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

    def _is_newer(self, problem: Problem, index: FactIndex) -> bool:
        if self.newer_than is None or problem.onset is None:
            return True
        result = index.newest(self.newer_than).usable
        return result is None or problem.onset.day > result.effective.day

    @property
    def looks_for(self) -> frozenset[Trait]:
        return frozenset({("problem", name) for name in self.sets} | {UNCLEAR_PROBLEMS})

    def sentence(self, names: Names) -> str:
        said = f"an active problem: {alternatives(names.problems(self.sets))}"
        if self.text_patterns:
            said += f" whose name says {alternatives([one.replace('_', ' ') for one in self.text_patterns])}"
        if self.onset_within_days is not None:
            said += f", since at most {self.onset_within_days} days"
        if self.onset_more_than_days_ago is not None:
            said += f", since more than {self.onset_more_than_days_ago} days"
        if self.newer_than is not None:
            said += f", newer than the newest {names.analyte(self.newer_than)} or of unknown date"
        return f"{said}, or since an unknown date" if self.undated else said

    def names_used(self, known: Known) -> Iterable[Used]:
        yield Used("sets", known.problem_sets, self.sets)
        yield Used("text_patterns", known.patterns, self.text_patterns)
        yield Used("newer_than", known.analytes, [self.newer_than] if self.newer_than else [])

    def needs(self) -> Needs:
        result = results_of(self.newer_than)
        pregnancy = {"pregnancy_status"} if "pregnancy" in self.sets else set()
        return Needs(result.sources | {"problems"}, result.analytes | pregnancy)

    def looked_through(self, facts: Facts) -> str:
        return f"among {counted(len(facts.problems), 'active problem')} that cards know there is none that fits"
