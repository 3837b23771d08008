"""Medications: met, unmet, and unknown for each cause."""

from __future__ import annotations

import pytest

from tests.core import Json, a_card, decide, facts, facts_in, finding, small, unexpected
from tests.criterion import (
    MET,
    NOT_OBTAINED,
    NOT_READABLE,
    POTASSIUM,
    QUININE,
    UNMET,
    said,
    without_name,
)

RENEWED = {"kind": "drug", "classes": ["benzodiazepine", "z_drug"], "drafts": False, "same_as_order": True}


@pytest.mark.parametrize(
    ("criterion", "line", "expected"),
    [
        (QUININE, "takes: quinine 300 mg", MET),
        (QUININE, "order: quinine 300 mg", MET),
        (QUININE | {"drafts": False}, "order: quinine 300 mg", UNMET),
        (QUININE, "takes: quinidine 200 mg", UNMET),
        (QUININE, "takes: quinine 300 mg, stopped", UNMET),
        (QUININE, "source statements: error", NOT_OBTAINED),
        (QUININE, "source prescriptions: absent", NOT_OBTAINED),
        (QUININE, "source prescriptions: partial", NOT_OBTAINED),
        (QUININE | {"route": "oral"}, "takes: quinine 300 mg oral tablet", MET),
        (QUININE | {"route": "topical"}, "takes: quinine 300 mg oral tablet", UNMET),
        (QUININE | {"started_more_than_days_ago": 3}, "takes: quinine 300 mg, since 2025-11-28T10:00:00Z", UNMET),
        (QUININE | {"started_more_than_days_ago": 3}, "takes: quinine 300 mg, since 2025-11-27T08:00:00Z", MET),
        (QUININE | {"started_at_most_hours_ago": 24}, "takes: quinine 300 mg, since 2025-11-30T09:00:00Z", MET),
        (QUININE | {"started_at_most_hours_ago": 24}, "takes: quinine 300 mg, since 2025-11-30T08:59:00Z", UNMET),
        (QUININE | {"started_at_most_hours_ago": 24}, "takes: quinine 300 mg, since 2025-12-01", MET),
        (QUININE | {"started_at_most_hours_ago": 24}, "takes: quinine 300 mg, since 2025-11-30", UNMET),  # at 00:00 perhaps
        (QUININE | {"started_more_than_hours_ago": 72}, "takes: quinine 300 mg, since 2025-11-28T09:00:00Z", UNMET),
        (QUININE | {"started_more_than_hours_ago": 72}, "takes: quinine 300 mg, since 2025-11-28T08:59:00Z", MET),
        (QUININE | {"started_more_than_hours_ago": 72}, "takes: quinine 300 mg, since 2025-11-28", UNMET),  # at 24:00 perhaps
        (QUININE | {"started_more_than_hours_ago": 72}, "takes: quinine 300 mg, since 2025-11-27", MET),
    ],
)
def test_a_drug_criterion_finds_what_the_record_says(criterion: Json, line: str, expected: tuple[str, str]) -> None:
    given = {name: value for name, value in criterion.items() if value is not None}
    assert said(finding(given, facts(line))) == expected


def test_a_medication_without_name_and_code_could_be_any_drug() -> None:
    assert said(finding(QUININE, facts_in(without_name("statements")))) == NOT_READABLE


@pytest.mark.parametrize(
    ("since", "truth"),
    [
        ("2025-11-28T09:00:00Z", "MET"),
        ("2025-11-28T07:00:00Z", "UNMET"),
        ("2025-11-29", "MET"),
        ("2025-11-28", "UNMET"),  # the day alone can't tell before from after
        ("2025-11-27", "UNMET"),
    ],
)
def test_a_therapy_started_after_the_result_is_told_from_one_before(since: str, truth: str) -> None:
    replaced = {"kind": "drug", "classes": ["potassium_supplement"], "started_after": "potassium"}
    given = facts(f"{POTASSIUM} 3.0 mmol/L at 2025-11-28T08:00:00Z", f"takes: potassium chloride 20 mEq, since {since}")
    assert finding(replaced, given).truth.name == truth


@pytest.mark.parametrize(
    ("before", "since", "truth"),
    [
        ("", "RXNORM#1801294 potassium chloride 20 MEQ tablet, since 2025-11-29", "MET"),
        (
            "RXNORM#1801294 potassium chloride 20 MEQ tablet, since 2025-06-01",
            "RXNORM#1801294 potassium chloride 20 MEQ tablet",
            "UNMET",
        ),
        (
            "RXNORM#628953 potassium chloride 10 MEQ tablet, since 2025-06-01",
            "RXNORM#1801294 potassium chloride 20 MEQ tablet",
            "MET",
        ),
        ("takes: potassium chloride, since 2025-06-01", "RXNORM#1801294 potassium chloride 20 MEQ tablet", "UNMET"),
        ("takes: potassium chloride", "RXNORM#1801294 potassium chloride 20 MEQ tablet", "MET"),  # the same therapy told twice
    ],
)
def test_the_renewal_of_a_therapy_is_told_from_a_new_one(before: str, since: str, truth: str) -> None:
    new = {"kind": "drug", "classes": ["potassium_supplement"], "started_after": "potassium", "new_therapy": True}
    since = since if "since" in since else f"{since}, since 2025-11-29"
    lines = [f"{POTASSIUM} 3.0 mmol/L at 2025-11-28T08:00:00Z", since, *([before] if before else [])]
    assert finding(new, facts(*lines)).truth.name == truth


def test_a_therapy_is_not_after_a_result_that_was_never_made() -> None:
    replaced = {"kind": "drug", "classes": ["potassium_supplement"], "started_after": "potassium"}
    assert said(finding(replaced, facts("takes: potassium chloride 20 mEq, since 2025-11-28"))) == UNMET


def test_all_drugs_that_fit_are_evidence_once() -> None:
    criterion = {"kind": "drug", "classes": ["opioid", "benzodiazepine", "opioid"]}
    found = finding(criterion, facts("takes: oxycodone 5 mg", "takes: lorazepam 1 mg", "takes: paracetamol 500 mg"))
    assert [getattr(one, "text", "") for one in found.evidence] == ["oxycodone 5 mg", "lorazepam 1 mg"]


def test_a_drug_that_the_order_renews_has_the_same_ingredient() -> None:
    known = small(
        {"it": RENEWED, "order": {"kind": "order", "classes": ["benzodiazepine", "z_drug", "baclofen"]}},
        a_card(for_each="order", fire_when=["it"]),
    )
    orders = ("clonazepam 0.5 mg, id renewed", "diazepam 5 mg, id new", "baclofen 10 mg, id other")

    def found(*lines: str) -> list[tuple[str, str]]:
        given = facts(*lines, *(f"order: {order}" for order in orders), hook="order-sign")
        decisions = {one.order.reference: one for one in decide(given, known, unexpected) if one.order is not None}
        return [said(decisions[f"MedicationRequest/{name}"].findings["it"]) for name in ("renewed", "new", "other")]

    assert found("prescribed: RXNORM#197527 clonazepam 0.5 MG Oral Tablet", "takes: baclofen 10 mg") == [MET, UNMET, UNMET]
    assert found("source statements: empty") == [UNMET, UNMET, UNMET], "the drafts themselves are not taken already"
    assert found("source prescriptions: error") == [NOT_OBTAINED, NOT_OBTAINED, UNMET]
    assert said(finding(RENEWED, facts("takes: clonazepam 0.5 mg", "order: clonazepam 0.5 mg"))) == UNMET, "no order is in focus"
