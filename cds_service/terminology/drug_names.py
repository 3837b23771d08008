"""Which of our drugs a medication's codes and texts name. Built once from `cards/value_sets/drugs/` and `routes.yaml`.

A text is cut into words and looked up word by word in one dictionary of names, so its cost depends on the text's length and
not on the number of drugs. Quinidine, hydroxychloroquine and quinine are different words and never confused.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

import msgspec

from cds_service.criteria.facts import WIDER, Route
from cds_service.terminology.rxnorm import Product
from cds_service.terminology.value_sets import (
    DrugFile,
    IngredientEntry,
    NoNamesFile,
    RouteRule,
    RoutesFile,
    SystemId,
    pattern,
    read,
    wrong,
)

CLASS = "class:"  # what a site maps a code to: the name of an ingredient, this and the id of a class, or
OTHER = "other"  # a drug that is none of ours
Known = tuple[SystemId, str, str]  # short name of the system, code, "system|code" as sent

_WORD = re.compile(r"[a-z]+|\n")  # digits are left out: "quinine300mg" is quinine; a line break keeps two texts apart
_LEGIBLE = re.compile(r"[a-z]{3,}")
_NUMBERED = re.compile(r"\b[0-9a-f]{8}-[0-9a-f-]{20,}\b")  # a UUID has words in it
_WHOLE_ATC = re.compile(r"[A-Z][0-9]{2}[A-Z]{2}[0-9]{2}")
_LAST_VOWELS = ("", "e", "a", "o", "um")  # of one international name in English, German, French, Spanish, Italian, Latin


class Recognition(msgspec.Struct, frozen=True, gc=False):
    """What a medication was recognised as. Nothing recognised: no classes, no ingredients, `by` empty."""

    classes: frozenset[str] = frozenset()
    ingredients: tuple[str, ...] = ()
    by: Literal["rxnorm", "atc", "snomed", "site", "text", ""] = ""
    code: str = ""  # "system|code" that identified it
    route: Route = ""
    disagrees: str = ""  # the other drug's name, where code and text name different drugs
    identified: bool = True  # False: nothing says which drug it is, ours or another


class _Rules(msgspec.Struct, frozen=True, gc=False):
    """When a class does not apply although one of its drugs was named."""

    not_text: re.Pattern[str] | None
    only_routes: frozenset[Route]
    not_routes: frozenset[Route]


class _Found(msgspec.Struct):
    """What codes say: ingredients in the order found, and classes that an ATC group says by itself.

    A product of the RxNorm lookup adds its `name`, and as `vetoed` the classes that have an exception for that name.
    """

    ingredients: list[str] = []
    classes: set[str] = set()
    name: str = ""
    vetoed: set[str] = set()
    by: Literal["rxnorm", "atc", "snomed", "site", ""] = ""
    code: str = ""


class DrugIndex:
    """Lookups for drugs; `displays` has the name for people of each class."""

    def __init__(self) -> None:
        self.displays: dict[str, str] = {}
        self.dosed: set[str] = set()  # classes of which the dose that is taken is read
        self._rules: dict[str, _Rules] = {}
        self._classes_of: dict[str, set[str]] = defaultdict(set)
        self._names: dict[str, list[tuple[list[str], str]]] = defaultdict(list)  # first word -> (further words, ingredient)
        self._codes: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._atc: dict[str, list[tuple[str, frozenset[str]]]] = defaultdict(list)  # prefix -> (class, codes that are not in it)
        self._not_codes: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)  # code -> (class, what it really is)
        self._route_texts: list[tuple[Route, re.Pattern[str]]] = []
        self._route_codes: dict[tuple[str, str], Route] = {}
        self._route_atc: dict[str, Route] = {}
        self._route_rules: list[tuple[str, RouteRule, re.Pattern[str] | None]] = []
        self._no_names: frozenset[str] = frozenset()  # words that name no drug
        self._nothing_taken: frozenset[str] = frozenset()  # codes that say that nothing is taken
        self._rxnorm: dict[str, list[str]] = defaultdict(list)  # RXCUI of an ingredient -> our names of it
        self._products: Mapping[str, Product] = {}
        self._all_rxnorm: frozenset[str] = frozenset()  # every RXCUI of the lookup, where there is one

    @property
    def ingredients(self) -> frozenset[str]:
        """The names of all drugs that are known."""
        return frozenset(self._classes_of)

    def ingredients_of(self, class_id: str) -> frozenset[str]:
        """The names of the drugs of a class."""
        return frozenset(name for name, classes in self._classes_of.items() if class_id in classes)

    @property
    def routed(self) -> frozenset[str]:
        """The classes of which some products are told apart by words about the route."""
        return frozenset(class_id for class_id, _, words in self._route_rules if words is not None)

    def recognise(self, codes: Iterable[Known], text: str, route: Route, sig: str = "") -> Recognition:
        """`text`: every text and display, one a line. `route`: of the dosage, "" where it is not known; `sig`: its words."""
        codes = list(codes)
        coded = self._by_code(codes)
        named, vetoed = self._by_text(text, coded.name)
        if not (named or coded.by):
            return Recognition(route=route, identified=self._is_another(codes, text))
        route = self._route_of([*coded.ingredients, *named], codes, f"{text}\n{sig}" if sig else text, coded.name, route)
        text_classes = self._classes(named, route) - vetoed
        for system, code, _ in codes:
            for class_id, really in self._not_codes.get((system, code), ()):
                if class_id in text_classes:
                    return Recognition(text_classes, tuple(named), "text", "", route, really)
        if not coded.by:
            return Recognition(text_classes, tuple(named), "text", "", route)
        classes = (self._classes(coded.ingredients, route) - coded.vetoed) | coded.classes
        together = not named or set(named) & set(coded.ingredients) or text_classes & classes
        if not together:
            return Recognition(classes, tuple(coded.ingredients), coded.by, coded.code, route, ", ".join(named))
        both = tuple(dict.fromkeys([*coded.ingredients, *named]))
        return Recognition(classes | text_classes, both, coded.by, coded.code, route)

    def knows(self, system: SystemId, code: str) -> bool:
        """Whether a code of this system is that of a drug or, for ATC, lies in a group of a class."""
        return (system, code) in self._codes or (system == "atc" and any(code.startswith(prefix) for prefix in self._atc))

    def _is_another(self, codes: Iterable[Known], text: str) -> bool:
        """Whether it is another drug than ours, or no drug, for certain: by a legible name, or by its code.

        Every ATC group of our drugs is known, and every product of the RxNorm lookup, so another code of them is another drug.
        """
        plain = _NUMBERED.sub(" ", _folded(text))
        if any((system, code) == ("site", OTHER) for system, code, _ in codes):
            return True
        if any(word not in self._no_names for word in _LEGIBLE.findall(plain)):
            return True
        return any(
            (system == "atc" and _WHOLE_ATC.fullmatch(code.upper()) is not None)
            or (system == "rxnorm" and code in self._all_rxnorm)
            for system, code, _ in codes
        )

    def says_nothing_taken(self, code: str) -> bool:
        """Whether a code, of any system, says that no drug is taken."""
        return code.lower() in self._nothing_taken

    def classes_for_allergy(self, codes: Iterable[Known], text: str) -> frozenset[str]:
        """Classes of everything that is named, whatever the route, and with no exception for texts."""
        coded = self._by_code(codes)
        ingredients = [*coded.ingredients, *self._named(text)]
        return frozenset(coded.classes).union(*(self._classes_of[name] for name in ingredients))

    def route(self, codes: Iterable[Known], text: str) -> Route:
        """The route that codes (SNOMED route, ATC group) or words say; "" where neither does."""
        for system, code, _ in codes:
            if found := self._route_codes.get((system, code)):
                return found
            if system == "atc":
                for length in range(1, len(code) + 1):
                    if found := self._route_atc.get(code[:length].upper()):
                        return found
        return next((name for name, words in self._route_texts if words.search(text)), "")

    def _by_code(self, codes: Iterable[Known]) -> _Found:
        found = _Found()
        for system, sent, whole in codes:
            code = sent.upper()
            ingredients: Iterable[str] = self._codes.get((system, code), ())
            if not ingredients and system == "rxnorm" and (product := self._products.get(code)) is not None:
                held = [name for ingredient in product.ingredients for name in self._rxnorm[ingredient]]
                ingredients, vetoed = self._without_exceptions(held, product.name)
                found.vetoed |= vetoed
                found.name = f"{found.name}\n{product.name}"
            groups = [
                class_id
                for length in range(1, len(code) + 1 if system == "atc" else 0)
                for class_id, but_not in self._atc.get(code[:length], ())
                if code not in but_not
            ]
            if system == "site" and sent.startswith(CLASS):
                groups = [sent.removeprefix(CLASS)]
            if not (ingredients or groups):
                continue
            found.ingredients += [name for name in ingredients if name not in found.ingredients]
            found.classes.update(groups)
            if not found.by and (system == "rxnorm" or system == "atc" or system == "snomed" or system == "site"):
                found.by, found.code = system, whole
        return found

    def _named(self, text: str) -> list[str]:
        words = _WORD.findall(_folded(text))
        found: dict[str, None] = {}
        for position, word in enumerate(words, 1):
            for rest, ingredient in self._names.get(word, ()):
                if words[position : position + len(rest)] == rest:
                    found[ingredient] = None
        if len(found) > 1:  # "insulin glargine" is not also the insulin of which no more is known
            return [name for name in found if not any(name != other and name in other.split() for other in found)]
        return list(found)

    def _by_text(self, text: str, product: str) -> tuple[list[str], set[str]]:
        """The ingredients that a text names, and the classes that have an exception for it or for the coded product's name."""
        return self._without_exceptions(self._named(text), f"{text}\n{product}")

    def _without_exceptions(self, named: Collection[str], text: str) -> tuple[list[str], set[str]]:
        """`named` without the ingredients of which every class has an exception for `text`, and the classes that have one."""
        vetoed = {
            class_id
            for class_id in {class_id for name in named for class_id in self._classes_of[name]}
            if (veto := self._rules[class_id].not_text) is not None and veto.search(text)
        }
        return [name for name in named if not self._classes_of[name] <= vetoed], vetoed

    def _classes(self, ingredients: Iterable[str], route: Route) -> frozenset[str]:
        return frozenset(
            class_id
            for name in ingredients
            for class_id in self._classes_of[name]
            if route not in (rules := self._rules[class_id]).not_routes and (not rules.only_routes or route in rules.only_routes)
        )

    def _route_of(self, ingredients: Iterable[str], codes: list[Known], text: str, product: str, given: Route) -> Route:
        route = given or self.route(codes, text) or self.route((), product)
        text = f"{text}\n{product}"
        classes = {class_id for name in ingredients for class_id in self._classes_of[name]}
        for class_id, rule, words in self._route_rules:
            if class_id in classes and (
                (rule.instead_of and route == rule.instead_of)
                or any(system == "rxnorm" and code in rule.rxnorm for system, code, _ in codes)
                or (words is not None and words.search(text))
            ):
                return rule.route
        return route

    def add_class(self, name: str, file: DrugFile) -> None:
        """Take in one file of `drugs/`. Raises KnowledgeError for a pattern that is none, or a class that was there before."""
        if file.drug_class in self.displays:
            raise wrong(name, "class", f"{file.drug_class} has a file already")
        self.displays[file.drug_class] = file.display
        for expression in file.not_text:
            pattern(name, "not_text", expression)
        if file.taken_dose:
            self.dosed.add(file.drug_class)
        veto = "|".join(f"(?:{expression})" for expression in file.not_text)
        self._rules[file.drug_class] = _Rules(
            pattern(name, "not_text", veto) if veto else None, _with_kinds(file.only_routes), _with_kinds(file.not_routes)
        )
        for ingredient in file.ingredients:
            self._add_ingredient(name, file.drug_class, ingredient)
        for prefix in file.atc_prefixes:
            self._atc[prefix.code].append((file.drug_class, frozenset(prefix.but_not)))
        for wrong_code in file.not_codes:
            self._not_codes[wrong_code.system, wrong_code.code].append((file.drug_class, wrong_code.really))
        for rule in file.route_rules:
            words = pattern(name, "route_rules.text", rule.text) if rule.text else None
            self._route_rules.append((file.drug_class, rule, words))
            for code in rule.rxnorm:
                self._add_code("rxnorm", code, file.ingredients[0].name)

    def _add_ingredient(self, file: str, class_id: str, ingredient: IngredientEntry) -> None:
        self._classes_of[ingredient.name].add(class_id)
        self._add_code("site", ingredient.name.upper(), ingredient.name)
        for spelling in (ingredient.name, *ingredient.also):
            words = _WORD.findall(_folded(spelling))
            if not words:
                raise wrong(file, f"ingredients.{ingredient.name}", f"{spelling!r} has no word in it")
            entry = (words[1:], ingredient.name)
            if entry not in self._names[words[0]]:
                self._names[words[0]].append(entry)
        for code in ingredient.rxnorm:
            if ingredient.name not in self._rxnorm[code]:
                self._rxnorm[code].append(ingredient.name)
        for system, codes in _codes_of(ingredient):
            for code in codes:
                self._add_code(system, code, ingredient.name)

    def _add_code(self, system: str, code: str, ingredient: str) -> None:
        if ingredient not in self._codes[system, code]:
            self._codes[system, code].append(ingredient)

    def add_endings(self) -> None:
        """Take in the names of all drugs as other languages end them: digoxine, digoxina; furosemid, furosemida."""
        known = set(self._names)
        for name in self._classes_of:
            stem = name.removesuffix("e")
            if len(name) > 5 and name.isalpha() and name == _folded(name) and stem[-1] not in "aeiouym":
                for ending in _LAST_VOWELS:
                    if (spelling := stem + ending) not in known:
                        self._names[spelling].append(([], name))

    def add_no_names(self, file: NoNamesFile) -> None:
        """Take in `no_names.yaml`."""
        self._no_names = frozenset(word for words in file.words.values() for word in words)
        self._nothing_taken = frozenset(code.lower() for code in file.nothing_taken)

    @property
    def rxnorm_ingredients(self) -> frozenset[str]:
        """The RXCUIs of all ingredients, without those of products."""
        return frozenset(self._rxnorm)

    def add_products(self, products: Mapping[str, Product], codes: frozenset[str] = frozenset()) -> None:
        """Take in the products of the RxNorm lookup, by RXCUI; a code that stands in a value set counts more.

        `codes` are those of the whole lookup.
        """
        self._products = products
        self._all_rxnorm = codes

    def add_routes(self, file: RoutesFile) -> None:
        """Take in `routes.yaml`. Raises KnowledgeError for a pattern that is none."""
        for name, entry in file.routes.items():
            self._route_texts.append((name, pattern("routes.yaml", f"routes.{name}", entry.text)))
            self._route_codes.update({("snomed", code): name for code in entry.snomed})
            self._route_atc.update({prefix.code: name for prefix in entry.atc_prefixes})


