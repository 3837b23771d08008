"""What was not seen could be what matters: each place where it could pass for nothing."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from cds_service.authoring.shorthand import request_from_case
from cds_service.criteria.facts import Facts
from cds_service.decide.decision import Decision, Outcome
from cds_service.evaluate import Engine, evaluate_request
from cds_service.trust import Caller
from cds_service.wire.hook_request import decode_request
from tests.core import (
    NOW,
    Json,
    a_card,
    answer_to,
    cards,
    decide,
    facts,
    facts_in,
    finding,
    knowledge,
    presenter,
    small,
    unexpected,
)

CRAMP = {"kind": "problem", "sets": ["muscle_cramp"]}
REASON = {"kind": "reason", "patterns": ["cramp_reason"], "sets": ["muscle_cramp"]}
QUININE = {"kind": "order", "classes": ["quinine"]}
ORDER = "order: quinine 300 mg"
NOT_READABLE = ("UNKNOWN", "not_readable")
NOT_OBTAINED = ("UNKNOWN", "not_obtained")


def said(criterion: Json, given: Facts) -> tuple[str, str]:
    found = finding(criterion, given)
    return found.truth.name, found.cause


def with_an_unreadable_order(*lines: str) -> Json:
    request = request_from_case(lines, "order-sign", NOW)
    request["context"]["draftOrders"]["entry"].append({"resource": {"resourceType": "MedicationRequest", "status": 1}})
    return request


def about_quinine(request: Json) -> list[Decision]:
    return decide(facts_in(request), small({"quinine": QUININE}, a_card(for_each="quinine", fire_when=["quinine"])), unexpected)


# Orders


def test_an_order_that_was_read_does_not_hide_one_that_was_not() -> None:
    fired, unread = about_quinine(with_an_unreadable_order(ORDER))
    assert (fired.outcome, fired.order is not None) == (Outcome.FIRED, True)
    assert (unread.outcome, unread.order, unread.in_notice) == (Outcome.COULD_NOT_CHECK, None, True)
    assert unread.reason == "1 of 2 draft orders could not be read"


def test_where_no_order_is_of_the_kind_the_unread_one_is_said_once() -> None:
    (unread,) = about_quinine(with_an_unreadable_order("order: aspirin 100 mg"))
    assert (unread.outcome, unread.in_notice) == (Outcome.COULD_NOT_CHECK, True)


@pytest.mark.parametrize(
    "criterion",
    [
        REASON,
        REASON | {"of": "order or medication"},
        {"kind": "dose", "above": 10},
        {"kind": "drug", "classes": ["quinine"]},
        {"kind": "drug", "classes": ["quinine"], "drafts": False, "same_as_order": True},
    ],
)
def test_an_order_that_could_not_be_read_could_be_the_one_with_the_reason_the_dose_or_the_drug(criterion: Json) -> None:
    assert said(criterion, facts_in(with_an_unreadable_order("order: aspirin 100 mg"))) == NOT_OBTAINED
    assert said(criterion, facts("order: aspirin 100 mg")) == ("UNMET", "")


def test_an_order_may_replace_a_prescription_that_was_not_seen() -> None:
    request = request_from_case(["source prescriptions: error", "order: tizanidine 2 mg"], "order-sign", NOW)
    order = request["context"]["draftOrders"]["entry"][0]["resource"]
    switch = QUININE | {"action": "switch"}
    assert said(switch, facts_in(request)) == ("UNMET", "")
    order["priorPrescription"] = {"reference": "MedicationRequest/1"}
    assert said(switch, facts_in(request)) == NOT_OBTAINED


def test_a_draft_without_a_name_could_be_the_drug_of_the_session() -> None:
    drug = {"kind": "drug", "classes": ["quinine"]}
    assert said(drug, facts('order: " "')) == NOT_READABLE
    assert said(drug | {"drafts": False}, facts('order: " "')) == ("UNMET", "")


# Reasons, problems, allergies, pregnancy


def test_a_medication_that_was_not_seen_could_be_given_for_it() -> None:
    anything = REASON | {"of": "order or medication"}
    assert said(anything, facts("source statements: error")) == NOT_OBTAINED
    assert said(REASON, facts("source statements: error")) == ("UNMET", "")


def test_an_order_without_a_name_that_is_given_for_it_could_be_the_drug() -> None:
    of_quinine = REASON | {"of_classes": ["quinine"]}
    assert said(of_quinine, facts('order: " ", for leg cramps')) == NOT_READABLE
    assert said(of_quinine, facts("order: aspirin, for leg cramps")) == ("UNMET", "")


@pytest.mark.parametrize(
    ("line", "criterion"), [("problem: gout", CRAMP), ("allergy: nuts", {"kind": "allergy", "classes": ["quinine"]})]
)
@pytest.mark.parametrize("code", [{}, None, {"coding": [{"system": "urn:x"}]}, {"text": ""}])
def test_a_problem_or_allergy_without_name_and_code_could_be_any(line: str, criterion: Json, code: Json | None) -> None:
    request = request_from_case([line], "order-sign", NOW)
    (resource,) = [
        entry["resource"]
        for bundle in request["prefetch"].values()
        if bundle and bundle["resourceType"] == "Bundle"
        for entry in bundle["entry"]
    ]
    assert said(criterion, facts_in(request)) == ("UNMET", "")
    resource["code"] = code
    assert said(criterion, facts_in(request)) == NOT_READABLE
    name = "problems" if resource["resourceType"] == "Condition" else "allergies"
    assert facts_in(request).sources[name].note == "1 of 1 entries have neither a name nor a code"
    resource["clinicalStatus"] = {"coding": [{"code": "resolved"}]}
    assert said(criterion, facts_in(request)) == ("UNMET", "")


def test_a_pregnancy_may_stand_in_results_that_did_not_arrive() -> None:
    pregnancy = {"kind": "problem", "sets": ["pregnancy"]}
    assert said(pregnancy, facts("source labs: error")) == NOT_OBTAINED
    assert said(CRAMP, facts("source labs: error")) == ("UNMET", "")


# Cards that stand back for one that cannot be shown


@pytest.mark.parametrize("indicator", ["info", "warning"])
def test_what_stood_back_for_a_card_that_cannot_be_drawn_is_shown(monkeypatch: pytest.MonkeyPatch, indicator: str) -> None:
    table = [{"indicator": indicator, "summary": "It speaks"}]
    names = ["loud", "two", "three", "four"]
    made = [a_card(name, rank=rank, table=table, subjects=[name]) for rank, name in enumerate(names, 1)]
    made.append(a_card("quiet", rank=9, subjects=["loud"], table=table))
    unsure = a_card("unsure", rank=10, subjects=["loud"], fire_when=["cramp"])
    known = small({"cramp": CRAMP}, *made, unsure)
    request = request_from_case(["source problems: error"], "patient-view", NOW)
    whole = [one["source"]["topic"]["code"] for one in cards(answer_to(request, known=known))]
    assert whole == (names if indicator == "warning" else names[:3])
    broken = known.card("loud")
    assert broken is not None
    monkeypatch.setattr(broken, "summaries", [])
    shown = cards(answer_to(request, known=known))
    told = [one["source"]["topic"]["code"] for one in shown]
    rest = ["two", "three", "four"]
    assert told == [*rest, *(["quiet"] if indicator == "warning" else []), "not-checked"]
    if indicator == "warning":  # the card in its place speaks for what could not be checked
        assert "what unsure checks" not in shown[-1]["detail"]
    else:  # nobody speaks for it
        assert "**what unsure checks**: problem list: the EHR reported an error." in shown[-1]["detail"]
    assert "**what loud checks**: the check itself failed" in shown[-1]["detail"]


def test_a_card_that_there_is_no_room_for_speaks_for_nothing() -> None:
    table = [{"indicator": "warning", "summary": "It speaks"}]
    made = [a_card(name, rank=rank, table=table, subjects=[name]) for rank, name in enumerate(["one", "two", "three"], 1)]
    made.append(a_card("inform", rank=4, subjects=["it"]))
    unsure = a_card("unsure", rank=5, subjects=["it"], fire_when=["cramp"])
    known = small({"cramp": CRAMP}, *made, unsure)
    answered = answer_to(request_from_case(["source problems: error"], "patient-view", NOW), known=known)
    assert [one["source"]["topic"]["code"] for one in cards(answered)] == ["one", "two", "three", "not-checked"]
    assert "what unsure checks" in cards(answered)[-1]["detail"]


# Notices


def test_a_datum_that_cannot_be_used_is_said_where_it_is_not_known_whether_it_matters() -> None:
    low = {"kind": "lab", "analyte": "potassium", "below": 3.5, "unit": "mmol/L", "within_days": 30}
    known = small({"low": low, "cramp": CRAMP}, a_card(fire_when=["low"], notice_when=["cramp"]))
    for problems, say in (("null", False), ("error", True)):
        given = facts("LOINC#2823-3 Potassium 3.0 furlongs", f"source problems: {problems}")
        (one,) = decide(given, known, unexpected)
        assert (one.outcome, one.in_notice) == (Outcome.COULD_NOT_CHECK, say)


def test_the_notice_of_an_engine_that_broke_is_in_the_dialect_of_its_ehr(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("cds_service.evaluate.read_chart", broken)
    request = request_from_case([ORDER], "order-sign", NOW)
    call = decode_request(msgspec.json.encode(request), "order-sign", Caller("north", dialect="epic"))
    known = knowledge()
    (notice,) = cards(asyncio.run(evaluate_request(call, Engine(known, presenter(known)), NOW)))
    assert notice["source"]["topic"]["code"] == "notchecked"
