"""Made-up records never stand among those of a service."""

from __future__ import annotations

import asyncio
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cds_service.alert_log import AlertLog
from cds_service.demo.clients import CLIENTS
from cds_service.demo.mark import Mark, read_mark, write_mark
from cds_service.demo.target import ForeignLogError, clear_for, made_up_cards, review_line
from tests.alert_log_samples import START, a_call

MARK = Mark(days=1, calls_per_day=10, seed=1, until=START, written_at=START)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts.sqlite3"


def write(path: Path, *clients: str) -> bytes:
    """Write a log of a call of each client, and return the bytes of its file."""

    async def append() -> None:
        log = AlertLog(path)
        log.start()
        for client in clients:
            assert await log.append(a_call(client=client))
        await log.close()

    asyncio.run(append())
    return path.read_bytes()


def clear(path: Path) -> None:
    clear_for(path, path.with_name("review.sqlite3"))


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    clear(tmp_path / "a" / "b" / "alerts.sqlite3")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_log_without_calls_is_used_as_it_is(path: Path) -> None:
    before = write(path)
    clear(path)
    assert path.read_bytes() == before


def test_an_earlier_made_up_log_is_removed_with_what_was_counted_of_it(path: Path) -> None:
    write(path, *(one.name for one in CLIENTS))
    write_mark(path, MARK)
    path.with_name("review.sqlite3").touch()
    clear(path)
    assert not path.exists()
    assert not path.with_name("review.sqlite3").exists()


def test_records_of_a_service_are_refused_even_where_its_clients_have_the_same_names(path: Path) -> None:
    before = write(path, CLIENTS[0].name)
    with pytest.raises(ForeignLogError, match="holds records of a service"):
        clear(path)
    assert path.read_bytes() == before


def test_a_made_up_log_that_a_service_used_since_is_refused(path: Path) -> None:
    before = write(path, CLIENTS[0].name, "anonymous")
    write_mark(path, MARK)
    with pytest.raises(ForeignLogError, match="added calls of anonymous since"):
        clear(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_log_is_refused(path: Path) -> None:
    path.write_bytes(b"notes of somebody, which are no database at all" * 100)
    with pytest.raises(ForeignLogError, match="can't be read as an alert log"):
        clear(path)
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(ForeignLogError, match="can't be read as an alert log"):
        clear(path)


def test_a_mark_says_how_far_a_log_is(path: Path) -> None:
    assert read_mark(path) is None
    write_mark(path, MARK)
    assert read_mark(path) == MARK
    assert MARK.share == 0


def test_the_cards_of_an_earlier_made_up_log_go_with_it(path: Path) -> None:
    write(path, CLIENTS[0].name)
    write_mark(path, MARK)
    made_up_cards(path).mkdir()
    clear(path)
    assert not made_up_cards(path).exists()


def test_the_line_that_starts_the_pages_names_log_and_cards(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    log, cards, *command = shlex.split(review_line(folder / "alerts.sqlite3"))
    assert log == f"CDS_LOG_PATH={folder / 'alerts.sqlite3'}"
    assert cards == f"CDS_CARDS_DIR={made_up_cards(folder / 'alerts.sqlite3')}"
    assert command == ["cds-service", "review"]
