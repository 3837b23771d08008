"""What codes and texts mean: which lab a LOINC code is, which drug a coding or a text names, which problem a diagnosis is.

Everything comes from `cards/value_sets/`; nothing clinical stands here. A `Terminology` is loaded once and never changes.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import msgspec

from cds_service.criteria.facts import Route
from cds_service.terminology import drug_names, problem_names, rxnorm
from cds_service.terminology.drug_names import DrugIndex, Known, Recognition
from cds_service.terminology.engineering import Engineering, read_engineering
from cds_service.terminology.lab_meaning import AsSent, LabMeaning, lab_meaning
from cds_service.terminology.lab_terms import Analyte, LabCode, LabNames, read_analytes, read_lab_codes
from cds_service.terminology.problem_names import ProblemIndex, ProblemRecognition
from cds_service.terminology.value_sets import (
    LabsFile,
    PatternEntry,
    SystemId,
    SystemsFile,
    TextFile,
    UnitsFile,
    pattern,
    read,
    wrong,
)

Codings = Sequence[tuple[str | None, str | None]]

_CACHED = 4096  # distinct medications, or diagnoses, that a busy server sees again and again
_SEARCHED = ("loinc", "snomed")  # systems whose laboratory codes are searched for
_MARKS = "|/:"  # that stand between the name of a system and a code
_WITH_TERM = re.compile(r"(\d+)\s*\|[^|]*\|?")  # "91637004 |Myasthenia gravis|", as SNOMED CT writes a concept
_ATC = re.compile(r"[A-Z][0-9]{2}[A-Z]{2}[0-9]{2}")
_LONGEST_RXCUI = 7
_CAPITAL = re.compile(r"\\.|[A-Z]")  # in a pattern: not those that are the name of a class, as in `\W`
_TABLED: frozenset[SystemId] = frozenset({"icd10", "snomed"})  # code systems of diagnoses in which the sets are written


class SiteMeanings(msgspec.Struct, frozen=True):
    """What a site's own codes mean, by (system in lower case, code): see `site_codes`, which reads and checks them."""

    labs: Mapping[tuple[str, str], LabCode] = MappingProxyType({})
    drugs: Mapping[tuple[str, str], str] = MappingProxyType({})  # an ingredient, CLASS and the id of a class, or OTHER
    problems: Mapping[tuple[str, str], str] = MappingProxyType({})  # the id of a set, or OTHER


