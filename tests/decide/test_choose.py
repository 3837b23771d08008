"""Which of the cards that fired are shown: subjects, the limit, and both at once."""

from __future__ import annotations

from typing import Any

from cds_service.decide.decision import Outcome
from tests.core import Json, a_card, answer, cards, decision, small


def fires(card_id: str, rank: int, indicator: str, *subjects: str) -> Json:
    table: list[dict[str, Any]] = [{"indicator": indicator, "summary": "Something"}]
    return a_card(card_id, rank=rank, table=table, subjects=list(subjects or (card_id,)))


def shown(*given: Json) -> list[str]:
    return [one["source"]["topic"]["code"] for one in cards(answer(known=small({}, *given)))]


def test_a_card_gives_way_to_an_earlier_one_on_its_subject() -> None:
    known = small({}, fires("first", 1, "info", "s"), fires("second", 2, "warning", "s"))
    evaluated = answer(known=known)
    assert [one["source"]["topic"]["code"] for one in cards(evaluated)] == ["first"]
    assert decision(evaluated, "second").gave_way_to == "first"


def test_a_card_that_gave_way_to_one_without_room_is_shown() -> None:
    most = small({}).labels.most_cards
    loud = [fires(f"warning{n}", 10 + n, "warning") for n in range(most)]
    assert shown(fires("capped", 1, "info", "s"), fires("second", 2, "critical", "s"), *loud) == [
        "second",
        *(f"warning{n}" for n in range(most)),
    ]


def test_an_info_card_that_gave_way_to_one_without_room_has_no_room_either() -> None:
    most = small({}).labels.most_cards
    loud = [fires(f"warning{n}", 10 + n, "warning") for n in range(most)]
    known = small({}, fires("capped", 1, "info", "s"), fires("second", 2, "info", "s"), *loud)
    evaluated = answer(known=known)
    assert [one["source"]["topic"]["code"] for one in cards(evaluated)] == [f"warning{n}" for n in range(most)]
    assert {decision(evaluated, name).outcome for name in ("capped", "second")} == {Outcome.CAPPED}
