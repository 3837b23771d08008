"""Evaluate the criteria `any` and `all`: groups of criteria in Kleene's three-valued logic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.fact_index import FactIndex, Trait
from cds_service.criteria.findings import IS_MET, IS_UNKNOWN, IS_UNMET, UNMET, Cause, Evidence, Finding
from cds_service.criteria.kind import Kind, Known, Names, Needs, Used

_CAUSES: tuple[Cause, ...] = ("", "not_recorded", "not_readable", "not_obtained", "failed")  # the least informative first


class Composite(Kind, frozen=True, kw_only=True):
    """A named group of other criteria, which are evaluated before it."""

    placeholders: ClassVar[frozenset[str]] = frozenset({"names", "value", "day", "ago", "standing", "dose"})

    of: list[str] = []
    none_of: list[str] = []

    @property
    def looks_for(self) -> frozenset[Trait]:
        return frozenset()

    @property
    def children(self) -> list[str]:
        return [*self.of, *self.none_of]

    def names_used(self, known: Known) -> Iterable[Used]:
        yield Used("of", known.criteria, self.of)
        yield Used("none_of", known.criteria, self.none_of)

    def needs(self) -> Needs:
        return Needs()  # its members have their own


class AnyCriterion(Composite, frozen=True, tag="any", kw_only=True):
    """Kleene's OR: met by one that is met; unknown where none is met and one is unknown. All that are met are evidence."""

    def find(self, index: FactIndex, evaluator: Evaluator) -> Finding:
        met: Finding | None = None
        unknown: Finding | None = None
        for name in self.of:
            finding = evaluator[name]
            if finding.truth is IS_MET:
                met = finding if met is None else Finding(IS_MET, met.evidence + finding.evidence)
            elif finding.truth is IS_UNKNOWN:
                unknown = _worse(unknown, finding)
        return met or unknown or UNMET

    def sentence(self, names: Names) -> str:
        return "any of: " + "; ".join(names.of(one) for one in self.of)


class AllCriterion(Composite, frozen=True, tag="all", kw_only=True):
    """Kleene's AND of `of` and the negation of `none_of`; an unmet one decides before an unknown one."""

    def find(self, index: FactIndex, evaluator: Evaluator) -> Finding:
        unknown: Finding | None = None
        evidence: tuple[Evidence, ...] = ()
        for names, wanted in ((self.of, IS_MET), (self.none_of, IS_UNMET)):
            for name in names:
                finding = evaluator[name]
                if finding.truth is IS_UNKNOWN:
                    unknown = _worse(unknown, finding)
                elif finding.truth is not wanted:
                    return UNMET
                elif wanted is IS_MET:
                    evidence += finding.evidence
        return unknown or Finding(IS_MET, evidence)

    def sentence(self, names: Names) -> str:
        said = " and ".join(names.of(one) for one in self.of)
        return said + "".join(f", and not {names.of(one)}" for one in self.none_of)


def _worse(one: Finding | None, other: Finding) -> Finding:
    """Return the more informative unknown: missing data must not hide behind data that are not recorded."""
    return other if one is None or _CAUSES.index(other.cause) > _CAUSES.index(one.cause) else one
