"""The kinds of criteria: one file each, and what a new one must bring."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

from cds_service.criteria import kind
from cds_service.criteria.count import CountCriterion
from cds_service.criteria.drug import DrugCriterion
from cds_service.criteria.facts import SOURCES
from cds_service.criteria.kind import Known, Needs
from cds_service.criteria.kinds import Criterion
from cds_service.criteria.lab import LabCriterion
from cds_service.criteria.order import OrderCriterion
from cds_service.criteria.problem import ProblemCriterion
from cds_service.criteria.reason import ReasonCriterion
from cds_service.files.paths import cards_dir
from tests.core import knowledge

FOLDER = Path(kind.__file__).parent
KINDS = get_args(Criterion)
FILES = sorted({str(one.__module__).rpartition(".")[2] for one in KINDS})
MEDICATIONS = {"statements", "prescriptions"}


def imported(module: str) -> set[str]:
    """The modules of the folder that one of them imports."""
    tree = ast.parse((FOLDER / f"{module}.py").read_text(encoding="utf-8"))
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name.rpartition(".")[2] for name in names if name.startswith("cds_service.")}


@pytest.mark.parametrize("module", FILES)
def test_no_kind_knows_another(module: str) -> None:
    assert imported(module).isdisjoint({*FILES, "kinds"})


def test_each_file_that_defines_a_kind_is_in_the_vocabulary() -> None:
    written = {path.stem for path in FOLDER.glob("*.py") if "tag=" in path.read_text(encoding="utf-8")}
    assert written == set(FILES) == imported("kinds")


def test_each_kind_stands_in_the_table_for_authors() -> None:
    table = [line for line in (cards_dir() / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    names = {name for line in table for name in line.split("|")[1].replace("`", "").replace(",", " ").split()}
    assert {str(one.__struct_config__.tag) for one in KINDS} <= names


@pytest.mark.parametrize(
    ("criterion", "sources", "analytes"),
    [
        (LabCriterion(analyte="potassium", within_days=1), set(), {"potassium"}),
        (LabCriterion(analyte="egfr", within_days=1), {"patient"}, {"egfr", "creatinine"}),
        (LabCriterion(analyte="calcium", within_days=1), set(), {"calcium", "albumin"}),
        (DrugCriterion(classes=["quinine"]), MEDICATIONS, set()),
        (DrugCriterion(classes=["quinine"], started_after="egfr"), MEDICATIONS | {"patient"}, {"egfr", "creatinine"}),
        (DrugCriterion(classes=["quinine"], begun_days_before=1, before_sets=["cramp"]), MEDICATIONS | {"problems"}, set()),
        (CountCriterion(classes=["quinine"], at_least=2), MEDICATIONS, set()),
        (CountCriterion(classes=["quinine"], at_least=2, sets=["cramp"]), MEDICATIONS | {"problems"}, set()),
        (ProblemCriterion(sets=["cramp"]), {"problems"}, set()),
        (
            ProblemCriterion(sets=["pregnancy"], newer_than="egfr"),
            {"patient", "problems"},
            {"egfr", "creatinine", "pregnancy_status"},
        ),
        (OrderCriterion(classes=["quinine"]), set(), set()),
        (OrderCriterion(classes=["quinine"], action="switch"), {"prescriptions"}, set()),
        (ReasonCriterion(stated=True), {"problems"}, set()),
        (ReasonCriterion(stated=True, of="order or medication"), MEDICATIONS | {"problems"}, set()),
    ],
)
def test_what_a_criterion_looks_at_is_asked_for(criterion: Criterion, sources: set[str], analytes: set[str]) -> None:
    assert criterion.needs() == Needs(frozenset(sources), frozenset(analytes))


def test_each_criterion_of_the_cards_looks_at_sources_that_there_are_and_checks_its_names() -> None:
    nothing = Known({}, (), (), (), (), ())
    for name, criterion in knowledge().criteria.items():
        assert criterion.needs().sources <= SOURCES.keys(), name
        for used in criterion.names_used(nothing):
            assert used.field in criterion.__struct_fields__, name
            assert list(used.known) == [], name


def test_every_kind_defines_what_it_must_in_its_own_file() -> None:
    asked = ("find", "sentence", "names_used", "needs")
    for one in KINDS:
        for method in asked:
            assert getattr(one, method).__module__ == one.__module__, (one, method)
    assert not any(hasattr(kind.Kind, method) for method in asked)
