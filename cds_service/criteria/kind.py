"""Define the base of every kind of criterion.

A kind is a frozen struct, decoded from card files by its `tag`. Beside its fields it must define these four methods;
the type checker reports a kind that lacks one where `kinds.Criterion` is used (knowledge, explain, decide):

    find(index, evaluator) -> Finding      met with the evidence, unmet, or unknown with a cause and a note for a clinician
    sentence(names) -> str                 the criterion in English, from the fields that are evaluated
    names_used(known) -> Iterable[Names]   each field that refers to something, for the loader to check
    needs() -> Needs                       the sources and analytes that it uses, for prefetch templates and queries

A kind that also defines `looks_for` is evaluated only where there is something to look at; what it leaves out there would make a
finding wrong without a word (`tests/decide/test_empty_chart.py` compares).

Kinds are pure: they import no framework, client or driver, and read no clock (`Facts.now`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import ClassVar, NamedTuple, Protocol

import msgspec

from cds_service.criteria.fact_index import Trait
from cds_service.criteria.facts import Facts, Order
from cds_service.criteria.findings import Finding, Truth

ALL_TRUTHS = (Truth.UNMET, Truth.UNKNOWN, Truth.MET)
MET_OR_UNMET = (Truth.MET, Truth.UNMET)


class Known(NamedTuple):
    """The names to which a criterion may refer."""

    analytes: Mapping[str, Collection[str]]  # analyte -> units in which it is reported
    drug_classes: Collection[str]
    ingredients: Collection[str]
    problem_sets: Collection[str]
    patterns: Collection[str]
    criteria: Collection[str]


class Used(NamedTuple):
    """The names in one field of a criterion, and the names that are valid there."""

    field: str
    known: Collection[str]
    names: Collection[str]


class Needs(NamedTuple):
    """The data that a criterion uses: sources (`facts.SOURCES`) and analytes, which imply the labs."""

    sources: frozenset[str] = frozenset()
    analytes: frozenset[str] = frozenset()


MEDICATIONS = frozenset({"statements", "prescriptions"})


def results_of(analyte: str | None) -> Needs:
    """Return the needs of the newest result of `analyte`; none for None."""
    match analyte:
        case None:
            return Needs()
        case "egfr":  # computed from creatinine, age and sex where none is reported
            return Needs(frozenset({"patient"}), frozenset({"egfr", "creatinine"}))
        case "calcium":  # corrected for albumin where one was sent
            return Needs(analytes=frozenset({"calcium", "albumin"}))
    return Needs(analytes=frozenset({analyte}))


class Names(Protocol):
    """The names of value sets and other criteria in a sentence (`sentences.Sentences`)."""

    def analyte(self, analyte: str, /) -> str:
        """Return the name of an analyte."""

    def classes(self, classes: Iterable[str], /) -> list[str]:
        """Return the names of drug classes."""

    def problems(self, sets: Iterable[str], /) -> list[str]:
        """Return the names of problem sets."""

    def of(self, criterion: str, /) -> str:
        """Return another criterion as a phrase."""


class DrugsSought(NamedTuple):
    """The drugs that a criterion looks for: these ingredients, and all of these classes."""

    ingredients: Collection[str] = ()
    classes: Collection[str] = ()


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """The base of every kind of criterion."""

    # The {placeholders} that its evidence fills in a text (`wording.phrase`), and the unit of its numbers where no field says it.
    placeholders: ClassVar[frozenset[str]] = frozenset()
    unit_of_numbers: ClassVar[str] = ""

    source: list[str] = []  # ids of cards/sources.yaml; "engineering" marks a choice for a clinician to sign

    @property
    def per_order(self) -> bool:
        """Tell whether the finding depends on the draft order."""
        return False

    @property
    def looks_for(self) -> frozenset[Trait] | None:
        """Return what can make its finding another than in an empty chart (`FactIndex.traits`); None: always look.

        A group has none of its own: it finds another only where one of its members does.
        """
        return None

    @property
    def children(self) -> list[str]:
        """Return the names of its member criteria."""
        return []

    def looked_through(self, facts: Facts) -> str:
        """Return the data that it used in words, for an explanation without evidence."""
        return ""

    @property
    def drugs_sought(self) -> DrugsSought:
        """Return the drugs that it looks for; of a combination a card names only these."""
        return DrugsSought()

    @property
    def truths_in_cases(self) -> tuple[Truth, ...]:
        """Return the truths that the cases of its cards must show."""
        return ALL_TRUTHS

    @property
    def limits(self) -> list[Decimal]:
        """Return the thresholds that cases must meet and just miss."""
        return []

    def compared(self, finding: Finding, facts: Facts, order: Order | None) -> Decimal | None:
        """Return the number that was compared with the thresholds, in their unit; None without one."""
        return None
