"""Every kind of criterion: met, unmet, and unknown for each cause."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
import pytest

from cds_service.authoring.shorthand import request_from_case
from cds_service.criteria.facts import Lab
from cds_service.criteria.findings import Finding, Truth
from cds_service.criteria.group import AnyCriterion
from cds_service.criteria.problem import ProblemCriterion
from tests.core import NOW, Json, a_card, decide, facts, facts_in, finding, small, unexpected

POTASSIUM = "LOINC#2823-3 Potassium"
LOW = {"kind": "lab", "analyte": "potassium", "below": 3.5, "unit": "mmol/L", "within_days": 30}
HIGH = {"kind": "lab", "analyte": "potassium", "above": 5.5, "unit": "mmol/L", "within_days": 30}
CALCIUM = LOW | {"analyte": "calcium", "below": 2.0, "below_reported": {"mg/dL": 8.0}}
QUININE = {"kind": "drug", "classes": ["quinine"]}
CRAMP = {"kind": "problem", "sets": ["muscle_cramp"]}
REACTION = {"kind": "allergy", "classes": ["quinine"]}
OLDER = {"kind": "age", "at_least": 65}
CHILD = {"kind": "age", "below": 18}
ORDER = {"kind": "order", "classes": ["quinine"]}
REASON = {"kind": "reason", "patterns": ["malaria_reason"], "sets": ["malaria"]}
STATED = {"kind": "reason", "stated": True}
RELAXANT = {"kind": "order", "classes": ["muscle_relaxant"], "ingredients": ["cyclobenzaprine", "orphenadrine"]}
NO_INJECTION = {"kind": "order", "classes": ["benzodiazepine"], "not_routes": ["injection", "rectal"]}
RENEWED = {"kind": "drug", "classes": ["benzodiazepine", "z_drug"], "drafts": False, "same_as_order": True}

MET = ("MET", "")
UNMET = ("UNMET", "")
NOT_RECORDED = ("UNKNOWN", "not_recorded")
NOT_READABLE = ("UNKNOWN", "not_readable")
NOT_OBTAINED = ("UNKNOWN", "not_obtained")


def said(one: Finding) -> tuple[str, str]:
    return one.truth.name, one.cause


def without_name(prefetch_key: str) -> Json:
    """A request with a medication of which neither a name nor a code was sent."""
    given = ["takes: aspirin"] if prefetch_key == "statements" else ["order: aspirin"]
    request = request_from_case(given, "order-sign", NOW)
    bundle = request["context"]["draftOrders"] if prefetch_key == "orders" else request["prefetch"][prefetch_key]
    del bundle["entry"][0]["resource"]["medicationCodeableConcept"]
    return request


@pytest.mark.parametrize(
    ("criterion", "line", "expected"),
    [
        (LOW, f"{POTASSIUM} 3.49 mmol/L", MET),
        (LOW, f"{POTASSIUM} 3.5 mmol/L", UNMET),
        (LOW, f"{POTASSIUM} 3.4 mEq/L at 2025-11-01T10:00:00Z", MET),
        (LOW, f"{POTASSIUM} 3.4 mmol/L at 2025-10-31T08:00:00Z", NOT_RECORDED),
        (LOW, f"{POTASSIUM} 3.4 mmol/L, preliminary", NOT_READABLE),
        (LOW | {"preliminary": "ignored"}, f"{POTASSIUM} 3.4 mmol/L, preliminary", NOT_RECORDED),
        (LOW, "problem: nothing about potassium", NOT_RECORDED),
        (LOW, f"{POTASSIUM} 3.4 furlongs", NOT_READABLE),
        (LOW, f"{POTASSIUM} 0.2 mmol/L", NOT_READABLE),
        (LOW, "source labs: error", NOT_OBTAINED),
        (LOW, "source labs: absent", NOT_OBTAINED),
        (LOW, "source labs: partial", NOT_OBTAINED),
        (LOW, "source labs: null", NOT_RECORDED),
        (LOW, "source labs: empty", NOT_RECORDED),
        (LOW | {"missing": True, "below": None, "unit": ""}, "source labs: null", MET),
        (LOW | {"missing": True, "below": None, "unit": ""}, f"{POTASSIUM} 4.0 mmol/L", UNMET),
        (LOW | {"missing": True, "below": None, "unit": ""}, f"{POTASSIUM} 4.0 mmol/L at 2025-10-01", MET),
        (LOW | {"missing": True, "below": None, "unit": ""}, f"{POTASSIUM} 4.0 furlongs", NOT_READABLE),
        (LOW | {"missing": True, "below": None, "unit": ""}, "source labs: error", NOT_OBTAINED),
        (LOW | {"preliminary": "accepted"}, f"{POTASSIUM} 3.4 mmol/L, preliminary", MET),
        (LOW | {"preliminary": "accepted"}, f"{POTASSIUM} 3.4 mmol/L", MET),
        (LOW | {"preliminary": "only"}, f"{POTASSIUM} 3.4 mmol/L, preliminary", MET),
        (LOW | {"preliminary": "only"}, f"{POTASSIUM} 3.6 mmol/L, preliminary", UNMET),
        (LOW | {"preliminary": "only"}, f"{POTASSIUM} 3.4 mmol/L", UNMET),
        (LOW | {"haemolysed": True}, f'{POTASSIUM} 3.4 mmol/L, note "haemolysed"', MET),
        (LOW | {"haemolysed": True}, f"{POTASSIUM} 3.4 mmol/L", UNMET),
        (LOW | {"haemolysed": False}, f'{POTASSIUM} 3.4 mmol/L, note "haemolysed"', UNMET),
        (LOW | {"sampling": "pre-dialysis"}, "LOINC#51618-7 Potassium 3.4 mmol/L", MET),
        (LOW | {"sampling": "pre-dialysis"}, f"{POTASSIUM} 3.4 mmol/L", UNMET),
        (LOW | {"below_reference_range": True}, f"{POTASSIUM} 3.4 mmol/L, range 3.4-5.1", UNMET),
        (LOW | {"below_reference_range": True}, f"{POTASSIUM} 3.3 mmol/L, range 3.4-5.1", MET),
        (LOW | {"below_reference_range": True}, f"{POTASSIUM} 3.4 mmol/L", MET),
        (LOW | {"below": None, "at_most": 2.5}, f"{POTASSIUM} 2.5 mmol/L", MET),
        (LOW | {"below": None, "at_most": 2.5}, f"{POTASSIUM} 2.51 mmol/L", UNMET),
        (CALCIUM, "LOINC#17861-6 Calcium 7.99 mg/dL", MET),
        (CALCIUM, "LOINC#17861-6 Calcium 8.0 mg/dL", UNMET),
        (CALCIUM, "LOINC#17861-6 Calcium < 8.0 mg/dL", MET),
        (CALCIUM, "LOINC#2000-8 Calcium 1.997 mmol/L", MET),
        (CALCIUM, "LOINC#2000-8 Calcium 2.0 mmol/L", UNMET),
        (HIGH, f"{POTASSIUM} 5.5 mmol/L", UNMET),
        (HIGH, f"{POTASSIUM} 5.51 mmol/L", MET),
        (HIGH | {"above": None, "at_least": 5.5}, f"{POTASSIUM} 5.5 mmol/L", MET),
        (LOW | {"at_least": 3.0}, f"{POTASSIUM} 3.2 mmol/L", MET),
        (LOW | {"at_least": 3.0}, f"{POTASSIUM} 2.9 mmol/L", UNMET),
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
        (CRAMP, "ICD10#R25.2 Cramp and spasm", MET),
        (CRAMP, "ICD10#R25.2 Cramp and spasm, resolved", UNMET),
        (CRAMP, "source problems: null", UNMET),
        (CRAMP | {"text_patterns": ["exercise_cramp"]}, "ICD10#R25.2 Exercise-associated muscle cramps", MET),
        (CRAMP | {"text_patterns": ["exercise_cramp"]}, "ICD10#R25.2 Cramp and spasm", UNMET),
        (CRAMP | {"text_patterns": ["exercise_cramp"]}, "ICD10#R25.2", UNMET),
        (CRAMP | {"text_patterns": ["exercise_cramp"]}, "source problems: error", NOT_OBTAINED),
        (CRAMP, "source problems: error", NOT_OBTAINED),
        (CRAMP, "source problems: absent", NOT_OBTAINED),
        (CRAMP, "source problems: partial", NOT_OBTAINED),
        (REACTION, "allergy: quinine", MET),
        (REACTION, "allergy: penicillin", UNMET),
        (REACTION, "allergy: quinine, refuted", UNMET),
        (REACTION, "source allergies: error", NOT_OBTAINED),
        (OLDER, "patient: female, born 1960-12-01", MET),
        (OLDER, "patient: female, born 1960-12-02", UNMET),
        (CHILD, "patient: male, born 2007-12-01", UNMET),
        (CHILD, "patient: male, born 2007-12-02", MET),
        (OLDER, "patient: male, unknown age", NOT_RECORDED),
        (OLDER, "patient: male, born 2026-02-01", NOT_RECORDED),
        (OLDER, "source patient: null", NOT_RECORDED),
        (OLDER, "source patient: error", NOT_OBTAINED),
        (OLDER, "source patient: absent", NOT_OBTAINED),
        (ORDER, "order: quinine 324 mg", MET),
        (ORDER, "order: quinine 324 mg, stopped", UNMET),
        (ORDER, "order: service: basic metabolic panel", UNMET),
        (ORDER | {"action": "stop"}, "order: quinine 324 mg, stopped", MET),
        (ORDER | {"action": "stop"}, "order: quinine 324 mg", UNMET),
        (ORDER | {"route": "topical"}, "order: quinine 324 mg oral capsule", UNMET),
        (ORDER | {"code_disagrees": True}, "order: quinine 324 mg", UNMET),
        (ORDER | {"code_disagrees": True}, "order: RXNORM#997010 baclofen 10 mg", MET),
        (REASON, "order: quinine 324 mg, for falciparum malaria", MET),
        (REASON, "order: quinine 324 mg, for ICD10#B50.9", MET),
        (REASON, "order: quinine 324 mg, for leg cramps", UNMET),
        (REASON, "takes: quinine 324 mg, for malaria", UNMET),
        (REASON | {"of": "order or medication"}, "takes: quinine 324 mg, for malaria", MET),
        (REASON | {"of": "order or medication", "of_classes": ["baclofen"]}, "takes: quinine 324 mg, for malaria", UNMET),
        (STATED, "order: quinine 324 mg, for a reason that no pattern knows", MET),
        (STATED, "order: quinine 324 mg, for ICD10#Z00.0", MET),
        (STATED, "order: quinine 324 mg", UNMET),
        (STATED, "order: quinine 324 mg, note for leg cramps", UNMET),
        (STATED, "takes: quinine 324 mg, for malaria", UNMET),
        (RELAXANT, "order: cyclobenzaprine 5 mg", MET),
        (RELAXANT, "order: tizanidine 4 mg", UNMET),
        (RELAXANT, "order: quinine 324 mg", UNMET),
        (NO_INJECTION, "order: midazolam 2 mg oral syrup", MET),
        (NO_INJECTION, "order: midazolam 2 mg", MET),
        (NO_INJECTION, "order: midazolam 2 mg injection", UNMET),
        ({"kind": "hook", "hooks": ["order-sign"]}, "takes: aspirin", MET),
        ({"kind": "hook", "hooks": ["patient-view"]}, "takes: aspirin", UNMET),
        ({"kind": "jurisdiction", "country": "US"}, "takes: aspirin", MET),
        ({"kind": "jurisdiction", "country": "GB"}, "takes: aspirin", UNMET),
    ],
)
def test_a_criterion_finds_what_the_record_says(criterion: Json, line: str, expected: tuple[str, str]) -> None:
    given = {name: value for name, value in criterion.items() if value is not None}
    assert said(finding(given, facts(line))) == expected


def test_an_order_criterion_is_met_by_a_switch_to_another_drug() -> None:
    takes = "prescribed: baclofen 10 mg, id old"
    switch = {"kind": "order", "classes": ["baclofen"], "action": "switch"}
    for order, expected in (
        ("order: quinine 300 mg, replaces MedicationRequest/old", MET),
        ("order: quinine 300 mg, replaces https://ehr.example/fhir/MedicationRequest/old/_history/2", MET),
        ("order: baclofen 20 mg, replaces MedicationRequest/old", UNMET),
        ("order: quinine 300 mg, replaces MedicationRequest/other", UNMET),
        ("order: quinine 300 mg", UNMET),
    ):
        assert said(finding(switch, facts(takes, order))) == expected


def test_a_medication_without_name_and_code_could_be_any_drug() -> None:
    assert said(finding(QUININE, facts_in(without_name("statements")))) == NOT_READABLE


def test_an_order_without_name_and_code_could_be_any_drug() -> None:
    assert said(finding(ORDER, facts_in(without_name("orders")))) == NOT_READABLE


def test_an_order_that_could_not_be_read_could_be_any_order() -> None:
    request = request_from_case(["order: aspirin"], "order-sign", NOW)
    request["context"]["draftOrders"]["entry"].append({"resource": {"resourceType": "MedicationRequest", "status": 1}})
    assert said(finding(ORDER, facts_in(request))) == NOT_OBTAINED


@pytest.mark.parametrize(
    ("criterion", "line"), [(LOW, f"{POTASSIUM} 4.0 mmol/L"), (CRAMP, "problem: gout"), (REACTION, "allergy: nuts")]
)
def test_an_entry_that_could_not_be_read_could_be_the_one_that_is_looked_for(criterion: Json, line: str) -> None:
    request = request_from_case([line], "order-sign", NOW)
    (bundle,) = [one for one in request["prefetch"].values() if one and one["resourceType"] == "Bundle"]
    kind = bundle["entry"][0]["resource"]["resourceType"]
    bundle["entry"].append({"resource": {"resourceType": kind, "code": 7}})
    assert said(finding(criterion, facts_in(request))) == NOT_READABLE


@pytest.mark.parametrize(
    ("criterion", "result", "expected"),
    [
        (LOW, "< 3.0 mmol/L", MET),
        (LOW, "< 3.5 mmol/L", MET),
        (LOW, "<= 3.5 mmol/L", NOT_READABLE),
        (LOW, "< 4.0 mmol/L", NOT_READABLE),
        (LOW, "> 3.0 mmol/L", NOT_READABLE),
        (LOW, "> 3.5 mmol/L", UNMET),
        (LOW | {"below": None, "at_most": 2.5}, "<= 2.5 mmol/L", MET),
        (HIGH, "> 5.5 mmol/L", MET),
        (HIGH, ">= 5.5 mmol/L", NOT_READABLE),
        (HIGH, "> 5 mmol/L", NOT_READABLE),
        (HIGH, "> 6 mmol/L", MET),
        (HIGH, "< 6 mmol/L", NOT_READABLE),
    ],
)
def test_a_comparator_counts_only_as_far_as_it_decides(criterion: Json, result: str, expected: tuple[str, str]) -> None:
    given = {name: value for name, value in criterion.items() if value is not None}
    assert said(finding(given, facts(f"{POTASSIUM} {result}"))) == expected


def test_the_newest_usable_result_decides_whatever_the_order_in_the_bundle() -> None:
    old, new = f"{POTASSIUM} 3.0 mmol/L at 2025-11-20", f"{POTASSIUM} 4.0 mmol/L at 2025-11-28"
    for lines in ((old, new), (new, old)):
        found = finding(LOW, facts(*lines))
        assert said(found) == UNMET
        assert [str(one.value) for one in found.evidence if isinstance(one, Lab)] == ["4.0"]


def test_a_newer_result_that_cannot_be_read_makes_a_normal_one_doubtful_and_leaves_a_low_one_low() -> None:
    newer = f"{POTASSIUM} 3.1 furlongs at 2025-11-29"
    assert said(finding(LOW, facts(f"{POTASSIUM} 4.0 mmol/L at 2025-11-20", newer))) == NOT_READABLE
    assert said(finding(LOW, facts(f"{POTASSIUM} 3.0 mmol/L at 2025-11-20", newer))) == MET


def test_an_older_result_that_cannot_be_read_does_not_matter() -> None:
    older = f"{POTASSIUM} 3.1 furlongs at 2025-11-19"
    assert said(finding(LOW, facts(f"{POTASSIUM} 4.0 mmol/L at 2025-11-20", older))) == UNMET


def test_a_preliminary_result_does_not_hide_an_unreadable_one_that_is_newer_than_the_result_used() -> None:
    lines = [f"{POTASSIUM} 4.0 mmol/L at 2025-11-20", f"{POTASSIUM} 3.1 furlongs at 2025-11-25"]
    assert said(finding(LOW, facts(*lines, f"{POTASSIUM} 4.1 mmol/L at 2025-11-28, preliminary"))) == NOT_READABLE


def test_a_normal_preliminary_result_ends_no_alarm() -> None:
    severe = {**LOW, "preliminary": "accepted"}
    assert said(finding(severe, facts(f"{POTASSIUM} 3.0 mmol/L at 2025-11-20", f"{POTASSIUM} 4.0 mmol/L, preliminary"))) == MET


def test_a_result_from_the_future_is_ignored() -> None:
    future = f"{POTASSIUM} 2.0 mmol/L at 2025-12-09"
    assert said(finding(LOW, facts(f"{POTASSIUM} 4.0 mmol/L at 2025-11-20", future))) == UNMET
    assert said(finding(LOW, facts(future))) == NOT_RECORDED


def test_an_old_low_result_is_old_only_where_no_newer_one_was_made() -> None:
    old = LOW | {"within_days": 365, "older_than_days": 30}
    low_and_old = f"{POTASSIUM} 3.0 mmol/L at 2025-09-01"
    assert said(finding(old, facts(low_and_old))) == MET
    assert said(finding(old, facts(f"{POTASSIUM} 4.0 mmol/L at 2025-09-01"))) == UNMET
    assert said(finding(old, facts(low_and_old, f"{POTASSIUM} 3.0 mmol/L at 2025-11-20"))) == UNMET
    assert said(finding(old, facts(f"{POTASSIUM} 3.0 mmol/L at 2024-09-01"))) == NOT_RECORDED


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


def test_an_order_of_what_is_taken_is_no_new_therapy() -> None:
    new = {"kind": "order", "classes": ["potassium_supplement"], "new_therapy": True}
    order = "order: RXNORM#1801294 potassium chloride 20 MEQ tablet"
    assert finding(new, facts(order)).truth.name == "MET"
    assert finding(new, facts(order, "RXNORM#1801294 potassium chloride 20 MEQ tablet")).truth.name == "UNMET"
    assert finding(new, facts(order, "RXNORM#628953 potassium chloride 10 MEQ tablet")).truth.name == "MET"


def test_a_therapy_is_not_after_a_result_that_was_never_made() -> None:
    replaced = {"kind": "drug", "classes": ["potassium_supplement"], "started_after": "potassium"}
    assert said(finding(replaced, facts("takes: potassium chloride 20 mEq, since 2025-11-28"))) == UNMET


def test_all_drugs_that_fit_are_evidence_once() -> None:
    criterion = {"kind": "drug", "classes": ["opioid", "benzodiazepine", "opioid"]}
    found = finding(criterion, facts("takes: oxycodone 5 mg", "takes: lorazepam 1 mg", "takes: paracetamol 500 mg"))
    assert [getattr(one, "text", "") for one in found.evidence] == ["oxycodone 5 mg", "lorazepam 1 mg"]


def test_at_order_select_only_the_selected_order_is_looked_at_and_the_others_are_context() -> None:
    given = facts("order: quinine 300 mg, not selected", "order: aspirin 100 mg", hook="order-select")
    assert said(finding(ORDER, given)) == UNMET
    assert said(finding(QUININE, given)) == MET


def test_a_dose_is_the_one_of_the_order_in_focus() -> None:
    dose = {"kind": "dose", "above": 20}
    known = small(
        {"it": dose, "order": {"kind": "order", "classes": ["baclofen"]}},
        a_card(for_each="order", fire_when=["it"]),
    )
    lines = ("dose 10 mg TID, id high", "dose 10 mg BID, id at", "dose as needed, id none")
    given = facts(*(f"order: baclofen 10 mg oral tablet, {line}" for line in lines), hook="order-sign")
    found = {one.order.reference: said(one.findings["it"]) for one in decide(given, known, unexpected) if one.order is not None}
    assert found == {
        "MedicationRequest/high": MET,
        "MedicationRequest/at": UNMET,
        "MedicationRequest/none": NOT_READABLE,
    }
    assert said(finding({"kind": "dose", "at_least": 20}, given)) == UNMET, "no order is in focus"


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


# Groups: the tables of Kleene's logic.

TRUTHS = {"MET": "ICD10#R25.2 Cramp", "UNMET": "source problems: null", "UNKNOWN": "source problems: error"}
OTHERS = {"MET": "allergy: quinine", "UNMET": "source allergies: null", "UNKNOWN": "source allergies: error"}


@pytest.mark.parametrize("one", TRUTHS)
@pytest.mark.parametrize("two", OTHERS)
def test_groups_follow_the_tables_of_kleene(one: str, two: str) -> None:
    given = facts(TRUTHS[one], OTHERS[two])
    truths = [Truth[one], Truth[two]]

    def truth(group: dict[str, Any]) -> Truth:
        return finding(group, given, one=CRAMP, two=REACTION).truth

    assert truth({"kind": "any", "of": ["one", "two"]}) is max(truths)
    assert truth({"kind": "all", "of": ["one", "two"]}) is min(truths)
    assert truth({"kind": "all", "of": ["one"], "none_of": ["two"]}) is min(truths[0], Truth(2 - truths[1]))


def test_a_group_holds_the_evidence_of_all_that_is_met_and_none_of_what_must_not_be() -> None:
    given = facts("ICD10#R25.2 Cramp", "allergy: quinine", "takes: baclofen 10 mg")
    found = finding({"kind": "any", "of": ["one", "two"]}, given, one=CRAMP, two=REACTION)
    assert [type(item).__name__ for item in found.evidence] == ["Problem", "Allergy"]
    found = finding({"kind": "all", "of": ["one", "two"], "none_of": ["three"]}, given, one=CRAMP, two=REACTION, three=QUININE)
    assert [type(item).__name__ for item in found.evidence] == ["Problem", "Allergy"]


def test_data_that_did_not_arrive_is_not_hidden_behind_data_that_is_not_recorded() -> None:
    given = facts("source problems: error")
    for members in (["potassium", "cramp"], ["cramp", "potassium"]):
        for kind in ("any", "all"):
            assert said(finding({"kind": kind, "of": members}, given, potassium=LOW, cramp=CRAMP)) == NOT_OBTAINED


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


def test_a_birth_date_from_a_partial_date_is_its_first_day() -> None:
    assert facts("patient: female, born 1960").patient.birth_date == date(1960, 1, 1)
    assert said(finding(OLDER, facts("patient: female, born 1960"))) == MET


def test_a_criterion_that_does_not_exist_is_a_mistake_of_the_program() -> None:
    (decided,) = decide(facts(), small({}, a_card()), unexpected)
    with pytest.raises(KeyError):
        decided.findings["nothing"]


def test_findings_can_be_written_down() -> None:
    found = finding(LOW, facts(f"{POTASSIUM} 3.0 mmol/L"))
    assert msgspec.json.decode(msgspec.json.encode(found))["evidence"][0]["analyte"] == "potassium"


# Results that cannot be used


SEVERE = {"kind": "lab", "analyte": "potassium", "at_most": "2.5", "unit": "mmol/L", "within_days": 30, "alarm": True}


@pytest.mark.parametrize(
    ("line", "alarming"),
    [
        (f"{POTASSIUM} 2.5 furlongs", True),
        (f"{POTASSIUM} 2.6 furlongs", False),
        (f'{POTASSIUM} "LT 2.5"', True),
        (f'{POTASSIUM} "see comment"', False),
        (f"{POTASSIUM} 2.4 furlongs at 2025-10-01", False),
    ],
)
def test_an_unusable_result_that_may_be_severe_is_alarming(line: str, alarming: bool) -> None:
    assert finding(SEVERE, facts(line)).alarming is alarming
    assert not finding({**SEVERE, "alarm": False}, facts(line)).alarming


def test_of_several_unusable_results_the_alarming_one_is_named() -> None:
    found = finding(SEVERE, facts(f"{POTASSIUM} 4.4 furlongs at 2025-11-30", f"{POTASSIUM} 2.2 furlongs at 2025-11-29"))
    assert (found.alarming, found.words) == (True, "2.2 furlongs")


@pytest.mark.parametrize(
    "line",
    [
        f"{POTASSIUM} 4.4 mmol/L, preliminary",
        f"{POTASSIUM} 4.4 mmol/L, unknown",
        f"{POTASSIUM} 4.4 mmol/L at 2026-12-01",  # a mistyped year
    ],
)
def test_what_is_there_in_any_form_is_not_missing(line: str) -> None:
    missing = {"kind": "lab", "analyte": "potassium", "within_days": 30, "missing": True}
    assert said(finding(missing, facts(line))) == UNMET
    assert said(finding(missing, facts(f"{POTASSIUM} 4.4 furlongs"))) == NOT_READABLE


# What is there and can't be told


@pytest.mark.parametrize(
    ("condition", "criterion", "expected"),
    [
        ({"code": {"coding": [{"system": "urn:local", "code": "4711"}]}}, CRAMP, NOT_READABLE),
        ({"code": {"coding": [{"system": "urn:local", "code": "4711"}]}}, CRAMP | {"sets": ["pregnancy"]}, NOT_READABLE),
        ({"code": {"coding": [{"system": "urn:local", "code": "4711"}], "text": "Tinnitus"}}, CRAMP, UNMET),
        ({"modifierExtension": [{"url": "urn:negated"}]}, CRAMP, NOT_READABLE),
        ({"modifierExtension": [{"url": "urn:negated"}]}, CRAMP | {"sets": ["malaria"]}, UNMET),
        ({}, CRAMP, MET),
    ],
)
def test_a_problem_that_cannot_be_told_makes_what_asks_for_it_unknown(condition: Json, criterion: Json, expected: Any) -> None:
    request = request_from_case(["problem: ICD10#R25.2 cramp"], "order-sign", NOW)
    resource = request["prefetch"]["problems"]["entry"][0]["resource"]
    resource |= condition
    assert said(finding(criterion, facts_in(request))) == expected


def test_a_problem_that_is_met_hides_one_that_cannot_be_told() -> None:
    request = request_from_case(["problem: ICD10#R25.2 cramp", "problem: ICD10#B54 malaria"], "order-sign", NOW)
    request["prefetch"]["problems"]["entry"][1]["resource"]["code"] = {"coding": [{"code": "4711"}]}
    assert said(finding(CRAMP, facts_in(request))) == MET


@pytest.mark.parametrize(
    ("allergy", "expected"),
    [
        ({"code": {"coding": [{"system": "urn:local", "code": "4711"}]}}, NOT_READABLE),
        ({"code": {"coding": [{"system": "http://snomed.info/sct", "code": "716186003"}]}}, UNMET),
        ({"code": {"text": "peanut"}}, UNMET),
        ({"modifierExtension": [{"url": "urn:negated"}]}, NOT_READABLE),
        ({}, MET),
    ],
)
def test_an_allergy_that_cannot_be_told_makes_what_asks_for_it_unknown(allergy: Json, expected: Any) -> None:
    request = request_from_case(["allergy: quinine"], "order-sign", NOW)
    request["prefetch"]["allergies"]["entry"][0]["resource"] |= allergy
    assert said(finding(REACTION, facts_in(request))) == expected


@pytest.mark.parametrize(
    ("reference", "criterion", "expected"),
    [
        ({"reference": "Condition/elsewhere"}, REASON, NOT_READABLE),
        ({"reference": "urn:uuid:6f1c2a56-0000-4000-8000-000000000001"}, REASON, NOT_READABLE),
        ({"reference": "Condition/elsewhere", "display": "Malaria"}, REASON, MET),
        ({"reference": "Condition/elsewhere", "display": "Leg cramps"}, REASON, UNMET),
        ({"reference": "Observation/elsewhere"}, REASON, UNMET),
        ({"reference": "Condition/elsewhere"}, STATED, MET),
        ({"reference": "Condition/elsewhere"}, REASON | {"of_classes": ["baclofen"]}, UNMET),
    ],
)
def test_a_reason_that_was_not_at_hand_is_unknown(reference: Json, criterion: Json, expected: Any) -> None:
    request = request_from_case(["order: quinine"], "order-sign", NOW)
    request["context"]["draftOrders"]["entry"][0]["resource"]["reasonReference"] = [reference]
    assert said(finding(criterion, facts_in(request))) == expected


@pytest.mark.parametrize(("of_classes", "expected"), [([], UNMET), (["quinine"], NOT_READABLE)])
def test_of_what_is_taken_only_the_reasons_that_are_asked_for_matter(of_classes: list[str], expected: Any) -> None:
    request = request_from_case(["takes: quinine"], "order-sign", NOW)
    for entry in request["prefetch"]["statements"]["entry"]:
        entry["resource"]["reasonReference"] = [{"reference": "Condition/elsewhere"}]
    criterion = REASON | {"of": "order or medication", "of_classes": of_classes}
    assert said(finding(criterion, facts_in(request))) == expected


EGFR = "LOINC#98979-8 eGFR"


@pytest.mark.parametrize(
    ("lines", "truth"),
    [
        ([f"{EGFR} 25 mL/min, preliminary"], "UNKNOWN"),
        ([f"{EGFR} 85 mL/min, preliminary"], "UNKNOWN"),  # nothing that counts is recorded
        (
            [f"{EGFR} 85 mL/min at 2025-11-20", f"{EGFR} 25 mL/min, preliminary"],
            "UNKNOWN",
        ),
        ([f"{EGFR} 25 mL/min at 2025-11-20", f"{EGFR} 85 mL/min, preliminary"], "MET"),
        (
            [f"{EGFR} 85 mL/min at 2025-11-20", f"{EGFR} 85 mL/min, preliminary"],
            "UNMET",
        ),
        (
            [f"{EGFR} 85 mL/min", f"{EGFR} 25 mL/min at 2025-11-20, preliminary"],
            "UNMET",
        ),
    ],
)
def test_a_newer_unconfirmed_result_that_would_meet_a_criterion_makes_it_unknown(lines: list[str], truth: str) -> None:
    below = {"kind": "lab", "analyte": "egfr", "below": 30, "unit": "mL/min/{1.73_m2}", "within_days": 365}
    found = finding(below, facts(*lines))
    assert found.truth.name == truth
    assert (found.note == "egfr of 2025-11-28 is preliminary") is ("25" in lines[-1] and truth == "UNKNOWN")
    assert finding(below | {"preliminary": "ignored"}, facts(*lines)).note != "egfr of 2025-11-28 is preliminary"
