"""What was sent and is in no fact is named in an explanation, with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.explain.explain import explain
from cds_service.explain.explanation import Explanation
from cds_service.explain.text import draw_explanation
from cds_service.fhir.bundles import gathered_raw
from cds_service.fhir.gathered import EXPECTED
from tests.core import knowledge
from tests.reading import Json, as_json, bundle, condition, facts, observation, prescription, statement

LOCAL = {"coding": [{"system": "urn:local", "code": "K-17"}], "text": "Tired at night"}
PEANUT = {
    "resourceType": "AllergyIntolerance",
    "id": "a1",
    "patient": {"reference": "Patient/p1"},
    "code": {"text": "peanut"},
}


def explained(**sources: Any) -> Explanation:
    sent = {name: gathered_raw(as_json(sources.get(name)), name, "prefetch") for name in EXPECTED}
    return explain(facts(**sources), [], knowledge(), sent)


@pytest.mark.parametrize(
    ("key", "sent", "reference", "because"),
    [
        ("problems", condition() | {"code": LOCAL}, "Condition/c1", "no card looks for its code"),
        (
            "problems",
            condition() | {"code": {"text": "tired"}},
            "Condition/c1",
            "no card looks for its code, or for",
        ),
        ("problems", condition() | {"clinicalStatus": "resolved"}, "Condition/c1", "it is past, excluded, or not confirmed"),
        ("labs", observation("718-7"), "Observation/k1", "no card looks for its code"),
        ("labs", observation(status="cancelled"), "Observation/k1", "its status is cancelled"),
        ("labs", observation(value=None, valueString="not performed"), "Observation/k1", "no card needs this result"),
        ("prescriptions", prescription(status="stopped"), "MedicationRequest/rx1", "it is not active, by its status"),
        ("statements", statement(status="completed"), "MedicationStatement/ms1", "it is not active, by its status"),
        ("allergies", PEANUT, "AllergyIntolerance/a1", "no card looks for its substance"),
    ],
)
def test_it_is_named_with_the_reason(key: str, sent: Json, reference: str, because: str) -> None:
    (found,) = explained(**{key: bundle(sent)}).unused
    assert (found.source, found.reference) == (key, reference)
    assert found.because.startswith(because)


@pytest.mark.parametrize(
    ("key", "sent"),
    [
        ("labs", observation()),
        ("labs", observation() | {"code": {"text": "Potassium"}}),  # a result that can't be used, which the results say
        ("problems", condition()),
        ("problems", condition() | {"code": LOCAL, "subject": {"reference": "Patient/another"}}),  # the source says so
        ("prescriptions", prescription("Something that nobody knows")),  # active drugs are told whatever they are
        ("prescriptions", {"resourceType": "Medication", "id": "m"}),
    ],
)
def test_what_is_read_or_what_its_source_speaks_about_is_not_among_it(key: str, sent: Json) -> None:
    assert explained(**{key: bundle(sent)}).unused == []


def test_its_text_is_cleaned_and_a_terminal_shows_it() -> None:
    code: dict[str, Any] = LOCAL | {"text": "<b>Tired\u202e legs"}
    explanation = explained(problems=bundle(condition() | {"code": code}))
    assert [(one.text, one.code) for one in explanation.unused] == [("‹b>Tired legs", "urn:local|K-17")]
    assert "    Condition/c1: ‹b>Tired legs [urn:local|K-17]: no card looks for its code" in draw_explanation(explanation)


def test_a_terminal_lists_the_first_and_counts_the_rest() -> None:
    many = [condition() | {"code": LOCAL, "id": f"c{n}"} for n in range(45)]
    assert "    and 5 more; --json has them all\n" in draw_explanation(explained(problems=bundle(*many)))


def test_a_problem_that_cannot_be_told_is_told_with_the_reason() -> None:
    nameless: dict[str, Any] = {"coding": LOCAL["coding"]}
    explanation = explained(problems=bundle(condition() | {"code": nameless}))
    (row,) = [one for one in explanation.read if one.kind == "problem"]
    assert row.meaning.endswith("; a problem has a code that is not understood and no name")
