"""What is wrong with a file is found and said; a file that is right passes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from cds_service.alert_log.deletion import Deletion
from cds_service.alert_log.instants import micros
from cds_service.alert_log.store import Store
from cds_service.backup.verification import hash_of, verify_log, verify_review
from cds_service.database import open_database
from tests.alert_log.bad_files import BAD, Spoil
from tests.alert_log_samples import START, a_call, a_card, a_feedback


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "alerts.sqlite3"
    with closing(Store(path)) as store:
        for n in range(30):
            store.append([a_call(a_card(f"u{n}")), a_feedback(f"u{n}")])
    return path


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_a_good_one_passes_and_its_rows_are_counted(path: Path) -> None:
    verified = verify_log(path)
    assert verified.problems == []
    assert (verified.rows["call"], verified.rows["card"], verified.rows["feedback"]) == (30, 30, 30)
    assert verified.newest == START
    assert verified.deleted == 0


@pytest.mark.parametrize(("spoil", "_"), BAD.values(), ids=BAD)
def test_no_bad_one_passes(path: Path, spoil: Spoil, _: str) -> None:
    spoil(path)
    assert verify_log(path).problems != []


@pytest.mark.parametrize(
    ("statements", "problem"),
    [
        (
            ["DELETE FROM call WHERE seq = 11", "DELETE FROM card WHERE call_id NOT IN (SELECT id FROM call)"],
            "records 11 to 11",
        ),
        (["DELETE FROM feedback WHERE seq >= 58"], "records 60 to 60 are missing"),
        (["UPDATE source SET last_seq = 7"], "the newest record has number 60"),
        (["UPDATE feedback SET seq = 11 WHERE seq = 12"], "sequence number 11 stands twice"),
        (["DELETE FROM call WHERE seq = 11"], "1 rows of `card` belong to no call"),
        (["UPDATE body SET content = x'00' WHERE seq = 11"], "1 bodies of calls can't be read"),
        (["UPDATE body SET content = substr(content, 1, length(content) - 4)"], "30 bodies of calls can't be read"),
        (["INSERT INTO knowledge VALUES (0, 0, x'00')"], "a version of the knowledge can't be unpacked"),
    ],
)
def test_what_is_missing_or_unreadable_is_said(path: Path, statements: list[str], problem: str) -> None:
    change(path, *statements)
    assert any(one.startswith(problem) for one in verify_log(path).problems), verify_log(path).problems


def test_an_index_that_lies_is_found(path: Path) -> None:
    change(
        path,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, '(card_uuid)', '(outcome)') WHERE name = 'feedback_of_card'",
    )
    assert any(one.startswith("integrity: ") for one in verify_log(path).problems)


def test_what_a_purge_leaves_is_no_damage(path: Path) -> None:
    with closing(Store(path)) as store:
        store.append([a_call(a_card("new"), received_at=START + timedelta(days=100))])
    with Deletion(path) as deletion:
        while deletion.delete_some(micros(START + timedelta(days=1)), 1 << 40):
            pass
    verified = verify_log(path)
    assert verified.problems == []
    assert (verified.rows["call"], verified.deleted) == (1, 60)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    for verify in (verify_log, verify_review):
        with pytest.raises(FileNotFoundError):
            verify(tmp_path / "none")


def test_the_review_database_passes_and_others_do_not(path: Path) -> None:
    review = path.with_name("review.sqlite3")
    open_database(path, review, writes_review=True).close()
    assert verify_review(review).problems == []
    assert verify_review(path).problems == ["it is no review database"]
    change(review, "PRAGMA user_version = 999")
    assert verify_review(review).problems[0].startswith("a newer version")
    review.write_bytes(b"noise " * 2000)
    assert verify_review(review).problems == ["it is damaged (file is not a database)"]


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert hash_of(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
