"""The lock: a card's content, its version and its history go together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from cds_service.authoring.version_lock import LOCK, contents, lock_problems, write_lock
from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import KnowledgeError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.loader import read_knowledge
from tests.core import Json, a_card, knowledge, write_small
from tests.reading import terminology

FIRST = {"version": "1.0.0", "since": "2026-01-31", "what": "First version", "affects": "All adults", "source": ["S1"]}
SECOND = {"version": "1.1.0", "since": "2026-03-01", "what": "65 years", "affects": "Adults from 65", "source": ["engineering"]}
CRITERIA = {
    "old": {"kind": "age", "at_least": 60, "source": ["S1"]},
    "young": {"kind": "age", "below": 30, "source": ["S1"]},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One card that is locked."""
    change(tmp_path, CRITERIA)
    write_lock(tmp_path, load(tmp_path))
    return tmp_path


def change(folder: Path, criteria: Json | None = None, **changes: object) -> None:
    """Writes the card anew, with `changes`; dates are dates in YAML."""
    shutil.rmtree(folder / "one", ignore_errors=True)
    data: Json = {"id": "one", "fire_when": ["old"], "history": [FIRST], "version": "1.0.0"} | changes
    write_small(folder, criteria or CRITERIA, a_card(**data))
    path = folder / "one" / "card.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("'2026-01-31'", "2026-01-31").replace("'2026-03-01'", "2026-03-01"), encoding="utf-8")


def load(folder: Path) -> Knowledge:
    return read_knowledge(folder, terminology())


def problems(folder: Path) -> list[str]:
    return [str(problem) for problem in lock_problems(folder, load(folder))]


def test_the_cards_that_the_service_ships_are_locked_as_they_are() -> None:
    assert [str(problem) for problem in lock_problems(cards_dir(), knowledge())] == []


def test_a_card_that_is_locked_as_it_is_has_no_problem(folder: Path) -> None:
    assert problems(folder) == []


def test_comments_layout_and_review_dates_are_no_content(folder: Path) -> None:
    path = folder / "one" / "card.yaml"
    path.write_text("# a remark\n\n" + path.read_text(encoding="utf-8") + "\nreviewed_on: 2026-02-01\n", encoding="utf-8")

    assert problems(folder) == []


def test_content_that_changed_under_the_same_version_is_refused_with_what_to_do(folder: Path) -> None:
    change(folder, why="Another reason")

    (problem,) = problems(folder)

    assert problem.startswith("cards/one/card.yaml:2: version: the content changed")
    assert "raise it, add a line to `history`, then run `cds-service cards lock`" in problem


def test_a_threshold_that_changed_in_a_shared_file_is_content_of_the_cards_that_use_it(folder: Path) -> None:
    change(folder, CRITERIA | {"old": {"kind": "age", "at_least": 65, "source": ["S1"]}})

    assert len(problems(folder)) == 1


def test_a_criterion_that_the_card_does_not_use_is_no_content_of_it(folder: Path) -> None:
    change(folder, CRITERIA | {"young": {"kind": "age", "below": 35, "source": ["S1"]}})

    assert problems(folder) == []


def test_the_words_of_an_override_reason_are_content(folder: Path) -> None:
    (folder / "override_reasons.yaml").write_text("fine: {display: It is not}\n", encoding="utf-8")

    assert len(problems(folder)) == 1


def test_the_lock_is_not_written_over_a_change_without_a_new_version(folder: Path) -> None:
    before = (folder / LOCK).read_bytes()
    change(folder, why="Another reason")

    with pytest.raises(KnowledgeError, match="the version is still"):
        write_lock(folder, load(folder))

    assert (folder / LOCK).read_bytes() == before


def test_a_new_version_with_its_line_of_history_is_locked(folder: Path) -> None:
    change(folder, why="Another reason", version="1.1.0", history=[SECOND, FIRST])
    assert problems(folder) == ["cards/versions.lock:1: one: has no entry for one 1.1.0; run `cds-service cards lock`"]

    write_lock(folder, load(folder))

    assert problems(folder) == []
    assert yaml.safe_load((folder / LOCK).read_text(encoding="utf-8"))["one"]["version"] == "1.1.0"


