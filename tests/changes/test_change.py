"""A change of a card: who proposes, signs, takes back, and what it still needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cds_service.access.reader import Reader
from cds_service.changes.change import Case, Change, ChangeError, changes, find_change, propose, sign, take_back, withdraw
from cds_service.changes.requirements import requirements
from cds_service.database import Database, open_database
from cds_service.replay.backtest import Backtest, Selection, begin_backtest
from cds_service.replay.run_backtest import run_backtest
from cds_service.settings import Settings
from tests.log_tables import postgres_database
from tests.replay.replayed_log import some_records, write_log

OWNER = Reader("Ann", frozenset({"rule owner"}))
REVIEWER = Reader("Ben", frozenset({"reviewer"}))
CASE = Case("ab" * 16, 5, "quinine-avoid", 1)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return write_log(tmp_path_factory.mktemp("log"), some_records(40))


@pytest.fixture(scope="module")
def proof(settings: Settings) -> Backtest:
    """A finished backtest of the shipped cards over all records, which are of one minute."""
    backtest = begin_backtest(settings, None, None, Selection(0, 0))
    run_backtest(settings, backtest, 1, lambda done, of: None)  # noqa: ARG005
    return backtest


@pytest.fixture
def database(settings: Settings, tmp_path: Path) -> Iterator[Database]:
    with closing(open_database(settings.log_path, tmp_path / "review.sqlite3", writes_review=True)) as opened:
        yield opened


def proposed(database: Database, proof: Backtest, **other: object) -> Change:
    given = {
        "card": "quinine-avoid",
        "card_hash": "c" * 64,
        "candidate": proof.spec.candidate,
        "base": "",
        "backtest": proof.spec.id,
        "signal": 31,
        "why": "It fires for malaria",
        "cases": [CASE],
        "at": 1,
    }
    number = propose(database, OWNER, **(given | other))  # type: ignore[arg-type]
    return found(database, number)


def found(database: Database, number: int) -> Change:
    change = find_change(database, number)
    assert change is not None
    return change


def lacking(database: Database, change: Change, proof: Backtest | None) -> list[str]:
    return [one.name for one in requirements(database, change, proof) if not one.met]


def test_it_is_kept_with_its_reasons(database: Database, proof: Backtest) -> None:
    change = proposed(database, proof)
    assert (change.author, change.signal, change.cases, change.state) == ("Ann", 31, [CASE], "open")
    assert changes(database, signal=31) == [change] == changes(database)
    assert changes(database, signal=30) == [] == changes(database, card="another")


def test_two_people_sign_and_one_can_take_it_back(database: Database, proof: Backtest) -> None:
    number = proposed(database, proof).id
    sign(database, found(database, number), OWNER, at=2)
    with pytest.raises(ChangeError, match="another person"):
        sign(database, found(database, number), Reader(" ann", OWNER.roles), at=3)
    sign(database, found(database, number), REVIEWER, at=4)
    assert [(one.reader, one.owner) for one in found(database, number).signatures] == [("Ann", True), ("Ben", False)]
    take_back(database, found(database, number), OWNER, at=5)
    assert [one.reader for one in found(database, number).signatures] == ["Ben"]
    with pytest.raises(ChangeError, match="not signed"):
        take_back(database, found(database, number), OWNER, at=6)
    assert [one.action for one in found(database, number).steps] == ["signed", "signed", "unsigned"]  # nothing is lost


def test_a_withdrawn_one_takes_no_more_signatures(database: Database, proof: Backtest) -> None:
    number = proposed(database, proof).id
    withdraw(database, found(database, number), OWNER, at=2)
    assert found(database, number).state == "withdrawn"
    with pytest.raises(ChangeError, match="withdrawn"):
        sign(database, found(database, number), REVIEWER, at=3)


@pytest.mark.parametrize(("reader", "why"), [(Reader("", frozenset({"rule owner"})), "x"), (OWNER, "  ")])
def test_nobody_and_no_reason_are_refused(database: Database, proof: Backtest, reader: Reader, why: str) -> None:
    with pytest.raises(ChangeError):
        propose(
            database, reader, card="a", card_hash="", candidate="b", base="", backtest="c", signal=None, why=why, cases=[], at=1
        )


def test_each_missing_thing_is_named(database: Database, proof: Backtest, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = proposed(database, proof, signal=None, cases=[], candidate="other")
    assert lacking(database, bare, proof) == [
        "a reason: a signal, or judged cases",
        "a backtest of exactly this candidate",
        "a backtest over 14 days or 1,000 evaluations of the card",
        "two signatures by different people",
        "one of them a rule owner's",
    ]
    assert "a backtest of exactly this candidate" in lacking(database, bare, None)
    change = proposed(database, proof)
    sign(database, change, REVIEWER, at=2)
    sign(database, found(database, change.id), Reader("Cy", frozenset({"reviewer"})), at=3)
    size = "a backtest over 14 days or 1,000 evaluations of the card"
    assert lacking(database, found(database, change.id), proof) == [size, "one of them a rule owner's"]
    sign(database, found(database, change.id), OWNER, at=4)
    assert lacking(database, found(database, change.id), proof) == [size]
    monkeypatch.setattr("cds_service.changes.requirements.EVALUATIONS", 3)
    assert lacking(database, found(database, change.id), proof) == []


@pytest.mark.loopback
@pytest.mark.enable_socket
def test_on_postgresql_too(settings: Settings, proof: Backtest) -> None:
    from tests.shipping.test_link import ship_all

    with postgres_database() as url:
        ship_all(settings.log_path, url)
        with closing(open_database(settings.log_path, settings.log_path, url, writes_review=True)) as database:
            number = proposed(database, proof).id
            sign(database, found(database, number), OWNER, at=2)
            sign(database, found(database, number), REVIEWER, at=3)
            take_back(database, found(database, number), REVIEWER, at=4)
            assert [one.reader for one in found(database, number).signatures] == ["Ann"]
            assert found(database, number).cases == [CASE]
            assert [one.id for one in changes(database, signal=31)] == [number]
            assert lacking(database, found(database, number), proof)[-1] == "two signatures by different people"
