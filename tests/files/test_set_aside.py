"""Files that can't be used get out of the way under a name that says why, once, with all that belongs to them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cds_service.files.set_aside import files_set_aside, lock_beside, set_aside

AT = datetime(2026, 3, 1, 10, 5, 31, tzinfo=UTC)
NAME = "log.damaged-20260301T100531Z"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.write_text("broken")
    return path


def test_the_name_says_why_and_when_and_the_write_ahead_log_goes_along(path: Path) -> None:
    for ending in ("-wal", "-shm"):
        path.with_name(f"log{ending}").write_text(ending)
    kept = set_aside(path, "damaged", AT)
    assert kept == path.with_name(NAME)
    assert kept.read_text() == "broken"
    assert {one.name for one in path.parent.iterdir()} == {NAME, f"{NAME}-wal", "log-lock"}
    assert path.with_name(f"{NAME}-wal").read_text() == "-wal"
    assert files_set_aside(path.parent) == [NAME]


def test_a_second_one_of_the_same_second_gets_a_name_of_its_own(path: Path) -> None:
    set_aside(path, "damaged", AT)
    path.write_text("broken again")
    assert set_aside(path, "damaged", AT) == path.with_name(f"{NAME}-2")
    assert files_set_aside(path.parent) == [NAME, f"{NAME}-2"]


def test_what_another_process_has_put_in_its_place_stays(path: Path) -> None:
    seen = path.stat()
    path.rename(path.with_name("elsewhere"))
    assert set_aside(path, "damaged", AT, seen) is None
    path.write_text("new")
    assert set_aside(path, "damaged", AT, seen) is None
    assert path.read_text() == "new"


def test_of_a_link_the_file_behind_it_goes(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    assert set_aside(link, "foreign", AT) == path.with_name("log.foreign-20260301T100531Z")
    assert link.is_symlink()


def test_one_waits_for_the_other(path: Path) -> None:
    done = threading.Event()

    def other() -> None:
        set_aside(path, "damaged", AT)
        done.set()

    with lock_beside(path):
        thread = threading.Thread(target=other)
        thread.start()
        assert not done.wait(0.05)
        assert path.exists()
    thread.join()
    assert not path.exists()


def test_other_names_are_not_among_them(tmp_path: Path) -> None:
    for name in ("log", "log.damaged", "log.before-restore-20260301T100531Z", f"{NAME}-wal"):
        (tmp_path / name).touch()
    assert files_set_aside(tmp_path) == []
    assert files_set_aside(tmp_path / "missing") == []
