"""Define the structures of the files under `cards/value_sets/`, and read and check the files.

Each kind of file has one structure. An unknown field is an error, so that a misspelt one can't be ignored. `terminology` makes
lookups of them.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from cds_service.criteria.facts import Route
from cds_service.files.yaml_file import KnowledgeError, Problem, YamlFile

T = TypeVar("T")

# "site" is the system of the meanings to which a site maps its own codes, see `site_codes`
SystemId = Literal["site", "loinc", "rxnorm", "atc", "snomed", "icd10", "npu", "ciel", "mimic", "jlac10"]
Text = Annotated[str, msgspec.Meta(min_length=1)]
AtcCode = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]([0-9]{2}([A-Z]([A-Z]([0-9]{2})?)?)?)?$")]
Digits = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+$")]
Code = Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9.-]+$")]


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    """The base of every structure of a value set file: unknown fields are an error."""


class System(_Entry):
    """The names of a code system: `exactly` whole URIs, `containing` parts of one (in lower case)."""

    exactly: list[Text] = []
    containing: list[Text] = []


class SystemsFile(_Entry):
    systems: dict[SystemId, System]


class UnitsFile(_Entry):
    units: dict[Text, list[Text]]


class LabCodeEntry(_Entry):
    code: Code
    source: Text
    system: SystemId = "loinc"
    role: Literal["routine", "pre-dialysis", "post-dialysis", "low-priority"] = "routine"
    unit: str = ""
    whole_blood: bool = False
    needs_blood: bool = False  # the code leaves the specimen open


class NeverCodes(_Entry):
    """Codes that never count as the analyte, whatever their name."""

    system: SystemId
    codes: list[Code]
    source: Text


class Correction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The correction of a result by another analyte.

    `per_unit` is added for each unit that the other lies below `normal`; it was measured within `within_days`.
    """

    by: Text  # id of the other analyte
    normal: Decimal
    per_unit: Decimal
    within_days: int
    source: Text


class AnalyteEntry(_Entry):
    name: Text
    codes: list[LabCodeEntry]
    unit: str = ""
    units: dict[Text, Decimal] = {}
    plausible: tuple[Decimal, Decimal] | None = None
    no_unit: Literal["accept_code_unit", "unknown"] = "unknown"
    worse: Literal["low", "high", ""] = ""  # the more severe end; "" where the value is not a quantity
    names: list[Text] = []  # as laboratories write it
    short_names: list[Text] = []  # that count only beside one of its units: "K"
    reported_in: list[Text] = []  # units
    never: list[NeverCodes] = []
    corrected: Correction | None = None


class CriticalFlags(_Entry):
    """Codes of an interpretation that call a result critical, by side."""

    low: list[Code]
    high: list[Code]
    either: list[Code]


class LabsFile(_Entry):
    name_words: list[Text]
    other_names: list[Text]
    blood_specimens: list[Text]
    other_specimens: list[Text]
    critical_flags: CriticalFlags
    analytes: dict[Text, AnalyteEntry]


class AtcPrefix(_Entry):
    code: AtcCode
    source: Text
    but_not: list[AtcCode] = []


class IngredientEntry(_Entry):
    name: Text
    source: Text
    also: list[Text] = []
    rxnorm: list[Digits] = []
    rxnorm_products: list[Digits] = []
    atc: list[AtcCode] = []
    snomed: list[Digits] = []


class NotCode(_Entry):
    """A code that was found labelled as a drug of the class, and its real meaning."""

    system: SystemId
    code: Code
    really: Text = msgspec.field(name="is")
    source: Text


class RouteRule(_Entry):
    """Products of the class that have this route: by RxNorm code, by text, or where another route was recognised."""

    route: Route
    source: Text
    rxnorm: list[Digits] = []
    text: str = ""
    instead_of: Route = ""


class DrugFile(_Entry):
    drug_class: Text = msgspec.field(name="class")
    display: Text
    ingredients: list[IngredientEntry]
    atc_prefixes: list[AtcPrefix] = []
    not_text: list[Text] = []
    not_codes: list[NotCode] = []
    only_routes: list[Route] = []
    not_routes: list[Route] = []
    route_rules: list[RouteRule] = []
    taken_dose: bool = False  # the daily dose of active medications is read too, because a card uses it


class RouteEntry(_Entry):
    text: Text
    source: Text
    snomed: list[Digits] = []
    atc_prefixes: list[AtcPrefix] = []


class RoutesFile(_Entry):
    routes: dict[Route, RouteEntry]


class NoNamesFile(_Entry):
    """Words (lower case, no accents) that name no drug, grouped, and codes for "no medication"."""

    words: dict[Text, list[Annotated[str, msgspec.Meta(pattern="^[a-z]{3,}$")]]]
    nothing_taken: list[Text]
    source: Text


class ProblemCode(_Entry):
    """A code and, where it states one, the week of the pregnancy on its day."""

    system: Literal["icd10", "snomed"]
    code: Code
    match: Literal["exact", "prefix"]
    source: Text
    week: int | None = None


class ProblemNotCode(ProblemCode):
    """A code that must not count for the set, and its real meaning."""

    really: Text = msgspec.field(name="is", default="something else")


class ProblemText(_Entry):
    """How clinicians name the problem.

    `match` is searched in what `not` and the general cuts of the file leave of a name.
    """

    match: Text
    source: Text
    but_not: list[Text] = msgspec.field(name="not", default_factory=list)
    kept: list[Text] = []  # names of general cuts that are not made for this set


class ProblemFile(_Entry):
    display: Text
    codes: list[ProblemCode]
    not_codes: list[ProblemNotCode] = []
    text: ProblemText | None = None
    text_decides: bool = False  # a name that denies the problem, or calls it past, overrides a code


class ProblemTextFile(_Entry):
    crossed_out: dict[Text, Text]  # in this order
    source: Text


class PatternEntry(_Entry):
    match: Text
    source: Text
    but_not: list[Text] = msgspec.field(name="not", default_factory=list)


class TextFile(_Entry):
    patterns: dict[Text, PatternEntry]


def read(folder: Path, name: str, shape: type[T]) -> T:
    """Read one file, for example `labs.yaml`, as `shape`.

    Raises KnowledgeError where it is missing, not YAML, or not of that shape.
    """
    file = YamlFile(folder / name, _shown_as(name))
    return file.convert(shape, file.data)


def _shown_as(name: str) -> str:
    return f"cards/value_sets/{name}"


def wrong(name: str, path: str, message: str) -> KnowledgeError:
    """Return the error for content of the right shape that is wrong; `path`: where in the file."""
    return KnowledgeError([Problem(_shown_as(name), 1, path, message)])


def pattern(name: str, path: str, expression: str) -> re.Pattern[str]:
    """Compile a case-insensitive pattern. Raises KnowledgeError for an invalid one."""
    try:
        return re.compile(expression, re.IGNORECASE)
    except re.error as error:
        raise wrong(name, path, f"{expression!r} is not a pattern: {error}") from error
