"""The kinds of criteria: one file each, and what a new one must bring."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import msgspec
import pytest

from cds_service.authoring.shorthand import request_from_case
from cds_service.criteria import kind
from cds_service.criteria.count import CountCriterion
from cds_service.criteria.drug import DrugCriterion
from cds_service.criteria.facts import SOURCES, Facts
from cds_service.criteria.findings import Truth
from cds_service.criteria.kind import MET_OR_UNMET, Known, Needs
from cds_service.criteria.kinds import Criterion
from cds_service.criteria.lab import LabCriterion
from cds_service.criteria.order import OrderCriterion
from cds_service.criteria.problem import ProblemCriterion
from cds_service.criteria.reason import ReasonCriterion
from cds_service.explain.sentences import Sentences
from cds_service.files.paths import cards_dir
from tests.core import NOW, Json, a_card, decide, facts, facts_in, knowledge, small, unexpected
from tests.reading import terminology

FOLDER = Path(kind.__file__).parent
KINDS = get_args(Criterion)
FILES = sorted({str(one.__module__).rpartition(".")[2] for one in KINDS})
MEDICATIONS = {"statements", "prescriptions"}


class Example(NamedTuple):
    """A criterion of one kind, its sentence, and facts that make it met, unmet and unknown."""

    criterion: Json
    sentence: str
    met: Callable[[], Facts]
    unmet: Callable[[], Facts]
    unknown: Callable[[], Facts] | None  # None where facts can't make the kind unknown


def given(*lines: str, hook: str = "order-sign", country: Literal["US", "GB"] = "US") -> Callable[[], Facts]:
    """Facts of these lines in the shorthand of cases."""
    return partial(facts, *lines, hook=hook, country=country)


def with_an_order_that_cannot_be_read() -> Facts:
    request = request_from_case(["order: aspirin"], "order-sign", NOW)
    request["context"]["draftOrders"]["entry"].append({"resource": {"resourceType": "MedicationRequest", "status": 1}})
    return facts_in(request)


CRAMP = "ICD10#R25.2 Cramp and spasm"
TABLET = "order: baclofen 10 mg oral tablet"
MEMBER = {"kind": "problem", "sets": ["muscle_cramp"]}  # of the groups
# One example for each kind; `test_<kind>`, `test_comparisons` and `test_sentences` have the details.
EXAMPLES = {
    "lab": Example(
        {"kind": "lab", "analyte": "potassium", "below": 3.5, "unit": "mmol/L", "within_days": 30},
        "potassium below 3.5 mmol/L, at most 30 days old",
        given("LOINC#2823-3 Potassium 3.49 mmol/L"),
        given("LOINC#2823-3 Potassium 3.5 mmol/L"),
        given("source labs: error"),
    ),
    "drug": Example(
        {"kind": "drug", "classes": ["quinine"]},
        "takes quinine",
        given("takes: quinine 300 mg"),
        given("takes: quinidine 200 mg"),
        given("source statements: error"),
    ),
    "count": Example(
        {"kind": "count", "classes": ["quinine", "baclofen"], "at_least": 2},
        "at least 2 of: quinine or baclofen",
        given("takes: quinine 300 mg", "takes: baclofen 10 mg"),
        given("takes: quinine 300 mg"),
        given("takes: quinine 300 mg", "source prescriptions: error"),
    ),
    "problem": Example(
        MEMBER, "an active problem: muscle cramp", given(CRAMP), given("source problems: null"), given("source problems: error")
    ),
    "allergy": Example(
        {"kind": "allergy", "classes": ["quinine"]},
        "an allergy or earlier reaction to quinine",
        given("allergy: quinine"),
        given("allergy: penicillin"),
        given("source allergies: error"),
    ),
    "age": Example(
        {"kind": "age", "at_least": 65},
        "65 years or older",
        given("patient: female, born 1960-12-01"),
        given("patient: female, born 1960-12-02"),
        given("source patient: error"),
    ),
    "order": Example(
        {"kind": "order", "classes": ["baclofen"]},
        "an order for baclofen",
        given(TABLET),
        given("order: aspirin"),
        with_an_order_that_cannot_be_read,
    ),
    "dose": Example(
        {"kind": "dose", "above": 20},
        "an ordered daily dose above 20 mg/day",
        given(f"{TABLET}, dose 10 mg TID"),
        given(f"{TABLET}, dose 10 mg BID"),
        given(f"{TABLET}, dose as needed"),
    ),
    "reason": Example(
        {"kind": "reason", "stated": True, "of": "order or medication"},
        "an order or an active medication states a reason",
        given(f"{TABLET}, for ICD10#Z00.0"),
        given(TABLET),
        given(TABLET, "source statements: error"),
    ),
    "hook": Example(
        {"kind": "hook", "hooks": ["order-sign"]},
        "the moment is order-sign",
        given(TABLET),
        given(CRAMP, hook="patient-view"),
        None,
    ),
    "jurisdiction": Example(
        {"kind": "jurisdiction", "country": "US"}, "the site is in US", given(TABLET), given(TABLET, country="GB"), None
    ),
    "any": Example(
        {"kind": "any", "of": ["member"]}, "'it'", given(CRAMP), given("source problems: null"), given("source problems: error")
    ),
    "all": Example(
        {"kind": "all", "of": ["member"]}, "'it'", given(CRAMP), given("source problems: null"), given("source problems: error")
    ),
}


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


def test_each_kind_has_an_example() -> None:
    assert EXAMPLES.keys() == {one.__struct_config__.tag for one in KINDS}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_each_kind_is_met_unmet_and_unknown_in_its_example(kind: str) -> None:
    example = EXAMPLES[kind]
    assert example.criterion["kind"] == kind
    members = {"member": MEMBER} if example.criterion.get("of") == ["member"] else {}
    criteria = {"it": example.criterion, "order": {"kind": "order", "classes": ["baclofen"]}, **members}
    for_each = "order" if kind == "dose" else ""  # a dose is that of one order
    known = small(criteria, a_card(fire_when=["it"], for_each=for_each))
    truths = {Truth.MET: example.met, Truth.UNMET: example.unmet, Truth.UNKNOWN: example.unknown}
    for truth, make in truths.items():
        if make is not None:
            [decision] = decide(make(), known, unexpected)
            assert decision.findings["it"].truth is truth
    assert example.unknown is not None or known.criteria["it"].truths_in_cases == MET_OR_UNMET


@pytest.mark.parametrize("kind", EXAMPLES)
def test_each_kind_has_a_sentence(kind: str) -> None:
    criteria = msgspec.convert({"it": EXAMPLES[kind].criterion, "member": MEMBER}, dict[str, Criterion])
    assert Sentences(criteria, terminology()).of("it") == EXAMPLES[kind].sentence


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
