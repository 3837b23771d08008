"""Combine the codes and names of a result into what was measured.

The same few combinations stand in thousands of results, so `terminology` caches them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from cds_service.fhir.resources import CodeableConcept, Coding, pairs, texts
from cds_service.terminology.lab_terms import LabCode, LabNames

AsSent = tuple[str | None, str | int | None, str | None]  # system, code and display of a coding


class LabCoding(NamedTuple):
    """A code of a known analyte, and what the code measures."""

    text: str  # "system|code"
    code: LabCode


class LabMeaning(NamedTuple):
    """What the codes and the names of a result say was measured."""

    coding: LabCoding | None  # the first with the role "never", else the first
    named: str  # id of the analyte that its names mean, or OTHER; "" for unknown names
    otherwise: str | None  # the meaning of a name that contradicts `coding`
    other_coding: LabCoding | None  # the coding of `otherwise`
    short_name: str  # id of the analyte that a short name means, where the result has one of its units
    in_tables: bool  # a code is of a system with a table


class LabTables(Protocol):
    """The lookups for results that `Terminology` has."""

    lab_names: LabNames

    def lab(self, system: str | None, code: str) -> LabCode | None: ...

    def is_lab_system(self, system: str | None, code: str) -> bool: ...


def lab_meaning(text: str | None, codings: Sequence[AsSent], terminology: LabTables) -> LabMeaning:
    """Return the meaning of a concept; a coding without a system is read as LOINC's."""
    concept = CodeableConcept([Coding(*one) for one in codings], text)
    coded = pairs(concept)
    known = [
        LabCoding(f"{system or 'http://loinc.org'}|{code}", lab)
        for system, code in coded
        if (lab := terminology.lab(system, code)) is not None
    ]
    coding = next((one for one in known if one.code.role == "never"), known[0] if known else None)
    said = [meaning for name in texts(concept) if (meaning := terminology.lab_names.meaning(name))]
    otherwise = min(said) if coding is not None and said and coding.code.analyte not in said else None
    return LabMeaning(
        coding,
        said[0] if said else "",
        otherwise,
        next((one for one in known if one.code.analyte == otherwise), None),
        next((meaning for name in texts(concept) if (meaning := terminology.lab_names.short_for(name))), ""),
        any(terminology.is_lab_system(system, code) for system, code in coded),
    )
