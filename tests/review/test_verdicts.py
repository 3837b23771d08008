"""Verdicts: which one counts, who reads a case in which role, what a reader sees, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cds_service.database import Database, open_database
from cds_service.review.verdicts import (
    CaseId,
    Opinion,
    VerdictError,
    disputed,
    keep,
    opinion_of,
    readings_of,
    reviewer_name,
    role_of,
    settled,
    visible,
)
from tests.log_tables import make_postgres_log, make_sqlite_log, postgres_database

CASE = CaseId(b"c" * 16, 1_700_000_000_000_000, "quinine-avoid", 2)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.loopback)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    log, review = tmp_path / "alerts.sqlite3", tmp_path / "review.sqlite3"
    if request.param == "sqlite":
        make_sqlite_log(log)
        with closing(open_database(log, review, writes_review=True)) as opened:
            yield opened
    else:
        with postgres_database() as url:
            make_postgres_log(url)
            with closing(open_database(log, review, url, writes_review=True)) as opened:
                yield opened


def give(database: Database, *given: tuple[str, str]) -> None:
    for at, (reviewer, verdict) in enumerate(given):
        keep(database, CASE, reviewer, Opinion(verdict), plan=None, at=at)


@pytest.mark.parametrize(
    ("given", "roles", "stands", "open_dispute"),
    [
        ([], [], None, False),
        ([("Ann", "appropriate")], ["first"], "appropriate", False),
        ([("Ann", "appropriate"), ("Ann", "malfunction")], ["first"], "malfunction", False),
        ([("Ann", "appropriate"), ("Ben", "appropriate")], ["first", "second"], "appropriate", False),
        ([("Ann", "appropriate"), ("Ben", "inappropriate")], ["first", "second"], None, True),
        ([("Ann", "appropriate"), ("Ben", "unsure"), ("Cleo", "unsure")], ["first", "second", "adjudicator"], "unsure", False),
        (
            [("Ann", "appropriate"), ("Ben", "unsure"), ("Cleo", "unsure"), ("Ben", "appropriate")],
            ["first", "second", "adjudicator"],
            "appropriate",
            False,
        ),
    ],
)
def test_the_newest_verdict_of_a_reviewer_counts_and_a_third_settles(
    database: Database, given: list[tuple[str, str]], roles: list[str], stands: str | None, open_dispute: bool
) -> None:
    give(database, *given)
    read = readings_of(database, CASE)
    assert [one.role for one in read] == roles
    standing = settled(read)
    assert (standing.opinion.verdict if standing else None) == stands
    assert disputed(read) == open_dispute
    assert database.one("SELECT count(*) AS n FROM review.verdict") == {"n": len(given)}  # nothing is ever overwritten


def test_the_second_reader_is_blind_and_the_adjudicator_is_not(database: Database) -> None:
    give(database, ("Ann", "appropriate"))
    read = readings_of(database, CASE)
    assert (visible("Ben", read), visible("", read), len(visible("Ann", read))) == ([], [], 1)
    give(database, ("Ben", "inappropriate"))
    read = readings_of(database, CASE)
    assert (len(visible("Ben", read)), len(visible("Cleo", read)), visible("", read)) == (2, 2, [])
    assert (role_of("Ben", read), role_of("Cleo", read)) == ("second", "adjudicator")


@pytest.mark.parametrize(
    ("given", "blind"),
    [
        ([("Ann", "appropriate")], ["appropriate"]),
        ([("Ann", "unsure"), ("Ann", "appropriate"), ("Ben", "malfunction")], ["appropriate", "malfunction"]),
        # Each comes round once the other's verdict is there to be seen.
        ([("Ann", "unsure"), ("Ben", "malfunction"), ("Ben", "unsure")], ["unsure", "malfunction"]),
        ([("Ann", "unsure"), ("Ben", "malfunction"), ("Ann", "malfunction")], ["unsure", "malfunction"]),
    ],
)
def test_agreement_is_that_of_verdicts_given_blind(database: Database, given: list[tuple[str, str]], blind: list[str]) -> None:
    give(database, *given)
    assert [one.blind for one in readings_of(database, CASE)] == blind


def test_a_settled_case_takes_no_further_reader(database: Database) -> None:
    give(database, ("Ann", "appropriate"), ("Ben", "appropriate"))
    assert role_of("Cleo", readings_of(database, CASE)) is None
    with pytest.raises(VerdictError, match="settled"):
        give(database, ("Cleo", "malfunction"))
    give(database, ("Ann", "malfunction"))  # undoing is a new verdict
    assert role_of("Cleo", readings_of(database, CASE)) == "adjudicator"


def test_everything_that_was_said_is_kept(database: Database) -> None:
    said = {"verdict": "malfunction", "response": "later_corrected", "cause": "stale_data", "harm": "minor", "right_time": "on",
            "right_person": "on", "comment": " line one\r\nline two "}  # fmt: skip
    opinion = opinion_of(said)
    keep(database, CASE, "Ann", opinion, plan=None, at=5)
    (read,) = readings_of(database, CASE)
    assert read.opinion == opinion
    assert (opinion.five_rights, opinion.comment, read.at) == (("person", "time"), "line one\nline two", 5)
    assert readings_of(database, CASE._replace(nth=1)) == []


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({}, "verdict: Appropriate, Inappropriate"),
        ({"verdict": "fine"}, "verdict: Appropriate"),
        ({"verdict": "unsure", "harm": "huge"}, "harm: None, Minor"),
        ({"verdict": "unsure", "comment": "x" * 4001}, "4001 characters; at most 4000"),
    ],
)
def test_a_form_that_says_nothing_known_is_refused(form: dict[str, str], says: str) -> None:
    with pytest.raises(VerdictError, match=says):
        opinion_of(form)


@pytest.mark.parametrize(("text", "name"), [("  Ann   Example ", "Ann Example"), ("Ünal 2", "Ünal 2")])
def test_a_name_is_kept_with_single_spaces(text: str, name: str) -> None:
    assert reviewer_name(text) == name


@pytest.mark.parametrize("text", ["", "   ", "x" * 61, "a\x00b", "a\u202eb"])
def test_a_name_that_cannot_be_shown_is_refused(text: str) -> None:
    with pytest.raises(VerdictError):
        reviewer_name(text)