class Terminology:
    """Lookups over one set of value set files, and the numbers that reading needs (`engineering`). Make one with `load`."""

    def __init__(self, folder: Path, rxnorm_file: Path | None = None) -> None:
        self.content_hash = self.value_sets_hash = _hash(folder)  # the first covers the RxNorm lookup too
        self.engineering: Engineering = read_engineering(folder.parent)
        self._systems = _systems(read(folder, "systems.yaml", SystemsFile))
        self._spellings = _spellings(read(folder, "units.yaml", UnitsFile))
        labs = read(folder, "labs.yaml", LabsFile)
        self.analytes: Mapping[str, Analyte] = MappingProxyType(dict(read_analytes(labs, frozenset(self._spellings.values()))))
        self.corrected = tuple(name for name, one in self.analytes.items() if one.corrected is not None)
        self.lab_names = LabNames(labs)
        self._labs = read_lab_codes(labs)
        self._problem_index: ProblemIndex = problem_names.load(folder)
        self.problem_names: Mapping[str, str] = MappingProxyType(self._problem_index.displays)
        text = read(folder, "text.yaml", TextFile)
        self.patterns = MappingProxyType({name: _finder(f"patterns.{name}", one) for name, one in text.patterns.items()})
        reasons = {name: match.pattern for name, (match, _) in self.patterns.items() if name.endswith("_reason")}
        self._reasons = {name: _in_lower_case(expression) for name, expression in reasons.items()}
        self._any_reason = _in_lower_case("|".join(f"(?:{expression})" for expression in reasons.values()))
        self._drugs: DrugIndex = drug_names.load(folder)
        self.rxnorm: rxnorm.Release | None = None
        if rxnorm_file is not None and rxnorm_file.exists():
            products = rxnorm.read(rxnorm_file, self._drugs.rxnorm_ingredients)
            self._drugs.add_products(products.by_code, products.codes)
            self.rxnorm = products.about
            self.content_hash = hashlib.sha256(f"{self.content_hash} {products.content_hash}".encode()).hexdigest()
        self.drug_classes: Mapping[str, str] = MappingProxyType(self._drugs.displays)
        self.ingredients: frozenset[str] = self._drugs.ingredients
        self.routed: frozenset[str] = self._drugs.routed  # classes whose route the words of a dosage can tell
        self.dosed: frozenset[str] = frozenset(self._drugs.dosed)  # classes of which the dose that is taken is read
        self.site = SiteMeanings()
        self.forget()

    def forget(self) -> None:
        """Forget what was looked up before."""
        self._drugs_of = lru_cache(maxsize=None)(self._drugs.ingredients_of)
        self._system = lru_cache(maxsize=256)(self._find_system)
        self._drug = lru_cache(maxsize=_CACHED)(self._find_drug)
        self._route = lru_cache(maxsize=512)(self._find_route)
        self._problem = lru_cache(maxsize=_CACHED)(self._find_problem)
        self._unit = lru_cache(maxsize=512)(self._find_unit)
        self._analyte_unit = lru_cache(maxsize=1024)(self._find_analyte_unit)
        self._lab_meaning = lru_cache(maxsize=_CACHED)(self._find_lab_meaning)

    @classmethod
    def load(cls, folder: Path, rxnorm_file: Path | None = None) -> Terminology:
        """Read `folder` (`cards/value_sets`) and the local RxNorm lookup where there is one; `rxnorm` says which release it is.

        Raises KnowledgeError with the file and what is wrong in it.
        """
        return cls(folder, rxnorm_file)

    def with_engineering(self, engineering: Engineering) -> Terminology:
        """The same lookups with a site's own numbers."""
        other = copy.copy(self)
        other.engineering = engineering
        return other

    def with_codes(self, site: SiteMeanings) -> Terminology:
        """The same lookups with a site's own codes beside those of the value sets."""
        other = copy.copy(self)
        other.site = site
        other.forget()
        return other

    def lab(self, system: str | None, code: str) -> LabCode | None:
        """What a code measures; one without a system is read as LOINC's. None for a code that is in no table.

        `LabCode.role` is "never" where the code is known as something else: urine, ionised, ratios, antigens ...
        """
        by_system = self._labs.get(code)
        if by_system is None:  # as for most results
            if not code.replace("-", "").isalnum():
                short, plain = self._taken_apart(system, code)
                by_system = self._labs.get(plain, {})
                if (adorned := by_system.get(short or "loinc")) is not None:
                    return adorned
            return self.site.labs.get(site_key(system, code)) if self.site.labs else None
        known = by_system.get((self._system(system) or system) if system else "loinc")
        return known or self.site.labs.get(site_key(system, code))

    def lab_meaning(self, text: str | None, codings: tuple[AsSent, ...]) -> LabMeaning:
        """What a concept with this text and these codings says that was measured."""
        return self._lab_meaning(text, codings)

    def is_lab_system(self, system: str | None, code: str) -> bool:
        """Whether a code is of a system that the tables know, so that one that is not listed is known to be something else."""
        if not system:
            return code[-2:-1] == "-" and code[:-2].isdigit()  # the form of LOINC's codes
        return self._system(system) is not None

    def lab_codes(self, analytes: Iterable[str]) -> tuple[str, ...]:
        """The codes of these analytes that are used worldwide and in the UK, in the order of the file, for search parameters."""
        wanted = frozenset(analytes)
        return tuple(
            code
            for code, by_system in self._labs.items()
            for system, lab in by_system.items()
            if lab.analyte in wanted and lab.role != "never" and system in _SEARCHED
        )

    def unit(self, spelling: str) -> str | None:
        """The canonical spelling of a unit as an EHR spelt it ("MEQ/L" -> "mEq/L"); None where it is not known."""
        return self._unit(spelling)

    def unit_for(self, analyte: str, written: str | None, coded: str | None) -> str | None:
        """The canonical spelling of the unit of a result; "" where none was sent, None where it can't be relied on.

        `written` is what people read and comes first, `coded` (UCUM) is read where that is missing or unknown. Where both are
        known for the analyte and mean different things, neither is believed. Raises KeyError for an analyte that is not known.
        """
        return self._analyte_unit(analyte, written, coded)

    def drug(self, codings: Codings, texts: tuple[str, ...], route: Route = "", sig: str = "") -> Recognition:
        """Which of our drugs a medication is: by its codes, else by its texts; all ingredients of a combination count.

        A code is looked up in the value sets, then in the local RxNorm lookup.
        `route` is the one of the dosage where that is known (see `route`); else it is read from the medication's own texts, and
        for some drugs from `sig`, the words of the dosage.
        """
        return self._drug(tuple(codings), texts, route, sig)

    def route(self, codings: Codings, texts: tuple[str, ...]) -> Route:
        """The route that a coded or written route of administration means; "" where it says none that matters here."""
        return self._route(tuple(codings), texts)

    def classes_for_allergy(self, codings: Codings, texts: tuple[str, ...]) -> frozenset[str]:
        """The drug classes that an allergy is about. Unlike a prescription, tonic water and any route count."""
        return self._drugs.classes_for_allergy(self._known(codings) + _mapped(codings, self.site.drugs), "\n".join(texts))

    def class_display(self, class_id: str) -> str:
        """The name of a drug class for people. Raises KeyError for a class that has no file."""
        return self.drug_classes[class_id]

    def drugs_of(self, class_id: str) -> frozenset[str]:
        """The names of the drugs of a class; none for a class that has no file."""
        return self._drugs_of(class_id)

    def problem(self, codings: Codings, names: tuple[str, ...]) -> ProblemRecognition:
        """Which problem sets a diagnosis belongs to, by its codes and its names. ICD-10 codes may come without their dot."""
        return self._problem(tuple(codings), names)

    def problem_sets(self, codings: Codings) -> frozenset[str]:
        """The problem sets that the codes of a diagnosis belong to."""
        return self._problem(tuple(codings), ()).sets

    def reached_by_week(self, week: int) -> frozenset[str]:
        """The problem sets that a pregnancy belongs to in its week `week`."""
        return frozenset(name for name, start in self._problem_index.from_week.items() if week >= start)

    def tabled(self, codings: Codings) -> bool:
        """Whether any code is of a system in which the problem sets are written, so that a code in no set is another disease.

        An expression of several SNOMED CT concepts is none: it could be anything.
        """
        return any(
            short in _TABLED and (short != "snomed" or plain.isdigit()) for short, plain, _ in self._known(codings)
        ) or any(code and site_key(system, code) in self.site.problems for system, code in codings)

    def matches(self, pattern_id: str, text: str) -> bool:
        """Whether a text says what a pattern of `text.yaml` looks for, outside its exceptions. Raises KeyError for no such id."""
        match, but_not = self.patterns[pattern_id]
        if match.search(text) is None:
            return False
        return but_not is None or match.search(but_not.sub(" ; ", text)) is not None

    def reasons_in(self, text: str) -> frozenset[str]:
        """The ids of all patterns for reasons (`..._reason` in `text.yaml`) that a text matches."""
        if not text.isascii():
            return frozenset(name for name in self._reasons if self.matches(name, text))
        lowered = text.lower()
        if self._any_reason.search(lowered) is None:  # as nearly always
            return frozenset()
        return frozenset(name for name, one in self._reasons.items() if one.search(lowered) and self.matches(name, text))

    def _find_unit(self, spelling: str) -> str | None:
        return self._spellings.get(_squeezed(spelling))

    def _find_analyte_unit(self, analyte: str, written: str | None, coded: str | None) -> str | None:
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
        return lab_meaning(text, codings, self)

    def _find_system(self, uri: str) -> SystemId | None:
        lowered = uri.strip().lower()
        for name, (exactly, containing) in self._systems.items():
            if lowered in exactly or any(part in lowered for part in containing):
                return name
        return None

    def _known(self, codings: Codings) -> list[Known]:
        """(short system, code, "system|code") of the codings in systems that are known.

        See `_taken_apart` for codes that say more than a code.
        """
        known: list[Known] = []
        for system, code in codings:
            if code:
                short, plain = self._taken_apart(system, code)
                if short is not None:
                    known.append((short, plain, f"{system}|{code}"))
        return known

    def _taken_apart(self, system: str | None, code: str) -> tuple[SystemId | None, str]:
        """The short name of the system, and the code alone, of a code as it was sent.

        One that begins with the name of a system ("RXNORM:9071", "http://loinc.org/2823-3") is of that system, whatever stands
        in its own. The term that may follow a code of SNOMED CT is left out.
        """
        plain, short = code.strip(), self._system(system) if system else None
        for mark in _MARKS:
            if mark in plain:
                before, _, rest = plain.rpartition(mark)
                if rest.strip() and (named := self._system(before)) is not None:
                    return named, rest.strip()
        if short == "snomed" and "|" in plain and (concept := _WITH_TERM.fullmatch(plain)) is not None:
            plain = concept[1]
        return short, plain

    def _known_drugs(self, codings: Codings) -> list[Known]:
        """The same, and codes of drugs whose system is missing or wrong, where only one system can have such a code.

        Seven characters of the pattern of ATC are an ATC code; more than seven digits are no RxNorm code.
        """
        known = self._known(codings) + _mapped(codings, self.site.drugs)
        found = {whole for short, _, whole in known if short == "atc"}
        for system, code in codings:
            if code and (whole := f"{system}|{code}") not in found:
                plain = code.strip().upper()
                short = self._system(system) if system else None
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
        return self._drugs.route(self._known(codings), "\n".join(texts))

    def _find_problem(self, codings: tuple[tuple[str | None, str | None], ...], names: tuple[str, ...]) -> ProblemRecognition:
        return self._problem_index.recognise(self._known(codings) + _mapped(codings, self.site.problems), names)


