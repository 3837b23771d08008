"""All kinds: met, unmet, and unknown for each cause."""

from __future__ import annotations

import msgspec
import pytest

from cds_service.authoring.shorthand import request_from_case
from cds_service.criteria.findings import Finding
from cds_service.criteria.group import AnyCriterion
from cds_service.criteria.problem import ProblemCriterion
from tests.core import NOW, Json, a_card, decide, facts, facts_in, finding, small, unexpected
from tests.criterion import (
    CRAMP,
    LOW,
    NOT_READABLE,
    POTASSIUM,
    REACTION,
    said,
)


@pytest.mark.parametrize(
    ("criterion", "line"), [(LOW, f"{POTASSIUM} 4.0 mmol/L"), (CRAMP, "problem: gout"), (REACTION, "allergy: nuts")]
)
def test_an_entry_that_could_not_be_read_could_be_the_one_that_is_looked_for(criterion: Json, line: str) -> None:
    request = request_from_case([line], "order-sign", NOW)
    (bundle,) = [one for one in request["prefetch"].values() if one and one["resourceType"] == "Bundle"]
    kind = bundle["entry"][0]["resource"]["resourceType"]
    bundle["entry"].append({"resource": {"resourceType": kind, "code": 7}})
    assert said(finding(criterion, facts_in(request))) == NOT_READABLE


@pytest.mark.parametrize("kind", [ProblemCriterion, AnyCriterion])
def test_a_criterion_that_raises_is_unknown_and_reported_once(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Finding:
        raise ZeroDivisionError("names nobody")

    monkeypatch.setattr(kind, "find", broken)
    told: list[tuple[str, str]] = []
    known = small(
        {"it": {"kind": "any", "of": ["cramp"]}, "cramp": CRAMP}, a_card("one", fire_when=["it"]), a_card("two", fire_when=["it"])
    )
    decisions = decide(facts(), known, lambda name, error: told.append((name, type(error).__name__)))
    assert [said(decision.findings["it"]) for decision in decisions] == [("UNKNOWN", "failed")] * 2
    assert told == [("cramp" if kind is ProblemCriterion else "it", "ZeroDivisionError")]


def test_a_criterion_that_does_not_exist_is_a_mistake_of_the_program() -> None:
    (decided,) = decide(facts(), small({}, a_card()), unexpected)
    with pytest.raises(KeyError):
        decided.findings["nothing"]


def test_findings_can_be_written_down() -> None:
    found = finding(LOW, facts(f"{POTASSIUM} 3.0 mmol/L"))
    assert msgspec.json.decode(msgspec.json.encode(found))["evidence"][0]["analyte"] == "potassium"
