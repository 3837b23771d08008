"""Look up what codes and texts mean: results, units, drugs, routes, problems.

All content comes from `cards/value_sets/`. A `Terminology` is loaded once and never changes.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

from cds_service.criteria.facts import Route
from cds_service.short_cache import short_cache
from cds_service.terminology import drug_tables, problem_names, rxnorm
from cds_service.terminology.code_systems import CodeSystems, Codings, Known
from cds_service.terminology.drug_names import DrugIndex, Recognition
from cds_service.terminology.engineering import Engineering, read_engineering
from cds_service.terminology.lab_meaning import AsSent, LabMeaning, lab_meaning
from cds_service.terminology.lab_terms import Analyte, LabCode, LabNames, read_analytes, read_lab_codes
from cds_service.terminology.problem_names import ProblemIndex, ProblemRecognition
from cds_service.terminology.text_patterns import MarkedTexts, TextPatterns
from cds_service.terminology.value_sets import (
    LabsFile,
    SystemId,
    SystemsFile,
    TextFile,
    UnitsFile,
    read,
    wrong,
)

_CACHED = 4096  # distinct medications, or diagnoses, that a busy server sees repeatedly
_SEARCHED = ("loinc", "snomed")  # systems whose laboratory codes are searched for
_ATC = re.compile(r"[A-Z][0-9]{2}[A-Z]{2}[0-9]{2}")
_LONGEST_RXCUI = 7
_TABLED: frozenset[SystemId] = frozenset({"icd10", "snomed"})  # code systems of diagnoses in which the sets are written


Searched: TypeAlias = Literal["patterns", "routes", "units"]


class SiteMeanings(msgspec.Struct, frozen=True):
    """The meanings of a site's own codes by (system in lower case, code); `site_codes` reads and checks them."""

    labs: Mapping[tuple[str, str], LabCode] = MappingProxyType({})
    drugs: Mapping[tuple[str, str], str] = MappingProxyType({})  # an ingredient, CLASS and the id of a class, or OTHER
    problems: Mapping[tuple[str, str], str] = MappingProxyType({})  # the id of a set, or OTHER


