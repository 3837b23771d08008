"""What cards decide: policies for unknowns, notices, failures, determinism."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from cds_service import evaluate
from cds_service.authoring.shorthand import request_from_case
from cds_service.criteria.facts import SOURCES, Facts
from cds_service.criteria.findings import Truth
from cds_service.criteria.problem import ProblemCriterion
from cds_service.decide.decision import Decision, Outcome
from cds_service.telemetry import metrics
from tests import proofs
from tests.core import (
    NOW,
    PATIENTS,
    a_card,
    answer,
    answer_to,
    card,
    cards,
    decide,
    decision,
    drawn,
    facts,
    knowledge,
    presenter,
    small,
    unexpected,
)

CRAMP = {"kind": "problem", "sets": ["muscle_cramp"]}
LOW = {"kind": "lab", "analyte": "potassium", "below": 3.5, "unit": "mmol/L", "within_days": 30}
QUININE = {"kind": "order", "classes": ["quinine"]}
CRITERIA = {"cramp": CRAMP, "low": LOW, "quinine": QUININE, "reaction": {"kind": "allergy", "classes": ["quinine"]}}
POTASSIUM = "LOINC#2823-3 Potassium"


def decided(given: Facts, **changes: Any) -> Decision:
    (found,) = decide(given, small(CRITERIA, a_card(**changes)), unexpected)
    return found


def state(one: Decision) -> tuple[str, bool]:
    return str(one.outcome), one.in_notice


def topics(answered: evaluate.Evaluation) -> list[str]:
    return [one["source"]["topic"]["code"] for one in cards(answered)]


# Conditions and rows


def test_a_card_fires_with_the_first_row_that_holds() -> None:
    table = [
        {"when": ["low", "cramp"], "indicator": "warning", "summary": "both"},
        {"when": ["low"], "unless": ["cramp"], "indicator": "warning", "summary": "low alone"},
        {"when": ["cramp"], "indicator": "info", "summary": "cramp"},
    ]
    low, cramp = f"{POTASSIUM} 3.0 mmol/L", "ICD10#R25.2 Cramp"
    assert decided(facts(low, cramp), table=table).row == 0
    assert decided(facts(low), table=table).row == 1
    assert decided(facts(f"{POTASSIUM} 4.0 mmol/L", cramp), table=table).row == 2
    assert decided(facts(f"{POTASSIUM} 4.0 mmol/L"), table=table).outcome is Outcome.NOT_FIRED


def test_a_condition_that_is_unmet_decides_before_one_that_is_unknown() -> None:
    given = facts("source labs: error")
    assert decided(given, fire_when=["low", "cramp"]).outcome is Outcome.NOT_FIRED
    assert decided(facts("source labs: error", "ICD10#R25.2 Cramp"), fire_when=["low"], unless=["cramp"]).unknown == ()


def test_a_row_that_holds_speaks_although_an_earlier_one_is_unknown_and_the_card_says_what_is_not_known() -> None:
    table = [
        {"when": ["low"], "indicator": "warning", "summary": "low"},
        {"when": ["cramp"], "indicator": "info", "summary": "cramp"},
    ]
    known = small(CRITERIA, a_card(table=table))
    answered = answer("ICD10#R25.2 Cramp", "source labs: error", known=known)
    assert (answered.decisions[0].row, answered.decisions[0].unknown) == (1, ("low",))
    assert "**Not known:** laboratory results: the EHR reported an error." in cards(answered)[0]["detail"]


# Policies


@pytest.mark.parametrize(
    ("policy", "in_when", "in_unless"),
    [
        ("say_so", ("could_not_check", True), ("could_not_check", True)),
        ("stay_silent", ("could_not_check", False), ("could_not_check", False)),
        ("carry_on", ("not_fired", False), ("fired", False)),
    ],
)
def test_an_unknown_does_what_the_card_says(policy: str, in_when: tuple[str, bool], in_unless: tuple[str, bool]) -> None:
    given = facts("source problems: error")
    assert state(decided(given, fire_when=["cramp"], on_unknown={"cramp": policy})) == in_when
    assert state(decided(given, unless=["cramp"], on_unknown={"cramp": policy})) == in_unless


def test_without_a_policy_an_unknown_is_said_and_a_datum_that_is_not_recorded_is_not() -> None:
    assert state(decided(facts("source labs: error"), fire_when=["low"])) == ("could_not_check", True)
    assert state(decided(facts("source labs: null"), fire_when=["low"])) == ("not_fired", False)
    assert state(decided(facts("source labs: null"), unless=["low"])) == ("fired", False)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("say_so", ("could_not_check", True)), ("stay_silent", ("could_not_check", False)), ("carry_on", ("not_fired", False))],
)
def test_a_datum_that_is_not_recorded_has_a_policy_of_its_own(policy: str, expected: tuple[str, bool]) -> None:
    nothing = facts("source labs: null")
    assert state(decided(nothing, fire_when=["low"], on_missing={"low": policy}, on_unknown={"low": "carry_on"})) == expected


def test_a_doubt_about_the_occasion_of_a_card_speaks_for_all_its_doubts() -> None:
    given = facts("source problems: error", "source labs: error")
    table = [{"when": ["low"], "indicator": "info", "summary": "low"}]
    silent = {"cramp": "stay_silent"}
    assert state(decided(given, fire_when=["cramp"], table=table, on_unknown=silent)) == ("could_not_check", False)
    assert decided(given, fire_when=["cramp"], table=table).reason.startswith("problem list")


@pytest.mark.parametrize("labs", ["source labs: error", f"{POTASSIUM} 3.0 furlongs"])
def test_of_several_doubts_one_that_speaks_is_said(labs: str) -> None:
    table = [{"when": [name], "indicator": "info", "summary": name} for name in ("low", "cramp")]
    given = facts("source problems: error", labs)
    found = decided(given, on_unknown={"low": "stay_silent"}, table=table)
    assert (state(found), found.reason) == (("could_not_check", True), "problem list: the EHR reported an error")


def test_data_that_did_not_arrive_is_said_before_a_datum_that_cannot_be_read() -> None:
    table = [{"when": [name], "indicator": "info", "summary": name} for name in ("low", "cramp")]
    found = decided(facts("source problems: error", f"{POTASSIUM} 3.0 furlongs", hook="patient-view"), table=table)
    assert (state(found), found.reason) == (("could_not_check", True), "problem list: the EHR reported an error")


# Notices


@pytest.mark.parametrize(
    ("hook", "line", "said"),
    [
        ("patient-view", "source labs: error", True),
        ("order-select", "source labs: error", True),
        ("order-sign", "source labs: error", True),
        ("patient-view", f"{POTASSIUM} 3.0 furlongs", False),
        ("order-select", f"{POTASSIUM} 3.0 furlongs", False),
        ("order-sign", f"{POTASSIUM} 3.0 furlongs", True),
    ],
)
def test_data_that_did_not_arrive_is_always_said_and_an_unreadable_datum_only_at_signing(
    hook: str, line: str, said: bool
) -> None:
    orders = [] if hook == "patient-view" else ["order: aspirin"]
    answered = answer(line, *orders, hook=hook, known=small(CRITERIA, a_card(fire_when=["low"])))
    assert topics(answered) == (["not-checked"] if said else [])
    assert answered.decisions[0].outcome is Outcome.COULD_NOT_CHECK


def test_a_notice_about_unreadable_data_waits_for_what_makes_it_worth_reading() -> None:
    unreadable = f"{POTASSIUM} 3.0 furlongs"
    changes = {"fire_when": ["low"], "notice_when": ["cramp"]}
    assert state(decided(facts(unreadable), **changes)) == ("could_not_check", False)
    assert state(decided(facts(unreadable, "ICD10#R25.2 Cramp"), **changes)) == ("could_not_check", True)
    assert state(decided(facts("source labs: error"), **changes)) == ("could_not_check", True)


def test_a_card_can_say_that_it_could_not_check_although_all_data_arrived() -> None:
    missing = {"kind": "lab", "analyte": "potassium", "within_days": 30, "missing": True}
    known = small(
        CRITERIA | {"missing": missing},
        a_card(
            fire_when=["quinine"],
            table=[{"when": ["low"], "indicator": "info", "summary": "low"}],
            not_checked=[{"when": ["missing"], "because": "no potassium was found"}],
        ),
    )
    for hook, said in (("order-select", []), ("order-sign", ["not-checked"])):
        answered = answer("order: quinine 300 mg", hook=hook, known=known)
        assert (topics(answered), answered.decisions[0].reason) == (said, "no potassium was found")
    assert topics(answer("order: quinine 300 mg", f"{POTASSIUM} 4.0 mmol/L", hook="order-sign", known=known)) == []


def test_there_is_one_notice_for_everything_that_could_not_be_checked() -> None:
    known = small(
        CRITERIA, a_card("one", fire_when=["low"]), a_card("two", fire_when=["cramp"]), a_card("three", fire_when=["cramp"])
    )
    (notice,) = cards(answer("source labs: error", "source problems: absent", known=known))
    assert notice["source"]["topic"]["code"] == "not-checked"
    assert notice["indicator"] == "info"
    assert "what one checks, what three checks, what two checks" in notice["summary"]
    assert notice["detail"].count("\n- ") == 3


def test_a_notice_gives_a_reason_for_every_state_that_is_not_complete() -> None:
    known = small(CRITERIA, a_card(fire_when=["low"]))
    for source in ("error", "absent", "partial"):
        (notice,) = cards(answer(f"source labs: {source}", known=known))
        item = notice["detail"].rpartition("- ")[2]
        assert item.startswith("**what one checks**: "), source
        assert len(item.removeprefix("**what one checks**: ").strip(". ")) > 10, (source, item)


def test_an_order_that_names_no_medication_could_be_a_covered_one_and_is_said() -> None:
    request = request_from_case(["order: quinine 300 mg"], "order-sign", NOW)
    del request["context"]["draftOrders"]["entry"][0]["resource"]["medicationCodeableConcept"]
    (notice,) = cards(answer_to(request))
    assert "quinine order" in notice["summary"]
    assert "baclofen order" in notice["summary"]
    assert "an order names no medication that could be recognised" in notice["detail"]


# Failures


def _break(monkeypatch: pytest.MonkeyPatch, kind: type, name: str = "find") -> None:
    def broken(*_: object, **__: object) -> object:
        raise ZeroDivisionError("names nobody")

    monkeypatch.setattr(kind, name, broken)


def test_one_criterion_that_breaks_is_said_and_counted_and_the_other_cards_still_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    _break(monkeypatch, ProblemCriterion)
    known = small(CRITERIA, a_card("one", fire_when=["cramp"]), a_card("two", fire_when=["low"]))
    answered = answer(f"{POTASSIUM} 3.0 mmol/L", known=known)
    assert topics(answered) == ["two", "not-checked"]
    assert "**what one checks**: the evaluation failed." in cards(answered)[1]["detail"]
    assert metrics.counts(metrics.EVALUATION_FAILURES) == {"cramp": 1}


def test_one_card_that_breaks_is_said_and_counted_and_the_other_cards_still_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    known = small(CRITERIA, a_card("one", fire_when=["low"]), a_card("two", fire_when=["low"]))
    _break(monkeypatch, type(known.cards[0]), "policy")  # asked only where something is unknown
    monkeypatch.setattr(known.cards[1], "policy", lambda *_, **__: "say_so", raising=False)
    answered = answer("source labs: error", known=known)
    assert [state(one) for one in answered.decisions] == [("failed", True), ("could_not_check", True)]
    assert answered.decisions[0].error == "ZeroDivisionError"
    detail = cards(answered)[0]["detail"]
    assert "**what one checks**: the check itself failed" in detail
    assert "**what two checks**: laboratory results: the EHR reported an error." in detail
    assert metrics.counts(metrics.EVALUATION_FAILURES) == {"one": 1}
    assert "names nobody" not in caplog.text


def test_one_card_that_cannot_be_drawn_is_said_and_counted_and_the_other_cards_still_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = small(CRITERIA, a_card("one", fire_when=["low"]), a_card("two", fire_when=["low"]))
    broken = known.card("one")
    assert broken is not None
    presenter(known)
    monkeypatch.setattr(broken, "summaries", [])
    answered = answer(f"{POTASSIUM} 3.0 mmol/L", known=known)
    assert topics(answered) == ["two", "not-checked"]
    assert "**what one checks**: the check itself failed" in cards(answered)[1]["detail"]
    assert state(decision(answered, "one")) == ("failed", True)
    assert metrics.counts(metrics.EVALUATION_FAILURES) == {"one": 1}


# Retired cards, and hooks


def test_a_retired_card_is_not_decided() -> None:
    known = small(CRITERIA, a_card("old", status="retired"), a_card("new"))
    assert [one.card.id for one in answer(known=known).decisions] == ["new"]


def test_cards_speak_in_the_order_of_their_ranks_at_their_own_hooks() -> None:
    known = small(CRITERIA, a_card("third", rank=3), a_card("first", rank=1), a_card("none", rank=2, hooks=["order-sign"]))
    assert topics(answer(known=known)) == ["first", "third"]


# Orders


def test_a_card_is_decided_for_each_order_that_it_is_about() -> None:
    known = small(
        CRITERIA, a_card(for_each="quinine", table=[{"when": ["quinine"], "indicator": "info", "summary": "{order.name}"}])
    )
    lines = [
        "order: quinine 100 mg, id a",
        "order: aspirin, id b",
        "order: quinine 300 mg, id c",
        "order: quinine 200 mg, stopped, id d",
    ]
    answered = answer(*lines, hook="order-sign", known=known)
    assert [one["summary"] for one in cards(answered)] == ["quinine 100 mg", "quinine 300 mg"]
    assert [one.order.reference for one in answered.decisions if one.order] == ["MedicationRequest/a", "MedicationRequest/c"]
    assert len({one["uuid"] for one in cards(answered)}) == 2


def test_a_card_about_orders_is_decided_once_where_there_is_no_such_order() -> None:
    known = small(CRITERIA, a_card(for_each="quinine", fire_when=["quinine"]))
    for lines in ([], ["order: aspirin"]):
        (found,) = answer(*lines, hook="order-sign", known=known).decisions
        assert (found.outcome, found.order) == (Outcome.NOT_FIRED, None)


def test_the_dose_of_one_order_is_not_the_dose_of_another() -> None:
    lines = ["ICD10#R25.2 Cramp", "LOINC#98979-8 eGFR 90 mL/min/{1.73_m2}"]
    orders = [
        "order: baclofen 10 mg oral tablet, dose 10 mg TID, id high",
        "order: baclofen 5 mg oral tablet, dose 5 mg daily, id low",
    ]
    answered = answer(*lines, *orders, hook="order-sign")
    outcomes = {one.order.reference: str(one.outcome) for one in answered.decisions if one.order is not None}
    assert outcomes["MedicationRequest/high"] == "fired"
    assert len([one for one in cards(answered) if one["source"]["topic"]["code"] == "baclofen-safety"]) >= 1
    high = card(answer(*lines, orders[0], hook="order-sign"), "baclofen-safety")
    assert "30 mg/day" in high["summary"]


# Determinism, and whatever is in a record


@pytest.mark.parametrize("name", PATIENTS)
def test_the_same_facts_give_the_same_bytes(name: str) -> None:
    hook, given = PATIENTS[name]
    first, second = answer(*given, hook=hook), answer(*given, hook=hook)
    assert first.body == second.body
    decisions = decide(first.facts, knowledge(), unexpected)
    again = drawn(decisions, first.facts, presenter(knowledge()))
    assert [one.indicator for one in again] == [one["indicator"] for one in cards(first)]


LINES = [
    "patient: female, 70 years",
    "ICD10#R25.2 Cramp and spasm",
    "ICD10#K74.60 Cirrhosis of liver",
    "ICD10#Z99.2 Dependence on renal dialysis",
    "ICD10#I45.81 Long QT syndrome",
    f"{POTASSIUM} 2.4 mmol/L at 2025-11-28",
    f"{POTASSIUM} 3.2 mmol/L at 2025-11-29T08:00:00Z, preliminary",
    f"{POTASSIUM} 3.1 furlongs at 2025-11-30",
    f"{POTASSIUM} 3.0 mmol/L at 2025-09-01",
    "LOINC#19123-9 Magnesium 0.9 at 2025-11-28",
    "LOINC#2601-3 Magnesium 0.45 mmol/L at 2025-11-27",
    "LOINC#98979-8 eGFR < 15 mL/min/{1.73_m2}",
    "LOINC#2160-0 Creatinine 1.9 mg/dL at 2025-11-30",
    "LOINC#8636-3 QTc 520 ms",
    "takes: digoxin 0.125 mg",
    "takes: oxycodone 5 mg",
    "prescribed: potassium chloride 20 mEq, since 2025-11-29",
    "allergy: quinine, reaction thrombocytopenia",
]
ORDERS = [
    "order: quinine 324 mg, for leg cramps",
    "order: quinine 324 mg, for malaria",
    "order: baclofen 10 mg oral tablet, dose 10 mg TID",
    "order: baclofen 10 mg, stopped",
    "order: furosemide 40 mg",
    "order: service: basic metabolic panel",
]
STATES = ["error", "absent", "null", "empty"]


@pytest.mark.proof
@settings(max_examples=proofs.examples("CDS_RECORDS", 40, 400))
@examples(
    hook=st.sampled_from(["patient-view", "order-select", "order-sign"]),
    lines=st.lists(st.sampled_from(LINES), unique=True),
    orders=st.lists(st.sampled_from(ORDERS), min_size=1, max_size=4),
    lost=st.dictionaries(st.sampled_from([name for name in SOURCES if name != "patient"]), st.sampled_from(STATES)),
)
def test_no_record_makes_a_card_raise_or_speak_without_its_data(
    hook: str, lines: list[str], orders: list[str], lost: dict[str, str]
) -> None:
    kinds = {
        "LOINC": "labs", "ICD10": "problems", "takes": "statements", "prescribed": "prescriptions", "allergy": "allergies"
    }  # fmt: skip
    kept = [line for line in lines if kinds.get(line.replace(":", "#").split("#")[0], "") not in lost]
    states = [f"source {name}: {state}" for name, state in lost.items()]
    answered = answer(*kept, *states, *([] if hook == "patient-view" else orders), hook=hook)
    decisions = decide(answered.facts, knowledge(), unexpected)
    for one in decisions:
        if one.outcome is Outcome.FIRED:
            assert all(one.findings[name].truth is Truth.MET for name in one.card.file.fire_when)
            assert all(one.findings[name].truth is not Truth.MET for name in one.card.file.unless)
            assert all(one.findings[name].truth is Truth.MET for name in one.card.file.table[one.row].when)
    shown = [one["source"]["topic"]["code"] for one in cards(answered)]
    if lost.get("labs") in ("error", "absent"):
        assert not {"electrolyte-hypokalaemia", "electrolyte-hypomagnesaemia", "electrolyte-combined", "electrolyte-recheck"} & {
            *shown
        }
        assert "baclofen-suggest" not in shown
    assert shown.count("not-checked") <= 1
    assert not [one for one in cards(answered) if "not known" in one["summary"]]


def test_a_criterion_is_looked_at_only_where_it_can_matter() -> None:
    found = decided(facts(), fire_when=["low", "cramp"], unless=["reaction"])
    assert {name for name, _ in found.findings.evaluated(CRITERIA)} == {"low", "cramp"}


def test_two_drafts_without_an_id_are_two_orders_with_a_card_each() -> None:
    drafts = [
        {
            "resourceType": "MedicationRequest",
            "status": "draft",
            "medicationCodeableConcept": {"text": f"quinine sulfate {strength} mg"},
        }
        for strength in (200, 300)
    ]
    request = request_from_case([], "order-sign", NOW)
    request["context"]["draftOrders"] = {"resourceType": "Bundle", "entry": [{"resource": draft} for draft in drafts]}
    cards = answer_to(request).shown
    assert len({card.uuid for card in cards if card.decision is not None}) == 2


def test_no_card_and_no_notice_speaks_about_a_patient_who_has_died_and_every_decision_says_why() -> None:
    lines = ["LOINC#2823-3 Potassium 2.2 mmol/L", "source problems: error", "order: quinine sulfate 324 MG Oral Capsule"]
    answered = answer("patient: female, 80 years, deceased", *lines, hook="order-sign")
    assert cards(answered) == []
    assert {(str(one.outcome), one.reason, one.in_notice) for one in answered.decisions} == {
        ("not_applicable", "the patient is recorded as deceased", False)
    }
    assert len(answered.decisions) == len(knowledge().cards_at("order-sign"))
    assert "electrolyte-hypokalaemia" in topics(answer("patient: female, 80 years", *lines, hook="order-sign"))
