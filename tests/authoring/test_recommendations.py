"""The table of recommendations: complete, and proved by the cases it names."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cds_service.authoring.cases import Run
from cds_service.authoring.recommendations import Recommendations, as_text
from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import KnowledgeError
from tests.case_runs import case_runs
from tests.core import Json, a_card, knowledge, small

CARD = "quinine-avoid"
CASE = "Quinine signed for leg cramps in the US is advised against with the boxed warning"
GOOD: Json = {
    "card": CARD,
    "criteria": ["quinine_order"],
    "says": ["boxed warning"],
    "offers": ["delete-quinine"],
    "overrides": ["specialist-advice"],
    "case": CASE,
}


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return list(case_runs())


def table(folder: Path, carried: Json) -> Recommendations:
    row = {"document": "S1", "about": "Quinine is not for cramps", "carried": [carried]}
    (folder / "recommendations.yaml").write_text(yaml.safe_dump({"S1-21": row}), encoding="utf-8")
    return Recommendations(folder)


def test_every_recommendation_of_both_documents_is_in_the_table() -> None:
    wanted = [f"S1-{number:02}" for number in range(1, 34)] + ["S1-06b"] + [f"S2-{number:02}" for number in range(1, 22)]
    rows = Recommendations(cards_dir()).rows

    assert sorted(rows) == sorted(wanted)
    assert len(rows) == 55
    assert all(name.startswith(row.document) for name, row in rows.items())


def test_every_recommendation_is_carried_by_a_card_in_a_case_that_shows_it(runs: list[Run]) -> None:
    assert [str(problem) for problem in Recommendations(cards_dir()).problems(knowledge(), runs)] == []


def test_every_shipped_card_carries_a_recommendation() -> None:
    """A card that a site adds need not carry one; those of the shipped cards are never fewer."""
    carried = {one.card for row in Recommendations(cards_dir()).rows.values() for one in row.carried}
    assert carried <= {card.id for card in knowledge().cards}
    assert len(carried) == 18


def test_a_row_that_its_case_shows_has_no_problem(tmp_path: Path, runs: list[Run]) -> None:
    assert table(tmp_path, GOOD).problems(knowledge(), runs) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"card": "quinine-avod"}, "unknown card `quinine-avod`; did you mean `quinine-avoid`?"),
        (
            {"case": CASE.replace("boxed ", "")},
            f"no case of quinine-avoid is called {CASE.replace('boxed ', '')!r}; did you mean {CASE!r}?",
        ),
        ({"criteria": ["quinine_odrer"]}, "unknown criterion of quinine-avoid `quinine_odrer`; did you mean `quinine_order`?"),
        ({"criteria": ["long_qt"]}, f"long_qt is not met in the case {CASE!r}"),
        ({"says": ["entirely safe"]}, f"'entirely safe' is not on the card in the case {CASE!r}"),
        ({"offers": ["delete-quinin"]}, "unknown suggestion of quinine-avoid `delete-quinin`; did you mean `delete-quinine`?"),
        ({"overrides": ["off-label"]}, "unknown override reason of quinine-avoid `off-label`"),
        (
            {"criteria": [], "says": [], "offers": [], "overrides": []},
            "names no criterion, words, suggestion or override reason that carries it",
        ),
    ],
)
def test_a_row_that_its_case_does_not_show_is_told_with_file_line_and_place(
    tmp_path: Path, runs: list[Run], change: Json, message: str
) -> None:
    (problem,) = table(tmp_path, GOOD | change).problems(knowledge(), runs)

    assert problem.file == "cards/recommendations.yaml"
    assert problem.path == "S1-21.carried[0]"
    assert problem.message.startswith(message)


def test_a_suggestion_that_is_not_offered_in_the_case_is_told(tmp_path: Path, runs: list[Run]) -> None:
    taken = "Quinine that is taken is reviewed when the chart is opened"

    (problem,) = table(tmp_path, {"card": CARD, "offers": ["delete-quinine"], "case": taken}).problems(knowledge(), runs)

    assert problem.message == f"delete-quinine is not offered in the case {taken!r}"


def test_a_case_that_fails_proves_nothing(tmp_path: Path, runs: list[Run]) -> None:
    (run,) = [run for run in runs if run.case.card.id == CARD and run.case.file.name == CASE]
    failed = Run(run.case, [run.case.problem("is broken")], run.evaluation)

    (problem,) = table(tmp_path, GOOD).problems(knowledge(), [failed])

    assert problem.message == f"its case fails: {CASE}"


def test_a_recommendation_that_no_card_carries_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recommendations.yaml").write_text(
        yaml.safe_dump({"S1-01": {"document": "S1", "about": "Rest", "carried": []}}), encoding="utf-8"
    )

    with pytest.raises(KnowledgeError, match=r"recommendations.yaml:\d+: S1-01.carried: Expected `array` of length >= 1"):
        Recommendations(tmp_path)


def test_the_printed_table_has_a_line_for_each_card_of_each_recommendation(tmp_path: Path) -> None:
    assert as_text(table(tmp_path, GOOD)) == (
        f"S1-21 | {CARD} | criterion 'quinine order'; “boxed warning”; suggestion delete-quinine; "
        f"override reason specialist-advice | {CASE}\n"
    )


def test_what_stands_on_the_page_only_is_served(tmp_path: Path) -> None:
    page = [{"text": "**Massage** helps some people.", "source": ["S1"]}]
    known = small({}, a_card(page=page))
    assert table(tmp_path, {"card": "one", "on_page": ["Massage helps"]}).problems(known, []) == []
    (problem,) = table(tmp_path, {"card": "one", "on_page": ["Heat helps"]}).problems(known, [])
    assert "'Heat helps' is not on the page of one" in str(problem)
    (unproved,) = table(tmp_path, {"card": "one", "says": ["One speaks"]}).problems(known, [])
    assert "no case of one is called ''" in str(unproved)
