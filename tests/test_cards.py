"""The clinical content: every case passes, and the cases exercise every part of the knowledge."""

from __future__ import annotations

import pytest

from cds_service.authoring.cases import Run
from cds_service.authoring.coverage import Coverage
from cds_service.authoring.emitted_resources import card_schema, emitted_problems
from cds_service.files.paths import cards_dir
from tests.case_runs import case_runs, cases
from tests.core import knowledge


@pytest.fixture(scope="module")
def runs() -> tuple[Run, ...]:
    return case_runs()


@pytest.mark.parametrize("place", [pytest.param(n, id=f"{one.card.id}: {one.file.name}") for n, one in enumerate(cases())])
def test_a_card_does_what_its_case_says(runs: tuple[Run, ...], place: int) -> None:
    assert [str(problem) for problem in runs[place].problems] == []


def test_the_cases_show_every_criterion_threshold_row_paragraph_and_suggestion(runs: tuple[Run, ...]) -> None:
    coverage = Coverage(knowledge())
    coverage.add(runs)
    assert list(coverage.missing()) == []


def test_every_card_has_cases_that_fire_and_cases_that_are_silent(runs: tuple[Run, ...]) -> None:
    fires = {run.case.card.id for run in runs if not isinstance(run.case.file.expect, str)}
    silent = {run.case.card.id for run in runs if run.case.file.expect == "silent"}
    assert fires == silent == {card.id for card in knowledge().cards}


def test_names_of_cases_are_unique_within_a_card() -> None:
    names = [(case.card.id, case.file.name) for case in cases()]
    assert sorted(set(names)) == sorted(names)


def test_everything_that_the_cards_emit_is_valid_fhir_r4b(runs: tuple[Run, ...]) -> None:
    assert [str(problem) for problem in emitted_problems(knowledge(), runs)] == []


def test_the_schema_for_editors_is_the_one_of_the_code() -> None:
    assert (cards_dir() / "card.schema.json").read_text(encoding="utf-8") == card_schema()
