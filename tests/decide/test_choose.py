"""Which of the cards that fired are shown: subjects, the limit, and both at once."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.decide.decision import Outcome
from cds_service.evaluate import Evaluation
from tests.core import (
    Json,
    a_card,
    answer,
    cards,
    decision,
    small,
)

CRITERIA = {
    "low": {"kind": "lab", "analyte": "potassium", "below": 3.5, "unit": "mmol/L", "within_days": 30},
    "quinine": {"kind": "order", "classes": ["quinine"]},
}
POTASSIUM = "LOINC#2823-3 Potassium"


def topics(answered: Evaluation) -> list[str]:
    return [one["source"]["topic"]["code"] for one in cards(answered)]


def fires(card_id: str, rank: int, indicator: str, *subjects: str) -> Json:
    table: list[dict[str, Any]] = [{"indicator": indicator, "summary": "Something"}]
    return a_card(card_id, rank=rank, table=table, subjects=list(subjects or (card_id,)))


def test_a_card_gives_way_to_an_earlier_one_on_its_subject() -> None:
    known = small({}, fires("first", 1, "info", "s"), fires("second", 2, "warning", "s"))
    evaluated = answer(known=known)
    assert topics(evaluated) == ["first"]
    assert decision(evaluated, "second").gave_way_to == "first"


def test_a_card_that_gave_way_to_one_without_room_is_shown() -> None:
    most = small({}).labels.most_cards
    loud = [fires(f"warning{n}", 10 + n, "warning") for n in range(most)]
    known = small({}, fires("capped", 1, "info", "s"), fires("second", 2, "critical", "s"), *loud)
    assert topics(answer(known=known)) == [
        "second",
        *(f"warning{n}" for n in range(most)),
    ]


def test_an_info_card_that_gave_way_to_one_without_room_has_no_room_either() -> None:
    most = small({}).labels.most_cards
    loud = [fires(f"warning{n}", 10 + n, "warning") for n in range(most)]
    known = small({}, fires("capped", 1, "info", "s"), fires("second", 2, "info", "s"), *loud)
    evaluated = answer(known=known)
    assert topics(evaluated) == [f"warning{n}" for n in range(most)]
    assert {decision(evaluated, name).outcome for name in ("capped", "second")} == {Outcome.CAPPED}


def test_at_most_one_card_is_shown_per_subject_the_one_of_the_lowest_rank() -> None:
    known = small(
        CRITERIA,
        a_card("loud", rank=1, subjects=["x"]),
        a_card("quiet", rank=2, subjects=["x", "y"]),
        a_card("other", rank=3, subjects=["y"]),
    )
    answered = answer(known=known)
    assert topics(answered) == ["loud", "other"]
    assert (decision(answered, "quiet").outcome, decision(answered, "quiet").gave_way_to) == (Outcome.GAVE_WAY, "loud")


def test_a_card_gives_way_to_the_subjects_that_it_names() -> None:
    known = small(CRITERIA, a_card("loud", rank=1, fire_when=["low"]), a_card("quiet", rank=2, gives_way_to=["loud"]))
    assert topics(answer(f"{POTASSIUM} 3.0 mmol/L", known=known)) == ["loud"]
    assert topics(answer(f"{POTASSIUM} 4.0 mmol/L", known=known)) == ["quiet"]


def test_a_card_gives_way_to_what_another_says_about_an_order() -> None:
    order = {"quinine": {"kind": "order", "classes": ["quinine"]}}
    loud = a_card("loud", rank=1, hooks=["order-sign"], for_each="quinine", fire_when=["quinine"])
    known = small(order, loud, a_card("quiet", rank=2, hooks=["order-sign"], gives_way_to=["loud"]))
    assert topics(answer("order: quinine 300 mg", hook="order-sign", known=known)) == ["loud"]
    assert topics(answer("order: aspirin", hook="order-sign", known=known)) == ["quiet"]


@pytest.mark.parametrize(("indicator", "shown"), [("info", ["loud", "quiet"]), ("warning", ["loud"]), ("critical", ["loud"])])
def test_a_card_that_gives_way_to_warnings_stays_beside_information(indicator: str, shown: list[str]) -> None:
    loud = a_card("loud", rank=1, table=[{"indicator": indicator, "summary": "Something"}])
    known = small(CRITERIA, loud, a_card("quiet", rank=2, gives_way_to_warnings=["loud"]))
    assert topics(answer(known=known)) == shown


def test_a_draft_card_is_decided_and_neither_shown_nor_heard_nor_in_the_way_of_others() -> None:
    known = small(
        CRITERIA,
        a_card("shadow", status="draft", rank=1, subjects=["x"]),
        a_card("unsure", status="draft", rank=1, fire_when=["low"]),
        a_card("live", rank=2, subjects=["x"]),
    )
    answered = answer("source labs: error", known=known)
    assert topics(answered) == ["live"]
    assert decision(answered, "shadow").outcome is Outcome.FIRED
    unsure = decision(answered, "unsure")
    assert (str(unsure.outcome), unsure.in_notice) == ("could_not_check", True)


def test_cards_that_inform_share_the_places_that_warnings_leave_and_every_warning_is_shown() -> None:
    most = small(CRITERIA).labels.most_cards
    infos = [fires(f"info{n}", n, "info") for n in range(1, most + 1)]
    warnings = [fires(f"warning{n}", 10 + n, "warning") for n in range(1, most + 2)]
    assert topics(answer(known=small(CRITERIA, *infos))) == [f"info{n}" for n in range(1, most + 1)]
    few = small(CRITERIA, *infos, *warnings[: most - 1])
    assert topics(answer(known=few)) == [*(f"warning{n}" for n in range(1, most)), "info1"]
    assert decision(answer(known=few), f"info{most}").outcome is Outcome.CAPPED
    many = small(CRITERIA, *infos, *warnings)
    assert topics(answer(known=many)) == [f"warning{n}" for n in range(1, most + 2)]


def test_two_orders_of_one_drug_are_two_subjects() -> None:
    known = small(
        CRITERIA,
        a_card("first", rank=1, for_each="quinine", subjects=["x"], fire_when=["quinine"]),
        a_card("second", rank=2, for_each="quinine", subjects=["x"], fire_when=["quinine"]),
    )
    answered = answer("order: quinine 100 mg, id a", "order: quinine 300 mg, id b", hook="order-sign", known=known)
    assert topics(answered) == ["first", "first"]
    assert [str(one.outcome) for one in answered.decisions] == ["fired", "fired", "gave_way", "gave_way"]


def test_critical_cards_stand_first_whatever_their_rank_and_the_notice_last() -> None:
    known = small(
        CRITERIA,
        fires("info", 1, "info"),
        fires("warning", 2, "warning"),
        fires("critical", 3, "critical"),
        a_card("unsure", rank=4, fire_when=["low"]),
    )
    assert topics(answer("source labs: error", known=known)) == ["critical", "warning", "info", "not-checked"]
