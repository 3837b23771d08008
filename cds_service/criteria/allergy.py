"""Evaluate the criterion `allergy`: a recorded allergy to a drug class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.fact_index import UNCLEAR_ALLERGIES, FactIndex, Trait
from cds_service.criteria.facts import Facts
from cds_service.criteria.findings import IS_MET, Finding
from cds_service.criteria.kind import Kind, Known, Names, Needs, Used
from cds_service.criteria.wording import alternatives, counted


class AllergyCriterion(Kind, frozen=True, tag="allergy", kw_only=True):
    """A recorded allergy or reaction to a drug of one of the classes."""

    placeholders: ClassVar[frozenset[str]] = frozenset({"names", "reaction"})

    classes: list[str]

    def find(self, index: FactIndex, evaluator: Evaluator) -> Finding:
        found = [allergy for name in self.classes for allergy in index.allergies_by_class.get(name, ())]
        return Finding(IS_MET, tuple(found)) if found else index.allergy_absent(self.classes)

    @property
    def looks_for(self) -> frozenset[Trait]:
        return frozenset({("allergy", name) for name in self.classes} | {UNCLEAR_ALLERGIES})

    def sentence(self, names: Names) -> str:
        return f"an allergy or earlier reaction to {alternatives(names.classes(self.classes))}"

    def names_used(self, known: Known) -> Iterable[Used]:
        return (Used("classes", known.drug_classes, self.classes),)

    def needs(self) -> Needs:
        return Needs(frozenset({"allergies"}))

    def looked_through(self, facts: Facts) -> str:
        return f"among {counted(len(facts.allergies), 'allergy', 'allergies')} that cards know there is none that fits"
