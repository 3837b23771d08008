"""Read `cards/value_sets/drugs/`, `routes.yaml` and `no_names.yaml` into the tables that `drug_names` looks up."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import get_args

import msgspec

from cds_service.criteria.facts import WIDER, Route
from cds_service.terminology.rxnorm import Product
from cds_service.terminology.value_sets import (
    DrugFile,
    IngredientEntry,
    NoNamesFile,
    RouteRule,
    RoutesFile,
    pattern,
    read,
    wrong,
)

_WORD = re.compile(r"[a-z]+|\n")  # digits are left out: "quinine300mg" is quinine; a line break keeps two texts apart
_LAST_VOWELS = ("", "e", "a", "o", "um")  # of one international name in English, German, French, Spanish, Italian, Latin


class ClassRules(msgspec.Struct, frozen=True, gc=False):
    """The exceptions of a class: texts and routes for which its drugs do not count."""

    not_text: re.Pattern[str] | None
    only_routes: frozenset[Route]
    not_routes: frozenset[Route]


class DrugTables:
    """The names, codes and rules of all drugs, filled from the value set files."""

    def __init__(self) -> None:
        """Make empty tables."""
        self.displays: dict[str, str] = {}  # class -> its name for people
        self.dosed: set[str] = set()  # classes for which the dose of active medications is read
        self.rules: dict[str, ClassRules] = {}
        self.classes_of: dict[str, set[str]] = defaultdict(set)
        self.names: dict[str, list[tuple[list[str], str]]] = defaultdict(list)  # first word -> (further words, ingredient)
        self.codes: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.atc: dict[str, list[tuple[str, frozenset[str]]]] = defaultdict(list)  # prefix -> (class, codes that are not in it)
        self.not_codes: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)  # code -> (class, what it really is)
        self.route_texts: list[tuple[Route, re.Pattern[str]]] = []
        self.route_codes: dict[tuple[str, str], Route] = {}
        self.route_atc: dict[str, Route] = {}
        self.route_rules: list[tuple[str, RouteRule, re.Pattern[str] | None]] = []
        self.no_names: frozenset[str] = frozenset()  # words that name no drug
        self.nothing_taken: frozenset[str] = frozenset()  # codes that say that nothing is taken
        self.rxnorm: dict[str, list[str]] = defaultdict(list)  # RXCUI of an ingredient -> its names in the value sets
        self.products: Mapping[str, Product] = {}
        self.all_rxnorm: frozenset[str] = frozenset()  # every RXCUI of the RxNorm lookup; empty without one

    @property
    def ingredients(self) -> frozenset[str]:
        """Return the names of all drugs."""
        return frozenset(self.classes_of)

    def ingredients_of(self, class_id: str) -> frozenset[str]:
        """Return the names of the drugs of a class."""
        return frozenset(name for name, classes in self.classes_of.items() if class_id in classes)

    @property
    def routed(self) -> frozenset[str]:
        """Return the classes whose products are told apart by words about the route."""
        return frozenset(class_id for class_id, _, words in self.route_rules if words is not None)

    def add_class(self, name: str, file: DrugFile) -> None:
        """Add one file of `drugs/`. Raises KnowledgeError for an invalid pattern or a second file of a class."""
        if file.drug_class in self.displays:
            raise wrong(name, "class", f"{file.drug_class} has a file already")
        self.displays[file.drug_class] = file.display
        for expression in file.not_text:
            pattern(name, "not_text", expression)
        if file.taken_dose:
            self.dosed.add(file.drug_class)
        veto = "|".join(f"(?:{expression})" for expression in file.not_text)
        self.rules[file.drug_class] = ClassRules(
            pattern(name, "not_text", veto) if veto else None, _with_kinds(file.only_routes), _with_kinds(file.not_routes)
        )
        for ingredient in file.ingredients:
            self._add_ingredient(name, file.drug_class, ingredient)
        for prefix in file.atc_prefixes:
            self.atc[prefix.code].append((file.drug_class, frozenset(prefix.but_not)))
        for wrong_code in file.not_codes:
            self.not_codes[wrong_code.system, wrong_code.code].append((file.drug_class, wrong_code.really))
        for rule in file.route_rules:
            words = pattern(name, "route_rules.text", rule.text) if rule.text else None
            self.route_rules.append((file.drug_class, rule, words))
            for code in rule.rxnorm:
                self._add_code("rxnorm", code, file.ingredients[0].name)

    def _add_ingredient(self, file: str, class_id: str, ingredient: IngredientEntry) -> None:
        self.classes_of[ingredient.name].add(class_id)
        self._add_code("site", ingredient.name.upper(), ingredient.name)
        for spelling in (ingredient.name, *ingredient.also):
            words = words_of(spelling)
            if not words:
                raise wrong(file, f"ingredients.{ingredient.name}", f"{spelling!r} has no word in it")
            entry = (words[1:], ingredient.name)
            if entry not in self.names[words[0]]:
                self.names[words[0]].append(entry)
        for code in ingredient.rxnorm:
            if ingredient.name not in self.rxnorm[code]:
                self.rxnorm[code].append(ingredient.name)
        for system, codes in _codes_of(ingredient):
            for code in codes:
                self._add_code(system, code, ingredient.name)

    def _add_code(self, system: str, code: str, ingredient: str) -> None:
        if ingredient not in self.codes[system, code]:
            self.codes[system, code].append(ingredient)

    def add_endings(self) -> None:
        """Add the names of all drugs with the endings of other languages: digoxine, digoxina; furosemid."""
        known = set(self.names)
        for name in self.classes_of:
            stem = name.removesuffix("e")
            if len(name) > 5 and name.isalpha() and name == folded(name) and stem[-1] not in "aeiouym":
                for ending in _LAST_VOWELS:
                    if (spelling := stem + ending) not in known:
                        self.names[spelling].append(([], name))

    def add_no_names(self, file: NoNamesFile) -> None:
        """Add `no_names.yaml`."""
        self.no_names = frozenset(word for words in file.words.values() for word in words)
        self.nothing_taken = frozenset(code.lower() for code in file.nothing_taken)

    @property
    def rxnorm_ingredients(self) -> frozenset[str]:
        """Return the RXCUIs of all ingredients, without those of products."""
        return frozenset(self.rxnorm)

    def add_products(self, products: Mapping[str, Product], codes: frozenset[str] = frozenset()) -> None:
        """Add the products of the RxNorm lookup by RXCUI; a code in a value set takes precedence.

        `codes`: all RXCUIs of the lookup.
        """
        self.products = products
        self.all_rxnorm = codes

    def add_routes(self, file: RoutesFile) -> None:
        """Add `routes.yaml`. Raises KnowledgeError for an invalid pattern."""
        for name, entry in file.routes.items():
            self.route_texts.append((name, pattern("routes.yaml", f"routes.{name}", entry.text)))
            self.route_codes.update({("snomed", code): name for code in entry.snomed})
            self.route_atc.update({prefix.code: name for prefix in entry.atc_prefixes})


def load(folder: Path) -> DrugTables:
    """Read `routes.yaml` and every file of `drugs/` below `folder`. Raises KnowledgeError."""
    tables = DrugTables()
    tables.add_routes(read(folder, "routes.yaml", RoutesFile))
    for path in sorted((folder / "drugs").glob("*.yaml")):
        name = f"drugs/{path.name}"
        file = read(folder, name, DrugFile)
        if file.drug_class != path.stem:
            raise wrong(name, "class", f"{file.drug_class} must be the name of the file, {path.stem}")
        tables.add_class(name, file)
    tables.add_endings()
    tables.add_no_names(read(folder, "no_names.yaml", NoNamesFile))
    return tables


def words_of(text: str) -> list[str]:
    """Return the words of a name or text as they are compared."""
    return _WORD.findall(folded(text))


def folded(text: str) -> str:
    """Return `text` in lower case and without accents."""
    if text.isascii():  # as nearly always
        return text.lower()
    return "".join(char for char in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(char))


def _with_kinds(routes: Iterable[Route]) -> frozenset[Route]:
    """Return `routes` with the narrower routes of each: "inhaled" includes "nebulised"."""
    wanted = frozenset(routes)
    return wanted | {kind for kind in get_args(Route) if WIDER.get(kind) in wanted}


def _codes_of(ingredient: IngredientEntry) -> Iterator[tuple[str, list[str]]]:
    yield "rxnorm", ingredient.rxnorm
    yield "rxnorm", ingredient.rxnorm_products
    yield "atc", list(ingredient.atc)
    yield "snomed", ingredient.snomed
