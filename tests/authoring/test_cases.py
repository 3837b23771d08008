"""The tools that hold cards to their cases: what a case finds wrong, what no case has shown, what may not be emitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cds_service.authoring.cases import Run, load_cases, run_cases
from cds_service.authoring.coverage import Coverage
from cds_service.authoring.emitted_resources import emitted_problems
from cds_service.files.yaml_file import KnowledgeError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.loader import read_knowledge
from tests.core import Json, a_card, write_small
from tests.reading import terminology

CRITERIA = {
    "low": {"kind": "lab", "analyte": "potassium", "below": 3.5, "unit": "mmol/L", "within_days": 30},
    "cramp": {"kind": "problem", "sets": ["muscle_cramp"]},
}
REPEAT = {
    "resourceType": "ServiceRequest",
    "status": "draft",
    "intent": "proposal",
    "subject": {"reference": "{patient.reference}"},
}
ACTION = {"type": "create", "description": "Create it", "resource": "again"}
CARD = a_card(
    table=[
        {"when": ["low", "cramp"], "indicator": "warning", "summary": "low with cramps"},
        {"when": ["low"], "indicator": "info", "summary": "low"},
    ],
    detail=[{"text": "It is **low**."}, {"when": ["cramp"], "text": "It can be the cause."}],
    suggestions=[{"id": "repeat", "label": "Repeat", "when": ["cramp"], "actions": [ACTION]}],
)
LOW = "LOINC#2823-3 Potassium 3.4 mmol/L"


def loaded(folder: Path, *cases: Json, orders: Json | None = None) -> tuple[Knowledge, list[Run]]:
    write_small(folder, CRITERIA, CARD, orders={"again": REPEAT} if orders is None else orders)
    given = [{"name": f"Case number {number}", "hook": "patient-view"} | case for number, case in enumerate(cases)]
    (folder / "one" / "cases.yaml").write_text(yaml.safe_dump(given, sort_keys=False), encoding="utf-8")
    known = read_knowledge(folder, terminology())
    return known, list(run_cases(load_cases(folder, known), known))


@pytest.mark.parametrize(
    ("given", "expect", "problem"),
    [
        ([LOW], {"indicator": "info", "says": ["It is low."], "never_says": ["cause"], "never_offers": ["repeat"]}, ""),
        ([LOW, "ICD10#R25.2"], {"indicator": "warning", "says": ["low with cramps"], "offers": ["repeat"]}, ""),
        ([], "silent", ""),
        (["source labs: error"], "not checked", ""),
        ([LOW], {"indicator": "critical"}, "indicator is info, not critical"),
        ([LOW], {"indicator": "info", "says": ["high"]}, "does not say 'high'"),
        ([LOW], {"indicator": "info", "never_says": ["low"]}, "says 'low'"),
        ([LOW], {"indicator": "info", "offers": ["repeat"]}, "does not offer repeat"),
        ([LOW, "ICD10#R25.2"], {"indicator": "warning", "never_offers": ["repeat"]}, "offers repeat"),
        ([], {"indicator": "info"}, "must show the card, and it is not_fired"),
        ([LOW], "silent", "must be silent, and the card is shown as info"),
        (["source labs: error"], "silent", "must be silent, and the notice 'not-checked' is given"),
        ([], "not checked", "must be not checked, and the notice 'not-checked' is not given"),
        (["potassium 3"], "silent", "line 1, character 1"),
    ],
)
def test_a_case_passes_or_says_what_is_wrong(tmp_path: Path, given: list[str], expect: Any, problem: str) -> None:
    _, (run,) = loaded(tmp_path, {"given": given, "expect": expect})
    assert len(run.problems) == bool(problem)
    for found in run.problems:
        assert str(found).startswith("cards/one/cases.yaml:1: [0].name: Case number 0: ")
        assert problem in found.message


def test_a_case_can_say_what_other_cards_do(tmp_path: Path) -> None:
    _, runs = loaded(
        tmp_path,
        {"given": [LOW], "expect": {"indicator": "info"}, "others": {"one": "shown"}},
        {"given": [LOW], "expect": {"indicator": "info"}, "others": {"one": "silent"}},
        {"given": [LOW], "expect": {"indicator": "info"}, "others": {"deleted": "shown"}},
    )
    assert [[problem.message.partition(": ")[2] for problem in run.problems] for run in runs] == [
        [],
        ["the card one must be silent"],
        [],
    ]


def test_a_card_needs_cases(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match=r"cards/one/cases.yaml:1: file: has no case"):
        loaded(tmp_path)


def test_a_case_with_a_misspelt_word_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match=r"cards/one/cases.yaml:8: \[1\].expct: unknown name `expct`; did you mean `expect`"):
        loaded(tmp_path, {"given": [], "expect": "silent"}, {"given": [], "expct": "silent"})


def test_coverage_names_everything_that_no_case_has_shown(tmp_path: Path) -> None:
    known, runs = loaded(tmp_path, {"given": [], "expect": "silent"})
    coverage = Coverage(known)
    coverage.add(runs)
    assert list(coverage.missing()) == [
        "criterion low is never unmet",
        "criterion low is never met",
        "threshold 3.5 of low is never hit exactly",
        "criterion cramp is never unknown",
        "criterion cramp is never met",
        "one is never fired",
        "one: row 0 is never reached",
        "one: row 1 is never reached",
        "one: paragraph 0 is never shown (It is **low**....)",
        "one: paragraph 1 is never shown (It can be the cause....)",
        "one: suggestion repeat is never offered",
    ]


def test_coverage_is_complete_when_everything_was_shown_from_both_sides(tmp_path: Path) -> None:
    known, runs = loaded(
        tmp_path,
        {"given": [], "expect": "silent"},
        {"given": [LOW], "expect": {"indicator": "info"}},
        {"given": [LOW, "ICD10#R25.2"], "expect": {"indicator": "warning"}},
        {"given": ["LOINC#2823-3 Potassium 3.5 mmol/L"], "expect": "silent"},
        {"given": ["source problems: error", LOW], "expect": {"indicator": "info"}},
    )
    coverage = Coverage(known)
    coverage.add(runs)
    assert list(coverage.missing()) == []


def test_a_threshold_that_is_only_hit_or_only_missed_is_named(tmp_path: Path) -> None:
    known, runs = loaded(tmp_path, {"given": ["LOINC#2823-3 Potassium 3.5 mmol/L"], "expect": "silent"})
    coverage = Coverage(known)
    coverage.add(runs)
    assert "threshold 3.5 of low is never just missed on the other side" in list(coverage.missing())


def test_a_resource_that_is_not_valid_is_found_in_the_card_and_in_the_template(tmp_path: Path) -> None:
    wrong = {name: value for name, value in REPEAT.items() if name != "intent"}
    case = {"given": [LOW, "ICD10#R25.2"], "expect": {"indicator": "warning"}}
    known, runs = loaded(tmp_path, case, orders={"again": wrong})
    missing = "intent: model_field_validation.missing"
    assert [str(problem) for problem in emitted_problems(known, runs)] == [
        f"cards/one/cases.yaml:1: [0].name: Case number 0: emits an invalid ServiceRequest: {missing}",
        f"cards/orders.yaml:1: again: is not FHIR R4B: {missing}",
    ]
