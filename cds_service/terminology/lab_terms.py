"""Read `labs.yaml`: analytes with their codes, names and specimens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

import msgspec

from cds_service.short_cache import short_cache
from cds_service.terminology.value_sets import Correction, LabsFile, wrong

_WORD = re.compile(r"[^\W_]+")
_SHORT = 20  # characters of a short name with its words: "K (serum/plasma)"
OTHER = "other"  # the name of a known result that is not an analyte

LabCodes = dict[str, dict[str, "LabCode"]]  # code -> short name of its system -> what it measures


class Analyte(msgspec.Struct, frozen=True, gc=False):
    """A measured quantity, for example potassium in serum.

    `factors`: canonical spelling of a unit -> factor to `unit`.
    """

    id: str
    name: str
    unit: str  # canonical; "" where the value is a code (pregnancy status)
    factors: Mapping[str, Decimal]
    plausible: tuple[Decimal, Decimal] | None  # in `unit`, both ends included
    no_unit: Literal["accept_code_unit", "unknown"]
    worse: Literal["low", "high", ""]  # the more severe end; "" where the value is a code
    corrected: Correction | None = None
    reported_in: tuple[str, ...] = ()  # the units that laboratories use, of `factors`


class LabCode(msgspec.Struct, frozen=True, gc=False):
    """The meaning of a laboratory code.

    `unit`: the unit of the code itself, used only as `Analyte.no_unit` says.
    """

    analyte: str
    role: Literal["routine", "pre-dialysis", "post-dialysis", "low-priority", "never"]
    unit: str
    whole_blood: bool  # blood gas and bedside results can't show haemolysis
    needs_blood: bool = False  # the code leaves open whether it is blood
    sent_without: str = ""  # a site's own code: the unit of results without one


class LabNames:
    """Look up the names of results, panels and specimens.

    Names are compared as a whole, never in part.
    """

    def __init__(self, file: LabsFile) -> None:
        self._ignored = frozenset(_words(" ".join(file.name_words)))
        self._names: dict[str, str] = {}
        for meaning, names in ((OTHER, file.other_names), *((analyte, one.names) for analyte, one in file.analytes.items())):
            for name in names:
                key = self._key(name)
                if not key or self._names.setdefault(key, meaning) != meaning:
                    raise wrong(
                        "labs.yaml",
                        "analytes",
                        f"the name {name!r} has no word that counts, or is also the name of another result",
                    )
        self._short = {self._key(name): analyte for analyte, one in file.analytes.items() for name in one.short_names}
        self._blood = _any_of(file.blood_specimens)
        self._elsewhere = _any_of(file.other_specimens)
        flags = file.critical_flags
        self._flags: dict[str, Literal["low", "high", "either"]] = {
            **dict.fromkeys(flags.low, "low"),
            **dict.fromkeys(flags.high, "high"),
            **dict.fromkeys(flags.either, "either"),
        }
        self._meant = short_cache(4096)(self._find)
        self._specimen = short_cache(1024)(self._find_specimen)

    def meaning(self, name: str) -> str:
        """Return the id of the analyte that a name means, `OTHER`, or "".

        `OTHER`: a known result that is not an analyte; "": any other name.
        """
        return self._meant(name)

    def short_for(self, name: str) -> str:
        """Return the id of the analyte that a short name ("S-K") means beside one of its units; else ""."""
        return self._short.get(self._key(name), "") if len(name) <= _SHORT else ""

    def specimen(self, name: str) -> Literal["blood", "other", ""]:
        """Return whether the name of a specimen or panel says blood, or ""."""
        return self._specimen(name)

    def flag(self, code: str) -> Literal["low", "high", "either", ""]:
        """Return the side on which an interpretation calls a result critical, or ""."""
        return self._flags.get(code.strip().upper(), "")

    def _find(self, name: str) -> str:
        return self._names.get(self._key(name), "")

    def _key(self, name: str) -> str:
        return " ".join(word for word in _words(name) if word not in self._ignored)

    def _find_specimen(self, name: str) -> Literal["blood", "other", ""]:
        plain = " ".join(_words(name))
        if self._elsewhere.search(plain):
            return "other"
        return "blood" if self._blood.search(plain) else ""


def read_analytes(file: LabsFile, units: frozenset[str]) -> Iterator[tuple[str, Analyte]]:
    """Yield (id, analyte) of `labs.yaml`; `units`: the canonical spellings.

    Raises KnowledgeError for contradictions.
    """
    for analyte, one in file.analytes.items():
        used = {*one.units, *(code.unit for code in one.codes if code.unit)}
        if strange := sorted(used - units):
            raise wrong("labs.yaml", f"analytes.{analyte}", f"not in units.yaml: {', '.join(strange)}")
        if one.unit and one.units.get(one.unit) != 1:
            raise wrong(
                "labs.yaml", f"analytes.{analyte}.units", f"{one.unit} is the unit of {one.name} and must have the factor 1"
            )
        if bool(one.unit) != bool(one.worse):
            raise wrong("labs.yaml", f"analytes.{analyte}.worse", "is needed for each analyte with a unit, and only there")
        if strange := sorted(set(one.reported_in) - set(one.units)):
            raise wrong("labs.yaml", f"analytes.{analyte}.reported_in", f"not among its units: {', '.join(strange)}")
        yield (
            analyte,
            Analyte(
                analyte,
                one.name,
                one.unit,
                MappingProxyType(one.units),
                one.plausible,
                one.no_unit,
                one.worse,
                one.corrected,
                tuple(one.reported_in),
            ),
        )


def read_lab_codes(file: LabsFile) -> LabCodes:
    """Return the meaning of each code. Raises KnowledgeError for a duplicate."""
    known: LabCodes = {}

    def add(system: str, code: str, lab: LabCode) -> None:
        if known.setdefault(code, {}).setdefault(system, lab) is not lab:
            raise wrong("labs.yaml", f"analytes.{lab.analyte}", f"{code} of {system} is listed twice")

    for analyte, one in file.analytes.items():
        for entry in one.codes:
            add(
                entry.system,
                entry.code,
                LabCode(analyte, entry.role, entry.unit, entry.whole_blood, entry.needs_blood),
            )
        for others in one.never:
            for code in others.codes:
                add(others.system, code, LabCode(analyte, "never", "", False))
    return known


def _words(text: str) -> list[str]:
    """Return the words of a text in lower case, without accents and punctuation."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(char))
    return _WORD.findall(plain)


def _any_of(names: Iterable[str]) -> re.Pattern[str]:
    alternatives = "|".join(re.escape(" ".join(_words(name))) for name in names)
    return re.compile(rf"\b(?:{alternatives})\b")