def test_a_version_does_not_go_back(folder: Path) -> None:
    change(folder, version="0.9.0", history=[FIRST | {"version": "0.9.0"}])

    (problem,) = problems(folder)

    assert problem == "cards/one/card.yaml:2: version: is lower than 1.0.0, the version in the lock; raise it"


def test_a_version_10_is_higher_than_a_version_9(folder: Path) -> None:
    nine, ten = FIRST | {"version": "1.9.0"}, SECOND | {"version": "1.10.0"}
    change(folder, version="1.9.0", history=[nine, FIRST])
    write_lock(folder, load(folder))
    change(folder, version="1.10.0", history=[ten, nine, FIRST])

    write_lock(folder, load(folder))

    assert problems(folder) == []


@pytest.mark.parametrize(("before", "after"), [("active", "draft"), ("retired", "active"), ("retired", "draft")])
def test_a_status_does_not_go_back(tmp_path: Path, before: str, after: str) -> None:
    change(tmp_path, status=before)
    write_lock(tmp_path, load(tmp_path))
    change(tmp_path, status=after, version="1.1.0", history=[SECOND, FIRST])

    (problem,) = problems(tmp_path)

    assert f"was {before} and can't become {after}: a card goes draft, active, retired" in problem


@pytest.mark.parametrize(("before", "after"), [("draft", "active"), ("active", "retired")])
def test_a_status_goes_on_with_a_new_version(tmp_path: Path, before: str, after: str) -> None:
    change(tmp_path, status=before)
    write_lock(tmp_path, load(tmp_path))
    change(tmp_path, status=after)
    assert len(problems(tmp_path)) == 1  # who was affected since when is not told
    change(tmp_path, status=after, version="1.1.0", history=[SECOND, FIRST])

    write_lock(tmp_path, load(tmp_path))

    assert problems(tmp_path) == []


def test_a_version_without_a_line_of_history_is_refused(folder: Path) -> None:
    change(folder, version="1.1.0")

    (problem,) = problems(folder)

    assert "history: has no line for version 1.1.0: say what changed, who is affected, since when, which source" in problem


@pytest.mark.parametrize("history", [[FIRST, SECOND], [SECOND, SECOND, FIRST]])
def test_a_history_begins_with_the_newest_version_and_names_each_once(folder: Path, history: list[Json]) -> None:
    change(folder, version="1.1.0", history=history)

    assert any("must begin with the newest version, and name each version once" in problem for problem in problems(folder))


def test_a_line_of_history_names_a_source_that_exists(folder: Path) -> None:
    change(folder, history=[FIRST | {"source": ["S9"]}])

    with pytest.raises(KnowledgeError, match=r"history\[0\].source: unknown name `S9`"):
        load(folder)


def test_a_card_that_the_lock_does_not_know_is_told(folder: Path) -> None:
    shutil.copytree(folder / "one", folder / "two")
    path = folder / "two" / "card.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("id: one", "id: two"), encoding="utf-8")

    assert problems(folder) == ["cards/versions.lock:1: two: has no entry for two 1.0.0; run `cds-service cards lock`"]


def test_a_card_without_a_folder_is_told(folder: Path) -> None:
    shutil.rmtree(folder / "one")

    assert problems(folder) == ["cards/versions.lock:1: one: names a card that has no folder; run `cds-service cards lock`"]


def test_a_missing_lock_is_told(folder: Path) -> None:
    (folder / LOCK).unlink()

    assert problems(folder) == ["cards/versions.lock:1: file: is missing; run `cds-service cards lock`"]


def test_a_lock_that_was_edited_badly_is_told_with_its_line(folder: Path) -> None:
    (folder / LOCK).write_text("one: {version: 1.0.0, state: active, content: abc}\n", encoding="utf-8")

    with pytest.raises(KnowledgeError, match=r"cards/versions.lock:1: one.state: unknown name `state`"):
        problems(folder)


def test_the_hash_does_not_depend_on_the_order_of_keys(folder: Path) -> None:
    before = contents(folder, load(folder))
    path = folder / "one" / "card.yaml"
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(dict(reversed(data.items())), sort_keys=False), encoding="utf-8")

    assert contents(folder, load(folder)) == before
