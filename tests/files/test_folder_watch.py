"""Files that change while they are watched: told once, and only when they rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from cds_service.files.folder_watch import FolderWatch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "card.yaml").write_text("a: 1")
    return tmp_path


def looks(watch: FolderWatch, times: int = 4) -> list[bool]:
    return [watch.changed() for _ in range(times)]


def test_a_change_is_told_once_and_after_a_look_in_which_nothing_moved(folder: Path) -> None:
    watch = FolderWatch([folder])
    assert looks(watch) == [False] * 4
    (folder / "one" / "card.yaml").write_text("a: 12")
    assert looks(watch) == [False, True, False, False]


def test_a_file_that_is_still_being_written_is_waited_for(folder: Path) -> None:
    watch = FolderWatch([folder])
    for text in ("a: 12", "a: 123", "a: 1234"):
        (folder / "one" / "card.yaml").write_text(text)
        assert watch.changed() is False
    assert watch.changed() is True


def test_new_and_deleted_files_count(folder: Path) -> None:
    watch = FolderWatch([folder])
    (folder / "two.yaml").write_text("")
    assert looks(watch, 3) == [False, True, False]
    (folder / "two.yaml").unlink()
    assert looks(watch, 3) == [False, True, False]


def test_what_editors_leave_beside_a_file_does_not_count(folder: Path) -> None:
    watch = FolderWatch([folder, folder / "one" / "card.yaml", folder / "nothing here"])
    for name in (".card.yaml.swp", "card.yaml~", "4913", ".hidden.yaml"):
        (folder / "one" / name).write_text("x")
    assert looks(watch, 3) == [False] * 3