class Terminology:
    """Lookups over one set of value set files, and the numbers that reading needs (`engineering`). Make one with `load`."""

    def __init__(self, folder: Path, rxnorm_file: Path | None = None) -> None:
        self.content_hash = self.value_sets_hash = _hash(folder)  # the first covers the RxNorm lookup too
        self.engineering: Engineering = read_engineering(folder.parent)
        self._systems = CodeSystems(read(folder, "systems.yaml", SystemsFile))
        self._spellings = _spellings(read(folder, "units.yaml", UnitsFile))
        labs = read(folder, "labs.yaml", LabsFile)
        self.analytes: Mapping[str, Analyte] = MappingProxyType(dict(read_analytes(labs, frozenset(self._spellings.values()))))
        self.corrected = tuple(name for name, one in self.analytes.items() if one.corrected is not None)
        self.lab_names = LabNames(labs)
        self._labs = read_lab_codes(labs)
        self._problem_index: ProblemIndex = problem_names.load(folder)
        self.problem_names: Mapping[str, str] = MappingProxyType(self._problem_index.displays)
        self._texts = TextPatterns(read(folder, "text.yaml", TextFile))
        self.patterns: Collection[str] = self._texts.by_id.keys()
        self.matches = self._texts.matches  # (pattern id, text): whether the text matches the pattern
        self.reasons_in = self._texts.reasons_in  # (text): ids of the patterns for reasons that it matches
        drugs = drug_tables.load(folder)
        self._drugs = DrugIndex(drugs)
        self.rxnorm: rxnorm.Release | None = None
        if rxnorm_file is not None and rxnorm_file.exists():
            products = rxnorm.read(rxnorm_file, drugs.rxnorm_ingredients)
            drugs.add_products(products.by_code, products.codes)
            self.rxnorm = products.about
            self.content_hash = hashlib.sha256(f"{self.content_hash} {products.content_hash}".encode()).hexdigest()
        self.drug_classes: Mapping[str, str] = MappingProxyType(drugs.displays)
        self.ingredients: frozenset[str] = drugs.ingredients
        self.routed: frozenset[str] = drugs.routed  # classes whose route the words of a dosage can tell
        self.dosed: frozenset[str] = frozenset(drugs.dosed)  # classes for which the dose of active medications is read
        self._ingredients_of = drugs.ingredients_of
        self.site = SiteMeanings()
        self.forget()

    def forget(self) -> None:
        """Empty the caches of all lookups."""
        self._drugs_of = short_cache(None)(self._ingredients_of)
        self._drug = short_cache(_CACHED)(self._find_drug)
        self._route = short_cache(512)(self._find_route)
        self._problem = short_cache(_CACHED)(self._find_problem)
        self._unit = short_cache(512)(self._find_unit)
        # Asked for each result, so the caches are asked without a method before them.
        self.unit_for = short_cache(1024)(self._find_analyte_unit)
        self.lab_meaning = short_cache(_CACHED)(self._find_lab_meaning)

    @classmethod
    def load(cls, folder: Path, rxnorm_file: Path | None = None) -> Terminology:
        """Read `folder` (`cards/value_sets`) and the local RxNorm lookup, where the file exists.

        The attribute `rxnorm` then names the release.

        Raises KnowledgeError with the file and what is wrong in it.
        """
        return cls(folder, rxnorm_file)

    def with_engineering(self, engineering: Engineering) -> Terminology:
        """Return the same lookups with a site's own numbers."""
        other = copy.copy(self)
        other.engineering = engineering
        return other

    def with_codes(self, site: SiteMeanings) -> Terminology:
        """Return the same lookups with a site's own codes beside those of the value sets."""
        other = copy.copy(self)
        other.site = site
        other.forget()
        return other

    def of_marked_texts(self) -> Terminology:
        """Return the same lookups for a chart in which texts were replaced by marks (`text_patterns.mark`)."""
        other = copy.copy(self)
        texts = MarkedTexts(self._texts)
        other.matches, other.reasons_in = texts.matches, texts.reasons_in
        return other

    def searched(self, what: Searched) -> tuple[str, ...]:
        """Return what texts that no list or table holds as a whole are searched for."""
        match what:
            case "patterns":
                return self._texts.expressions
            case "routes":
                return self._drugs.route_expressions
            case "units":
                return tuple(sorted(self._spellings))

    def patterns_in(self, texts: Iterable[str]) -> list[str]:
        """Return the ids of the text patterns that any of the texts matches."""
        return self._texts.found_in(texts)

    def route_words(self, sig: str) -> tuple[object, ...]:
        """Return all that the words of a dosage say about routes; equal for texts that say the same."""
        return self._drugs.route_words(sig)

    def lab(self, system: str | None, code: str) -> LabCode | None:
        """Return what a laboratory code measures; None for a code in no table.

        A code without a system is read as LOINC's.

        `LabCode.role` is "never" where the code is known as something else: urine, ionised, ratios, antigens ...
        """
        by_system = self._labs.get(code)
        if by_system is None:  # as for most results
            if not code.replace("-", "").isalnum():
                short, plain = self._systems.split(system, code)
                by_system = self._labs.get(plain, {})
                if (adorned := by_system.get(short or "loinc")) is not None:
                    return adorned
            return self.site.labs.get(site_key(system, code)) if self.site.labs else None
        known = by_system.get((self._systems.find(system) or system) if system else "loinc")
        return known or self.site.labs.get(site_key(system, code))

    def is_lab_system(self, system: str | None, code: str) -> bool:
        """Tell whether a code is of a system with a table, where an unlisted code is another test."""
        if not system:
            return code[-2:-1] == "-" and code[:-2].isdigit()  # the form of LOINC's codes
        return self._systems.find(system) is not None

    def lab_codes(self, analytes: Iterable[str]) -> tuple[str, ...]:
        """Return the LOINC and SNOMED CT codes of `analytes` for searches, in the order of the file."""
        wanted = frozenset(analytes)
        return tuple(
            code
            for code, by_system in self._labs.items()
            for system, lab in by_system.items()
            if lab.analyte in wanted and lab.role != "never" and system in _SEARCHED
        )

    def unit(self, spelling: str) -> str | None:
        """Return the canonical spelling of a unit ("MEQ/L" -> "mEq/L"); None where it is not known."""
        return self._unit(spelling)

    def drug(self, codings: Codings, texts: tuple[str, ...], route: Route = "", sig: str = "") -> Recognition:
        """Recognise a medication by its codes, else by its texts; all ingredients of a combination count.

        A code is looked up in the value sets, then in the local RxNorm lookup.
        `route` is the one of the dosage where that is known (see `route`); else it is read from the medication's own texts, and
        for some drugs from `sig`, the words of the dosage.
        """
        return self._drug(tuple(codings), texts, route, sig)

    def route(self, codings: Codings, texts: tuple[str, ...]) -> Route:
        """Return the route that a route of administration means; "" for one in no table."""
        return self._route(tuple(codings), texts)

    def classes_for_allergy(self, codings: Codings, texts: tuple[str, ...]) -> frozenset[str]:
        """Return the drug classes that an allergy is about, by any route; tonic water counts too."""
        return self._drugs.classes_for_allergy(self._systems.known(codings) + _mapped(codings, self.site.drugs), "\n".join(texts))

    def class_display(self, class_id: str) -> str:
        """Return the name of a drug class for people. Raises KeyError for a class without a file."""
        return self.drug_classes[class_id]

    def drugs_of(self, class_id: str) -> frozenset[str]:
        """Return the names of the drugs of a class; none for a class without a file."""
        return self._drugs_of(class_id)

    def problem(self, codings: Codings, names: tuple[str, ...]) -> ProblemRecognition:
        """Return the problem sets of a diagnosis by its codes and names; ICD-10 codes may lack their dot."""
        return self._problem(tuple(codings), names)

    def problem_sets(self, codings: Codings) -> frozenset[str]:
        """Return the problem sets of a diagnosis by its codes alone."""
        return self._problem(tuple(codings), ()).sets

    def reached_by_week(self, week: int) -> frozenset[str]:
        """Return the problem sets that a pregnancy belongs to in week `week`."""
        return frozenset(name for name, start in self._problem_index.from_week.items() if week >= start)

    def tabled(self, codings: Codings) -> bool:
        """Tell whether any code is of a system of the problem sets, where a code in no set is another disease.

        An expression of several SNOMED CT concepts does not count: it could be anything.
        """
        return any(
            short in _TABLED and (short != "snomed" or plain.isdigit()) for short, plain, _ in self._systems.known(codings)
        ) or any(code and site_key(system, code) in self.site.problems for system, code in codings)

    def _find_unit(self, spelling: str) -> str | None:
        return self._spellings.get(_squeezed(spelling))

    def _find_analyte_unit(self, analyte: str, written: str | None, coded: str | None) -> str | None:
        """Return the canonical unit of a result; "" where none was sent, None where it is unreliable.

        `written` (for people) comes first; `coded` (UCUM) is read where that is missing or unknown. None where both are known
        for the analyte and mean different things. Raises KeyError for an unknown analyte.
        """
        by_text = self.unit(written) if written else None
        by_code = self.unit(coded) if coded and coded != written else None
        unit, factors = by_text or by_code, self.analytes[analyte].factors
        if unit is None:
            return None if written or coded else ""
        if unit not in factors:
            return None
        if by_text and by_code and factors.get(by_code) != factors[by_text]:
            return None
        return unit

    def _find_lab_meaning(self, text: str | None, codings: tuple[AsSent, ...]) -> LabMeaning:
        """Return what a concept with this text and these codings measures."""
        return lab_meaning(text, codings, self)

    def _known_drugs(self, codings: Codings) -> list[Known]:
        """Return the known codings, and drug codes with a missing or wrong system whose form only one system has.

        Seven characters of the pattern of ATC are an ATC code; more than seven digits are no RxNorm code.
        """
        known = self._systems.known(codings) + _mapped(codings, self.site.drugs)
        found = {whole for short, _, whole in known if short == "atc"}
        for system, code in codings:
            if code and (whole := f"{system}|{code}") not in found:
                plain = code.strip().upper()
                short = self._systems.find(system) if system else None
                if _ATC.fullmatch(plain) and self._drugs.knows("atc", plain):
                    known.append(("atc", plain, whole))
                elif (
                    plain.isdigit()
                    and len(plain) > _LONGEST_RXCUI
                    and (not system or short == "rxnorm")
                    and self._drugs.knows("snomed", plain)
                ):
                    known.append(("snomed", plain, whole))
        return known

    def _find_drug(
        self, codings: tuple[tuple[str | None, str | None], ...], texts: tuple[str, ...], route: Route, sig: str
    ) -> Recognition:
        found = self._drugs.recognise(self._known_drugs(codings), "\n".join(texts), route, sig)
        if not found.identified and any(code and self._drugs.says_nothing_taken(code) for _, code in codings):
            return msgspec.structs.replace(found, identified=True)
        return found

    def _find_route(self, codings: tuple[tuple[str | None, str | None], ...], texts: tuple[str, ...]) -> Route:
        return self._drugs.route(self._systems.known(codings), "\n".join(texts))

    def _find_problem(self, codings: tuple[tuple[str | None, str | None], ...], names: tuple[str, ...]) -> ProblemRecognition:
        return self._problem_index.recognise(self._systems.known(codings) + _mapped(codings, self.site.problems), names)


def site_key(system: str | None, code: str) -> tuple[str, str]:
    """Return the key of a coding among a site's own codes."""
    return (system or "").strip().lower(), code.strip()


def _mapped(codings: Codings, meanings: Mapping[tuple[str, str], str]) -> list[Known]:
    """Return the site's meanings of the codings."""
    if not meanings:  # as at most sites
        return []
    return [
        ("site", meaning, f"{system}|{code}")
        for system, code in codings
        if code and (meaning := meanings.get(site_key(system, code))) is not None
    ]


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.yaml")):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        digest.update(path.read_bytes())
        digest.update(b"\0")
    return digest.hexdigest()


def _squeezed(spelling: str) -> str:
    # casefold also turns the micro sign into the Greek letter
    return "".join(spelling.split()).casefold()


def _spellings(file: UnitsFile) -> dict[str, str]:
    known: dict[str, str] = {}
    for canonical, others in file.units.items():
        for spelling in (canonical, *others):
            if known.setdefault(_squeezed(spelling), canonical) != canonical:
                raise wrong("units.yaml", f"units.{canonical}", f"{spelling!r} also stands under {known[_squeezed(spelling)]}")
    return known