def load(folder: Path) -> DrugIndex:
    """Read `routes.yaml` and every file of `drugs/` below `folder`. Raises KnowledgeError."""
    index = DrugIndex()
    index.add_routes(read(folder, "routes.yaml", RoutesFile))
    for path in sorted((folder / "drugs").glob("*.yaml")):
        name = f"drugs/{path.name}"
        file = read(folder, name, DrugFile)
        if file.drug_class != path.stem:
            raise wrong(name, "class", f"{file.drug_class} must be the name of the file, {path.stem}")
        index.add_class(name, file)
    index.add_endings()
    index.add_no_names(read(folder, "no_names.yaml", NoNamesFile))
    return index


def _folded(text: str) -> str:
    """In lower case and without accents, as names are compared."""
    if text.isascii():  # as nearly always
        return text.lower()
    return "".join(char for char in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(char))


def _with_kinds(routes: Iterable[Route]) -> frozenset[Route]:
    """These routes and the kinds of them."""
    wanted = frozenset(routes)
    return wanted | {kind for kind in get_args(Route) if WIDER.get(kind) in wanted}


def _codes_of(ingredient: IngredientEntry) -> Iterator[tuple[str, list[str]]]:
    yield "rxnorm", ingredient.rxnorm
    yield "rxnorm", ingredient.rxnorm_products
    yield "atc", list(ingredient.atc)
    yield "snomed", ingredient.snomed