def site_key(system: str | None, code: str) -> tuple[str, str]:
    """How a coding is looked up among a site's own codes."""
    return (system or "").strip().lower(), code.strip()


def _mapped(codings: Codings, meanings: Mapping[tuple[str, str], str]) -> list[Known]:
    """What a site says of the codings."""
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


def _systems(file: SystemsFile) -> dict[SystemId, tuple[frozenset[str], tuple[str, ...]]]:
    return {
        name: (frozenset(uri.lower() for uri in one.exactly), tuple(part.lower() for part in one.containing))
        for name, one in file.systems.items()
    }


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


def _in_lower_case(expression: str) -> re.Pattern[str]:
    """The pattern for texts in lower case: that takes a third of the time of a search without regard to case."""
    return re.compile(_CAPITAL.sub(lambda found: found[0].lower() if found[0].isalpha() else found[0], expression))


def _finder(path: str, entry: PatternEntry) -> tuple[re.Pattern[str], re.Pattern[str] | None]:
    match = pattern("text.yaml", path, entry.match)
    for exception in entry.but_not:
        pattern("text.yaml", path, exception)  # each on its own, so that the error shows the one that is wrong
    joined = "|".join(f"(?:{exception})" for exception in entry.but_not)
    return match, pattern("text.yaml", path, joined) if joined else None
