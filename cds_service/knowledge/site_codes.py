"""Read a site's own codes for results, drugs and problems from `codes.yaml`.

A code is mapped to content of the value sets: an analyte with specimen and unit, an ingredient or a drug class, or a problem set;
`other` means that it is in none. The meaning of a code in the value sets can't be changed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

import msgspec

from cds_service.files.conversion_errors import Keys, suggestion
from cds_service.files.yaml_file import KnowledgeError, Problem, YamlFile
from cds_service.terminology.drug_names import CLASS, OTHER
from cds_service.terminology.lab_terms import LabCode
from cds_service.terminology.terminology import SiteMeanings, Terminology, site_key

FILE = "codes.yaml"
_NOT_YOURS = "is a code of the value sets, which define its meaning; it can't be mapped here"

Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code as the EHR sends it; the case of the system does not matter."""

    system: Text
    code: Text


class LabMapping(_Mapping, frozen=True, kw_only=True):
    """The meaning of a site's laboratory code.

    `unit`: of results without one. `specimen: other`: not measured in blood, so never read.
    """

    analyte: Text
    specimen: Literal["blood", "whole blood", "other"]
    unit: str = ""


class DrugMapping(_Mapping, frozen=True, kw_only=True):
    """The meaning of a site's drug code: an ingredient or a class.

    A class where the drug in it is not known; `class: other` for a drug in no value set.
    """

    ingredient: str = ""
    drug_class: str = msgspec.field(default="", name="class")


class ProblemMapping(_Mapping, frozen=True, kw_only=True):
    """The problem set of a site's code; `set: other` for none."""

    set: Text


class CodesFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    labs: list[LabMapping] = []
    drugs: list[DrugMapping] = []
    problems: list[ProblemMapping] = []


def read_site_codes(file: YamlFile, terminology: Terminology) -> SiteMeanings:
    """Return the meanings for `Terminology.with_codes`. Raises KnowledgeError with every error and its line."""
    codes = file.convert(CodesFile, file.data)
    problems = [
        *_twice(file, "labs", codes.labs),
        *_twice(file, "drugs", codes.drugs),
        *_twice(file, "problems", codes.problems),
        *_lab_problems(file, codes.labs, terminology),
        *_drug_problems(file, codes.drugs, terminology),
        *_problem_problems(file, codes.problems, terminology),
    ]
    if problems:
        raise KnowledgeError(problems)
    return SiteMeanings(
        labs={site_key(one.system, one.code): _lab(one) for one in codes.labs},
        drugs={site_key(one.system, one.code): one.ingredient or _class(one.drug_class) for one in codes.drugs},
        problems={site_key(one.system, one.code): one.set for one in codes.problems},
    )


def _lab(one: LabMapping) -> LabCode:
    role: Literal["never", "routine"] = "never" if one.specimen == "other" else "routine"
    return LabCode(one.analyte, role, "", one.specimen == "whole blood", sent_without=one.unit)


def _class(name: str) -> str:
    return OTHER if name == OTHER else f"{CLASS}{name}"


def _lab_problems(file: YamlFile, labs: Iterable[LabMapping], terminology: Terminology) -> Iterator[Problem]:
    for number, one in enumerate(labs):
        keys: Keys = ("labs", number)
        yield from _unknown(file, (*keys, "analyte"), one.analyte, terminology.analytes)
        if one.unit and (analyte := terminology.analytes.get(one.analyte)) is not None:
            yield from _unknown(file, (*keys, "unit"), one.unit, analyte.factors)
        if terminology.lab(one.system, one.code) is not None:
            yield file.problem((*keys, "code"), _NOT_YOURS)


def _drug_problems(file: YamlFile, drugs: Iterable[DrugMapping], terminology: Terminology) -> Iterator[Problem]:
    for number, one in enumerate(drugs):
        keys: Keys = ("drugs", number)
        if bool(one.ingredient) == bool(one.drug_class):
            yield file.problem(keys, "needs an `ingredient` or a `class`, one of both")
        elif one.ingredient:
            yield from _unknown(file, (*keys, "ingredient"), one.ingredient, terminology.ingredients)
        else:
            yield from _unknown(file, (*keys, "class"), one.drug_class, [*terminology.drug_classes, OTHER])
        if terminology.drug(((one.system, one.code),), ()).classes:
            yield file.problem((*keys, "code"), _NOT_YOURS)


def _problem_problems(file: YamlFile, problems: Iterable[ProblemMapping], terminology: Terminology) -> Iterator[Problem]:
    for number, one in enumerate(problems):
        keys: Keys = ("problems", number)
        yield from _unknown(file, (*keys, "set"), one.set, [*terminology.problem_names, OTHER])
        if terminology.problem_sets(((one.system, one.code),)):
            yield file.problem((*keys, "code"), _NOT_YOURS)


def _unknown(file: YamlFile, keys: Keys, name: str, known: Iterable[str]) -> Iterator[Problem]:
    names = sorted(known)
    if name not in names:
        yield file.problem(keys, f"unknown name{suggestion(name, names)}")


def _twice(file: YamlFile, section: str, mappings: Sequence[_Mapping]) -> Iterator[Problem]:
    seen: set[tuple[str, str]] = set()
    for number, one in enumerate(mappings):
        key = site_key(one.system, one.code)
        if key in seen:
            yield file.problem((section, number), f"`{one.code}` of this system stands here twice; keep one")
        seen.add(key)
