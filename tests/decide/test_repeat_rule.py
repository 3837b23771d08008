"""What is not shown twice, and what is shown again: the rules, on decisions alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from cds_service.authoring.shorthand import request_from_case
from cds_service.criteria.facts import ORDERS_NOT_SENT, Facts, PriorCard
from cds_service.decide.decision import NOT_CHECKED, Decision, Outcome
from cds_service.knowledge.knowledge import Knowledge
from tests.case_runs import some_requests
from tests.core import NOW, a_card, decide, facts, facts_in, knowledge, small, unexpected

CRITERIA = {
    "low": {"kind": "lab", "analyte": "potassium", "below": 3.5, "unit": "mmol/L", "within_days": 30},
    "diuretic": {"kind": "drug", "classes": ["thiazide_diuretic", "loop_diuretic"]},
    "quinine": {"kind": "order", "classes": ["quinine"]},
}
TABLE = [
    {"when": ["low"], "indicator": "warning", "summary": "low"},
    {"indicator": "info", "summary": "not low"},
]
LOW, NORMAL = "LOINC#2823-3 Potassium 3.0 mmol/L", "LOINC#2823-3 Potassium 4.0 mmol/L"
THIAZIDE, LOOP = "takes: hydrochlorothiazide 25 mg", "takes: furosemide 40 mg"
ORDER = "order: quinine 300 mg, id q1"


def decided(known: Knowledge, given: Facts, *prior: PriorCard) -> Decision:
    (found,) = decide(msgspec.structs.replace(given, prior_cards=prior), known, unexpected)
    return found


# The rule of a card


def quarterly(**changes: Any) -> Knowledge:
    rule = {"after_days": 90, "about": ["diuretic"]}
    return small({name: CRITERIA[name] for name in ("low", "diuretic")}, a_card(repeat=rule, table=TABLE, **changes))


def before(days: float = 10, about: str = "hydrochlorothiazide", **changes: Any) -> PriorCard:
    values: dict[str, Any] = {"card": "one", "shown_at": NOW - timedelta(days=days), "about": about, "indicator": "info"}
    return PriorCard(**values | {"uuid": "earlier"} | changes)


def test_a_card_is_held_back_for_as_long_as_its_rule_says_and_names_what_it_repeats() -> None:
    known, given = quarterly(), facts(THIAZIDE, NORMAL, hook="patient-view")
    held = decided(known, given, before(days=89.9))
    assert (held.outcome, held.repeats, held.about) == (Outcome.REPEATED, "earlier", "hydrochlorothiazide")
    assert decided(known, given, before(days=90)).outcome is Outcome.FIRED
    assert decided(known, given).outcome is Outcome.FIRED


def test_a_drug_that_came_shows_the_card_again_and_one_that_went_does_not() -> None:
    known = quarterly()
    both, one, none = (facts(*drugs, NORMAL, hook="patient-view") for drugs in ((THIAZIDE, LOOP), (THIAZIDE,), ()))
    assert decided(known, both, before(about="hydrochlorothiazide")).outcome is Outcome.FIRED
    assert decided(known, one, before(about="furosemide, hydrochlorothiazide")).outcome is Outcome.REPEATED
    assert decided(known, none, before(about="hydrochlorothiazide")).outcome is Outcome.REPEATED
    assert decided(known, one, before(about="")).outcome is Outcome.FIRED


def test_a_card_with_a_higher_indicator_is_shown_again_and_one_with_a_lower_is_not() -> None:
    known = quarterly()
    low, normal = (facts(THIAZIDE, result, hook="patient-view") for result in (LOW, NORMAL))
    assert decided(known, low, before(indicator="info")).outcome is Outcome.FIRED
    assert decided(known, normal, before(indicator="warning")).outcome is Outcome.REPEATED


def test_a_warning_is_not_held_back_by_the_rule_of_its_card() -> None:
    given = facts(THIAZIDE, LOW, hook="patient-view")
    assert decided(quarterly(), given, before(indicator="warning")).outcome is Outcome.FIRED


def test_another_card_repeats_nothing() -> None:
    assert decided(quarterly(), facts(THIAZIDE, NORMAL), before(card="two")).outcome is Outcome.FIRED


def test_a_critical_card_is_shown_every_time() -> None:
    critical = small({}, a_card(repeat={"after_days": 90}, table=[{"indicator": "critical", "summary": "now"}]))
    assert decided(critical, facts(), before(about="", indicator="critical")).outcome is Outcome.FIRED


# From picking an order to signing it


def per_order(**changes: Any) -> Knowledge:
    return small(
        {name: CRITERIA[name] for name in ("low", "quinine")}, a_card(**{"for_each": "quinine", "table": TABLE} | changes)
    )


def answered(**changes: Any) -> PriorCard:
    """The warning about low potassium and quinine, overridden an hour ago when the order was picked."""
    values: dict[str, Any] = {
        "card": "one",
        "shown_at": NOW - timedelta(hours=1),
        "about": "potassium 3.0 mmol/L, quinine",
        "indicator": "warning",
        "version": "1.0.0",
        "row": 0,
        "hook": "order-select",
        "order": "MedicationRequest/q1",
        "answered": "overridden",
        "same_user": True,
        "uuid": "earlier",
    }
    return PriorCard(**values | changes)


def test_what_was_overridden_when_an_order_was_picked_is_not_shown_when_it_is_signed() -> None:
    held = decided(per_order(), facts(ORDER, LOW), answered())
    assert (held.outcome, held.repeats) == (Outcome.REPEATED, "earlier")


@pytest.mark.parametrize("result", ["LOINC#2823-3 Potassium 2.6 mmol/L", "LOINC#2823-3 Potassium 3.1 mmol/L"])
def test_a_result_that_came_since_shows_the_card_about_an_answered_order_again(result: str) -> None:
    assert decided(per_order(), facts(ORDER, result), answered()).outcome is Outcome.FIRED


def test_a_hazard_that_came_since_shows_the_card_about_an_answered_order_again() -> None:
    table = [{"when": ["hazard"], "indicator": "warning", "summary": "not with this"}]
    names = ("low", "diuretic", "quinine")
    known = small(
        {name: CRITERIA[name] for name in names} | {"hazard": {"kind": "any", "of": ["low", "diuretic"]}},
        a_card(for_each="quinine", table=table),
    )
    assert decided(known, facts(ORDER, LOW), answered()).outcome is Outcome.REPEATED
    came = decided(known, facts(ORDER, LOW, "prescribed: hydrochlorothiazide 25 mg"), answered())
    assert (came.outcome, came.about) == (Outcome.FIRED, "hydrochlorothiazide, potassium 3.0 mmol/L, quinine")


def test_a_quieter_card_about_an_answered_order_is_not_shown_either() -> None:
    assert decided(per_order(), facts(ORDER, NORMAL), answered()).outcome is Outcome.REPEATED


@pytest.mark.parametrize(
    "changes",
    [
        {"answered": ""},
        {"answered": "accepted"},
        {"indicator": "info", "row": 1},
        {"row": 1},
        {"order": "MedicationRequest/q2"},
        {"order": ""},
        {"version": "1.1.0"},
        {"hook": "order-sign"},
        {"same_user": False},
        {"about": "baclofen"},
        {"shown_at": NOW - timedelta(hours=24)},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_nothing_less_than_an_override_of_the_same_about_the_same_order_holds_a_card_back(changes: dict[str, Any]) -> None:
    assert decided(per_order(), facts(ORDER, LOW), answered(**changes)).outcome is Outcome.FIRED


def test_at_the_other_hooks_an_order_is_spoken_about_every_time() -> None:
    assert decided(per_order(), facts(ORDER, LOW, hook="order-select"), answered()).outcome is Outcome.FIRED


def test_an_order_without_an_id_is_no_other_order_without_an_id() -> None:
    request = request_from_case([ORDER, LOW], "order-sign", NOW)
    del request["context"]["draftOrders"]["entry"][0]["resource"]["id"]
    assert decided(per_order(), facts_in(request), answered(order="")).outcome is Outcome.FIRED


def test_a_critical_card_about_an_order_is_shown_although_it_was_overridden() -> None:
    table = [{"when": ["low"], "indicator": "critical", "summary": "now"}, TABLE[1]]
    assert decided(per_order(table=table), facts(ORDER, LOW), answered(indicator="critical")).outcome is Outcome.FIRED


def test_what_is_held_back_takes_no_subject_from_another_card() -> None:
    rule = {"after_days": 90}
    known = small({}, a_card("one", rank=1, subjects=["same"], repeat=rule), a_card("two", rank=2, subjects=["same"]))
    given = msgspec.structs.replace(facts(), prior_cards=(before(about=""),))
    assert [one.outcome for one in decide(given, known, unexpected)] == [Outcome.REPEATED, Outcome.FIRED]


# The notice on missing draft orders


def notice(hours: float = 1, **changes: Any) -> PriorCard:
    values: dict[str, Any] = {"card": NOT_CHECKED, "shown_at": NOW - timedelta(hours=hours), "about": ORDERS_NOT_SENT}
    return PriorCard(**values | {"indicator": "info", "same_user": True, "uuid": "told"} | changes)


def without_orders(*given: str) -> Facts:
    request = request_from_case(given, "order-sign", NOW)
    del request["context"]["draftOrders"]
    return facts_in(request)


def test_the_same_user_is_told_once_in_the_time_an_answer_counts_that_draft_orders_are_missing() -> None:
    known = per_order(fire_when=["quinine"])
    first = decided(known, without_orders())
    assert (first.outcome, first.in_notice, first.lacks_orders) == (Outcome.COULD_NOT_CHECK, True, True)
    again = decided(known, without_orders(), notice())
    assert (again.outcome, again.in_notice, again.repeats, again.said_before) == (Outcome.COULD_NOT_CHECK, False, "told", True)
    for other in (notice(hours=24), notice(same_user=False), notice(about=""), notice(card="one")):
        assert decided(known, without_orders(), other).in_notice


def test_other_data_that_could_not_be_looked_at_is_said_although_the_missing_orders_were() -> None:
    known = small({"low": CRITERIA["low"]}, a_card(fire_when=["low"]))
    held = decided(known, without_orders("source labs: error"), notice())
    assert (held.outcome, held.in_notice, held.repeats) == (Outcome.COULD_NOT_CHECK, True, "")


# Properties


@pytest.mark.proof
def test_without_a_log_nothing_is_ever_held_back() -> None:
    fired = 0
    for name, request in some_requests():
        outcomes = [one.outcome for one in decide(facts_in(request), knowledge(), unexpected)]
        assert Outcome.REPEATED not in outcomes, name
        fired += outcomes.count(Outcome.FIRED)
    assert fired > 100


PRIOR = st.builds(
    PriorCard,
    card=st.just("one"),
    shown_at=st.integers(-1, 2000).map(lambda hours: NOW - timedelta(hours=hours)),
    about=st.sampled_from(["", "quinine", "potassium 3.0 mmol/L, quinine, baclofen", "baclofen"]),
    indicator=st.sampled_from(["", "info", "warning", "critical"]),
    version=st.sampled_from(["1.0.0", "2.0.0"]),
    row=st.integers(-1, 2),
    hook=st.sampled_from(["patient-view", "order-select", "order-sign"]),
    order=st.sampled_from(["", "MedicationRequest/q1", "MedicationRequest/q2"]),
    answered=st.sampled_from(["", "accepted", "overridden"]),
    same_user=st.booleans(),
)


@examples(st.lists(PRIOR, max_size=5))
def test_whatever_the_log_says_a_card_about_an_order_is_held_back_only_by_an_override_of_it(prior: list[PriorCard]) -> None:
    held = decided(PER_ORDER, GIVEN, *prior)
    reasons = [one for one in prior if one.answered == "overridden" and one.order == "MedicationRequest/q1" and one.same_user]
    assert held.outcome is Outcome.FIRED or reasons


@examples(st.lists(PRIOR, max_size=5))
def test_whatever_the_log_says_a_critical_card_is_shown(prior: list[PriorCard]) -> None:
    assert decided(CRITICAL, GIVEN, *prior).outcome is Outcome.FIRED


PER_ORDER = per_order()
CRITICAL = small(
    {"quinine": CRITERIA["quinine"]},
    a_card(for_each="quinine", repeat={"after_days": 90}, table=[{"indicator": "critical", "summary": "now"}]),
)
GIVEN = facts(ORDER, LOW)
