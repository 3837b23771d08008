"""List what can be typed into the playground's forms, from the value sets of the cards."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

import msgspec

from cds_service.terminology.terminology import Terminology

_LOINC = re.compile(r"\d+-\d")


class LabChoice(msgspec.Struct, frozen=True):
    """One analyte in one unit that laboratories use."""

    id: str  # "potassium|mmol/L"
    name: str
    unit: str
    code: str  # LOINC


class Completions(msgspec.Struct, frozen=True):
    """Names that are recognised for certain: drugs of all value sets, problems, and results with their units."""

    drugs: tuple[str, ...]
    problems: tuple[str, ...]
    labs: tuple[LabChoice, ...]

    @staticmethod
    def of(terminology: Terminology, first: Iterable[str] = ()) -> Completions:
        """Return the completions of one terminology; `first` are orders to list before the names of drugs."""
        names = terminology.problem_names
        problems = sorted(name for key, name in names.items() if key in terminology.problem((), (name,)).sets)
        drugs = dict.fromkeys([*first, *sorted(terminology.ingredients, key=str.casefold)])
        return Completions(tuple(drugs), tuple(problems), tuple(_labs(terminology)))

    def similar_drug(self, typed: str) -> str:
        """Return the name of a drug that is written nearly like a word of `typed`, "" where there is none."""
        names = {name.casefold(): name for name in self.drugs if " " not in name}
        for word in typed.casefold().split():
            if close := difflib.get_close_matches(word, names, n=1, cutoff=0.75):
                return names[close[0]]
        return ""


def _labs(terminology: Terminology) -> Iterable[LabChoice]:
    for key, analyte in terminology.analytes.items():
        code = next((one for one in terminology.lab_codes((key,)) if _LOINC.fullmatch(one)), None)
        if code is not None:
            for unit in analyte.reported_in:
                yield LabChoice(f"{key}|{unit}", analyte.name, unit, code)
