"""Recognise the drugs of the value sets in the codes and texts of a medication.

A text is cut into words and looked up word by word in one dictionary of names, so its cost depends on the text's length and
not on the number of drugs. Quinidine, hydroxychloroquine and quinine are different words and never confused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Literal

import msgspec

from cds_service.criteria.facts import Route
from cds_service.terminology.code_systems import Known
from cds_service.terminology.drug_tables import DrugTables, folded, words_of
from cds_service.terminology.value_sets import SystemId

# A site maps a code of its own to the name of an ingredient, to CLASS and the id of a class, or to OTHER.
CLASS = "class:"
OTHER = "other"  # a drug in no value set

_LEGIBLE = re.compile(r"[a-z]{3,}")
_NUMBERED = re.compile(r"\b[0-9a-f]{8}-[0-9a-f-]{20,}\b")  # a UUID has words in it
_WHOLE_ATC = re.compile(r"[A-Z][0-9]{2}[A-Z]{2}[0-9]{2}")


class Recognition(msgspec.Struct, frozen=True, gc=False):
    """The result of recognising a medication; without a match `classes`, `ingredients` and `by` are empty."""

    classes: frozenset[str] = frozenset()
    ingredients: tuple[str, ...] = ()
    by: Literal["rxnorm", "atc", "snomed", "site", "text", ""] = ""
    code: str = ""  # "system|code" that identified it
    route: Route = ""
    disagrees: str = ""  # the other drug's name, where code and text name different drugs
    identified: bool = True  # False: it could be any drug, one of the value sets too


class _Found(msgspec.Struct):
    """The ingredients that codes mean, in the order found, and the classes that ATC groups mean.

    A product of the RxNorm lookup adds its `name`, and as `vetoed` the classes that have an exception for that name.
    """

    ingredients: list[str] = []
    classes: set[str] = set()
    name: str = ""
    vetoed: set[str] = set()
    by: Literal["rxnorm", "atc", "snomed", "site", ""] = ""
    code: str = ""


class DrugIndex:
    """Recognise drugs by the codes and texts of a medication."""

    def __init__(self, tables: DrugTables) -> None:
        """Look up in `tables`, see `drug_tables.load`."""
        self._tables = tables

    def recognise(self, codes: Iterable[Known], text: str, route: Route, sig: str = "") -> Recognition:
        """Recognise a medication by its codes, else by its texts.

        `text`: every text and display, one a line. `route`: of the dosage, "" where it is not known; `sig`: its words.
        """
        codes = list(codes)
        coded = self._by_code(codes)
        named, vetoed = self._by_text(text, coded.name)
        if not (named or coded.by):
            return Recognition(route=route, identified=self._is_another(codes, text))
        route = self._route_of([*coded.ingredients, *named], codes, f"{text}\n{sig}" if sig else text, coded.name, route)
        text_classes = self._classes(named, route) - vetoed
        for system, code, _ in codes:
            for class_id, really in self._tables.not_codes.get((system, code), ()):
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
        """Tell whether a code is that of a drug or, for ATC, lies in a group of a class."""
        return (system, code) in self._tables.codes or (
            system == "atc" and any(code.startswith(prefix) for prefix in self._tables.atc)
        )

    def _is_another(self, codes: Iterable[Known], text: str) -> bool:
        """Tell whether a legible name or a code proves that it is no drug of the value sets.

        Every ATC group of those drugs is known, and every product of the RxNorm lookup, so any other code is another drug.
        """
        plain = _NUMBERED.sub(" ", folded(text))
        if any((system, code) == ("site", OTHER) for system, code, _ in codes):
            return True
        if any(word not in self._tables.no_names for word in _LEGIBLE.findall(plain)):
            return True
        return any(
            (system == "atc" and _WHOLE_ATC.fullmatch(code.upper()) is not None)
            or (system == "rxnorm" and code in self._tables.all_rxnorm)
            for system, code, _ in codes
        )

    def says_nothing_taken(self, code: str) -> bool:
        """Tell whether a code, of any system, says that no drug is taken."""
        return code.lower() in self._tables.nothing_taken

    def classes_for_allergy(self, codes: Iterable[Known], text: str) -> frozenset[str]:
        """Return the classes of every named drug, by any route and without exceptions for texts."""
        coded = self._by_code(codes)
        ingredients = [*coded.ingredients, *self._named(text)]
        return frozenset(coded.classes).union(*(self._tables.classes_of[name] for name in ingredients))

    def route(self, codes: Iterable[Known], text: str) -> Route:
        """Return the route that codes (SNOMED CT route, ATC group) or words say; "" where none does."""
        for system, code, _ in codes:
            if found := self._tables.route_codes.get((system, code)):
                return found
            if system == "atc":
                for length in range(1, len(code) + 1):
                    if found := self._tables.route_atc.get(code[:length].upper()):
                        return found
        return next((name for name, words in self._tables.route_texts if words.search(text)), "")

    @property
    def route_expressions(self) -> tuple[str, ...]:
        """Return the expressions that find a route in words."""
        rules = [words for _, _, words in self._tables.route_rules if words is not None]
        return tuple(words.pattern for words in (*[words for _, words in self._tables.route_texts], *rules))

    def route_words(self, text: str) -> tuple[object, ...]:
        """Return which of these expressions a text matches, as far as it matters."""
        rules = [words for _, _, words in self._tables.route_rules if words is not None]
        return self.route((), text), tuple([words.search(text) is not None for words in rules])

    def _by_code(self, codes: Iterable[Known]) -> _Found:
        found = _Found()
        for system, sent, whole in codes:
            code = sent.upper()
            ingredients: Iterable[str] = self._tables.codes.get((system, code), ())
            if not ingredients and system == "rxnorm" and (product := self._tables.products.get(code)) is not None:
                held = [name for ingredient in product.ingredients for name in self._tables.rxnorm[ingredient]]
                ingredients, vetoed = self._without_exceptions(held, product.name)
                found.vetoed |= vetoed
                found.name = f"{found.name}\n{product.name}"
            groups = [
                class_id
                for length in range(1, len(code) + 1 if system == "atc" else 0)
                for class_id, but_not in self._tables.atc.get(code[:length], ())
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
        """Return the ingredients that a text names."""
        words = words_of(text)
        found: dict[str, None] = {}
        for position, word in enumerate(words, 1):
            for rest, ingredient in self._tables.names.get(word, ()):
                if words[position : position + len(rest)] == rest:
                    found[ingredient] = None
        if len(found) > 1:  # "insulin glargine" is not also plain "insulin"
            return [name for name in found if not any(name != other and name in other.split() for other in found)]
        return list(found)

    def _by_text(self, text: str, product: str) -> tuple[list[str], set[str]]:
        """Return (ingredients in `text`, classes with an exception for `text` or the coded product's name)."""
        return self._without_exceptions(self._named(text), f"{text}\n{product}")

    def _without_exceptions(self, named: Collection[str], text: str) -> tuple[list[str], set[str]]:
        """Return (`named` without the ingredients whose classes all have an exception for `text`, the classes that have one)."""
        vetoed = {
            class_id
            for class_id in {class_id for name in named for class_id in self._tables.classes_of[name]}
            if (veto := self._tables.rules[class_id].not_text) is not None and veto.search(text)
        }
        return [name for name in named if not self._tables.classes_of[name] <= vetoed], vetoed

    def _classes(self, ingredients: Iterable[str], route: Route) -> frozenset[str]:
        return frozenset(
            class_id
            for name in ingredients
            for class_id in self._tables.classes_of[name]
            if route not in (rules := self._tables.rules[class_id]).not_routes
            and (not rules.only_routes or route in rules.only_routes)
        )

    def _route_of(self, ingredients: Iterable[str], codes: list[Known], text: str, product: str, given: Route) -> Route:
        route = given or self.route(codes, text) or self.route((), product)
        text = f"{text}\n{product}"
        classes = {class_id for name in ingredients for class_id in self._tables.classes_of[name]}
        for class_id, rule, words in self._tables.route_rules:
            if class_id in classes and (
                (rule.instead_of and route == rule.instead_of)
                or any(system == "rxnorm" and code in rule.rxnorm for system, code, _ in codes)
                or (words is not None and words.search(text))
            ):
                return rule.route
        return route
