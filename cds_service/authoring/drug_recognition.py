"""Measure how well drugs are recognised, on a table of products classified by others.

The table (CSV) has the columns rxcui, name, route, ingredients and classes; several ingredients or classes are joined by `|`.
Where its classes differ from ours, a file of differences gives rules with a reason each; it names no single row. A recognised
drug that is nowhere in the table (dihydrocodeine in a table without it) cannot be judged and is counted separately.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from cds_service.files.yaml_file import KnowledgeError, Problem, YamlFile
from cds_service.terminology.drug_names import Recognition
from cds_service.terminology.terminology import Terminology
from cds_service.terminology.value_sets import pattern

By = Literal["text", "code", "both"]
COLUMNS = ("rxcui", "name", "route", "ingredients", "classes")
_RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


class Difference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Map drugs of the class `table` to our classes `ours`, which may be none.

    It holds for `ingredients` (all where none is named) of products whose name has the pattern `name` (all where it is empty).
    """

    table: str
    ours: tuple[str, ...]
    because: str
    ingredients: tuple[str, ...] = ()
    name: str = ""


class Spelling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Map a `name` pattern to `ingredients` that the table names in the product name only."""

    name: str
    ingredients: tuple[str, ...]


class Differences(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold rules for reading a table: about drugs, words and forms.

    They never name single products.
    """

    differences: tuple[Difference, ...] = ()
    spellings: tuple[Spelling, ...] = ()


class Miss(msgspec.Struct, frozen=True):
    """Hold a product whose class was recognised differently from the table."""

    kind: Literal["missed", "wrong", "not judged"]
    class_id: str
    rxcui: str
    name: str
    table: str  # the ingredients in the table
    recognised: str  # the drugs of the class that were recognised; "" where missed


class ClassFigures(msgspec.Struct):
    """Count products of one class; `recall` and `precision` in percent, None without products."""

    found: int = 0
    missed: int = 0
    wrong: int = 0
    not_judged: int = 0

    @property
    def recall(self) -> float | None:
        return _percent(self.found, self.found + self.missed)

    @property
    def precision(self) -> float | None:
        return _percent(self.found, self.found + self.wrong)


class Measurement(msgspec.Struct, frozen=True):
    """Hold the figures of each class, and the misses in table order."""

    products: int
    figures: dict[str, ClassFigures]
    misses: list[Miss]

    def confusions(self) -> Counter[tuple[str, str, str]]:
        """Return how often each (class, recognised drug, ingredients in the table) was wrong."""
        return Counter((one.class_id, one.recognised, one.table) for one in self.misses if one.kind == "wrong")


class _Row(msgspec.Struct, frozen=True):
    rxcui: str
    name: str
    ingredients: tuple[str, ...]
    classes: tuple[str, ...]


def read_differences(path: Path) -> Differences:
    """Read a file of differences (YAML, the fields of `Differences`). Raises KnowledgeError."""
    file = YamlFile(path, path.name)
    return file.convert(Differences, file.data)


def measure(products: Path, terms: Terminology, by: By, differences: Differences | None = None) -> Measurement:
    """Recognise every product of the CSV file `products`, and compare.

    `by`: its name, its RxNorm code, or both.

    Raises KnowledgeError for a file without the columns.
    """
    rows = list(_rows(products))
    table = _Table(rows, terms, differences or Differences())
    drugs = {class_id: terms.drugs_of(class_id) for class_id in terms.drug_classes}
    measured = Measurement(len(rows), {class_id: ClassFigures() for class_id in sorted(drugs)}, [])
    for row in rows:
        expected, recognition = table.classes(row), _recognise(terms, row, by)
        for class_id in sorted((expected | recognition.classes) & drugs.keys()):
            of_class = [name for name in recognition.ingredients if name in drugs[class_id]]
            figures = measured.figures[class_id]
            if class_id in expected and class_id in recognition.classes:
                figures.found += 1
                continue
            if class_id in expected:
                figures.missed += 1
                kind: Literal["missed", "wrong", "not judged"] = "missed"
            elif of_class and not any(table.contains(name) for name in of_class):
                figures.not_judged += 1
                kind = "not judged"
            else:
                figures.wrong += 1
                kind = "wrong"
            recognised = "" if kind == "missed" else " + ".join(of_class)
            measured.misses.append(Miss(kind, class_id, row.rxcui, row.name, " + ".join(row.ingredients), recognised))
    return measured


class _Table:
    """Return the classes of a product by the table, in our classes."""

    def __init__(self, rows: Sequence[_Row], terms: Terminology, differences: Differences) -> None:
        alone: dict[str, set[str]] = defaultdict(set)  # a product with one ingredient gives the classes of that ingredient
        for row in rows:
            if len(row.ingredients) == 1:
                alone[row.ingredients[0]].update(row.classes)
        self._alone = alone
        self._differences = [
            (one, pattern("differences", one.table, one.name) if one.name else None) for one in differences.differences
        ]
        self._spellings = [(pattern("spellings", one.name, one.name), one.ingredients) for one in differences.spellings]
        names = {name for row in rows for name in row.ingredients}
        self._ingredients = {ours for name in names for ours in terms.drug((), (name,)).ingredients}

    def contains(self, ingredient: str) -> bool:
        return ingredient in self._ingredients

    def classes(self, row: _Row) -> set[str]:
        spelt = [name for words, names in self._spellings if words.search(row.name) for name in names]
        return {
            ours
            for ingredient in (*row.ingredients, *spelt)
            for class_id in self._alone.get(ingredient, row.classes)
            for ours in self._ours(class_id, ingredient, row.name)
        }

    def _ours(self, class_id: str, ingredient: str, name: str) -> tuple[str, ...]:
        for one, words in self._differences:
            if (
                one.table == class_id
                and (not one.ingredients or ingredient in one.ingredients)
                and (words is None or words.search(name))
            ):
                return one.ours
        return (class_id,)


def _recognise(terms: Terminology, row: _Row, by: By) -> Recognition:
    codings = [(_RXNORM, row.rxcui)] if by != "text" else []
    return terms.drug(codings, (row.name,) if by != "code" else ())


def _rows(path: Path) -> Iterator[_Row]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
            raise KnowledgeError([Problem(str(path), 1, "", f"has no column {', '.join(missing)}")])
        for row in reader:
            if None in row or None in row.values():
                raise KnowledgeError([Problem(str(path), reader.line_num, "", "has more or fewer cells than the first line")])
            yield _Row(row["rxcui"], row["name"], _parts(row["ingredients"]), _parts(row["classes"]))


def _parts(cell: str) -> tuple[str, ...]:
    return tuple(re.split(r"\s*\|\s*", cell.strip())) if cell.strip() else ()


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
