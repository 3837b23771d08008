"""Which cards came nearest to firing, and what they missed."""

from __future__ import annotations

import json

import pytest

from cds_service.authoring.shorthand import request_from_case
from cds_service.evaluate import Engine, evaluate_body
from cds_service.explain.explain import explain
from cds_service.explain.nearest import Near, nearest
from cds_service.present.cards import Presenter
from tests.core import NOW, knowledge


async def near(*lines: str, hook: str = "patient-view", most: int = 3) -> list[Near]:
    known = knowledge()
    body = json.dumps(request_from_case(lines, hook, NOW)).encode()
    evaluation = await evaluate_body(body, Engine(known, Presenter(known)), NOW)
    return nearest(explain(evaluation.facts, evaluation.decisions, known, evaluation.sources), most)


@pytest.mark.parametrize(
    ("lines", "card", "missed"),
    [
        (["LOINC#2823-3 Potassium 3.3 mmol/L at today"], "electrolyte-hypokalaemia", "'mild matters'"),
        (["LOINC#2823-3 Potassium 3.6 mmol/L at today", "ICD10#R25.2 Cramp"], "electrolyte-hypokalaemia", "potassium below 3.5"),
    ],
)
async def test_the_nearest_is_one_for_which_something_in_the_chart_speaks(lines: list[str], card: str, missed: str) -> None:
    found = {one.card.card: one.words for one in await near(*lines, most=6)}
    assert card in found
    assert missed in found[card]


async def test_of_those_for_which_something_speaks_the_one_that_missed_the_fewest_stands_first() -> None:
    found = await near("LOINC#2823-3 Potassium 3.3 mmol/L at today", most=20)
    assert found[0].card.card == "electrolyte-hypokalaemia"
    assert len(found[0].missed) == 1


async def test_a_patient_who_has_died_has_none() -> None:
    assert await near("patient: male, 80 years, deceased", "LOINC#2823-3 Potassium 3.3 mmol/L at today") == []


async def test_cards_that_fired_are_not_among_them() -> None:
    found = await near("LOINC#2823-3 Potassium 2.4 mmol/L at today", most=20)
    assert "electrolyte-hypokalaemia" not in [one.card.card for one in found]
    assert len(await near("LOINC#2823-3 Potassium 2.4 mmol/L at today", most=1)) == 1
