"""What every kind of criterion has, and what it may leave as it stands here.

A kind is a frozen struct, decoded from card files by its `tag`. Beside its fields it must define these four; `kinds.Criterion` is
used with them, so the type checker names a kind that lacks one:

    find(index, evaluator) -> Finding      met with the evidence, unmet, or unknown with a cause and a note for a clinician
    sentence(names) -> str                 the criterion in English, from the fields that are evaluated
    names_used(known) -> Iterable[Names]   each field that refers to something, for the loader to check
    needs() -> Needs                       the sources and analytes that it looks at, for prefetch templates and queries

Kinds are pure: they import no framework, client or driver, and read no clock (`Facts.now`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import ClassVar, NamedTuple, Protocol

import msgspec

from cds_service.criteria.facts import Facts, Order
from cds_service.criteria.findings import Finding, Truth

ALL_TRUTHS = (Truth.UNMET, Truth.UNKNOWN, Truth.MET)
MET_OR_UNMET = (Truth.MET, Truth.UNMET)


class Known(NamedTuple):
    """The names that a criterion may refer to."""

    analytes: Mapping[str, Collection[str]]  # analyte -> units in which it is reported
    drug_classes: Collection[str]
    ingredients: Collection[str]
    problem_sets: Collection[str]
    patterns: Collection[str]
    criteria: Collection[str]


class Used(NamedTuple):
    """The names that one field of a criterion uses, and those that are known there."""

    field: str
    known: Collection[str]
    names: Collection[str]


class Needs(NamedTuple):
    """What a criterion looks at: names of sources (`facts.SOURCES`), and analytes, which stand for the source of the labs too."""

    sources: frozenset[str] = frozenset()
    analytes: frozenset[str] = frozenset()


MEDICATIONS = frozenset({"statements", "prescriptions"})


def results_of(analyte: str | None) -> Needs:
    """Return what the newest result of `analyte` is read from; nothing for None."""
    match analyte:
        case None:
            return Needs()
        case "egfr":  # computed from creatinine, age and sex where no eGFR is reported
            return Needs(frozenset({"patient"}), frozenset({"egfr", "creatinine"}))
        case "calcium":  # corrected for albumin where one was sent
            return Needs(analytes=frozenset({"calcium", "albumin"}))
    return Needs(analytes=frozenset({analyte}))


class Names(Protocol):
    """Says what value sets and other criteria are called in a sentence (`sentences.Sentences`)."""

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
    """What every kind of criterion has."""

    # The {placeholders} that its evidence fills in a text (`wording.phrase`), and the unit of its numbers where no field says it.
    placeholders: ClassVar[frozenset[str]] = frozenset()
    unit_of_numbers: ClassVar[str] = ""

    source: list[str] = []  # ids of cards/sources.yaml; "engineering" marks a choice for a clinician to sign

    @property
    def per_order(self) -> bool:
        """True where the finding depends on which draft order is looked at."""
        return False

    @property
    def children(self) -> list[str]:
        """The names of the criteria that it consists of."""
        return []

    def looked_through(self, facts: Facts) -> str:
        """Return where it looked, in words, for an explanation without evidence."""
        return ""

    @property
    def drugs_sought(self) -> DrugsSought:
        """The drugs that it looks for: of a combination only these are named on a card."""
        return DrugsSought()

    @property
    def truths_in_cases(self) -> tuple[Truth, ...]:
        """The truths that the cases of its cards must show."""
        return ALL_TRUTHS

    @property
    def limits(self) -> list[Decimal]:
        """The thresholds that cases must hit and just miss."""
        return []

    def compared(self, finding: Finding, facts: Facts, order: Order | None) -> Decimal | None:
        """Return the number that was compared with the thresholds, in their unit; None where there is none."""
        return None
