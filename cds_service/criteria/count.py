"""Evaluate the criterion `count`: several drugs or problems together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.fact_index import UNCLEAR_DRUGS, UNCLEAR_PROBLEMS, FactIndex, Trait
from cds_service.criteria.facts import Drug, Facts, Problem, Route
from cds_service.criteria.findings import IS_MET, UNMET, Finding
from cds_service.criteria.kind import MEDICATIONS, DrugsSought, Kind, Known, Names, Needs, Used
from cds_service.criteria.wording import alternatives, counted


class CountCriterion(Kind, frozen=True, tag="count", kw_only=True):
    """At least so many different active drugs of the classes (each ingredient once) and problem sets."""

    placeholders: ClassVar[frozenset[str]] = frozenset({"names"})

    classes: list[str]
    at_least: int
    sets: list[str] = []
    not_routes: list[Route] = []

    def find(self, index: FactIndex, evaluator: Evaluator) -> Finding:
        found: dict[str, Drug | Problem] = {}
        for name in self.classes:
            for drug in index.active_by_class.get(name, ()):
                if not drug.is_given_by(self.not_routes):
                    found.setdefault(" ".join(drug.ingredients) or drug.text, drug)
        for name in self.sets:
            for problem in index.problems_by_set.get(name, ()):
                found.setdefault(name, problem)
        if len(found) >= self.at_least:
            return Finding(IS_MET, tuple(found.values()))
        return index.drug_absent if index.drug_absent is not UNMET or not self.sets else index.problem_absent(self.sets)

    @property
    def looks_for(self) -> frozenset[Trait]:
        drugs, problems = (("drug", name) for name in self.classes), (("problem", name) for name in self.sets)
        return frozenset({*drugs, *problems, UNCLEAR_DRUGS, UNCLEAR_PROBLEMS})

    def sentence(self, names: Names) -> str:
        said = f"at least {self.at_least} of: {alternatives(names.classes(self.classes) + names.problems(self.sets))}"
        return said + (f" (not {alternatives(self.not_routes)})" if self.not_routes else "")

    def names_used(self, known: Known) -> Iterable[Used]:
        yield Used("classes", known.drug_classes, self.classes)
        yield Used("sets", known.problem_sets, self.sets)

    def needs(self) -> Needs:
        return Needs(MEDICATIONS | ({"problems"} if self.sets else set()))

    def looked_through(self, facts: Facts) -> str:
        return f"among {counted(len(facts.drugs), 'active medication')} there is none that fits"

    @property
    def drugs_sought(self) -> DrugsSought:
        return DrugsSought(classes=self.classes)
