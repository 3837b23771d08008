"""What the codes and names of a result say together. The same few stand in thousands of results, so they are read once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from cds_service.fhir.resources import CodeableConcept, Coding, pairs, texts
from cds_service.terminology.lab_terms import LabCode, LabNames

AsSent = tuple[str | None, str | int | None, str | None]  # system, code and display of a coding


class LabCoding(NamedTuple):
    """A code of a known analyte and what that measures."""

    text: str  # "system|code"
    code: LabCode


class LabMeaning(NamedTuple):
    """What is measured by the codes of a result, and by its names."""

    coding: LabCoding | None  # one that is never read as an analyte's decides, else the first
    named: str  # id of the analyte that its names say, or OTHER; "" where they say nothing that is known
    otherwise: str | None  # the same, where that is not what `coding` says
    other_coding: LabCoding | None  # the code of `otherwise` among its codings
    shortly: str  # id of the analyte that a short name says, beside one of its units
    in_tables: bool  # a code is of a system that the tables know


class LabTables(Protocol):
    """The lookups for results, see `terminology`."""

    lab_names: LabNames

    def lab(self, system: str | None, code: str) -> LabCode | None: ...

    def is_lab_system(self, system: str | None, code: str) -> bool: ...


def lab_meaning(text: str | None, codings: Sequence[AsSent], terminology: LabTables) -> LabMeaning:
    """The meaning of a concept with this text and these codings; one without a system is read as LOINC's."""
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
