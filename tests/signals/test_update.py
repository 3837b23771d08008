"""From a log to signals: found once, the same again, and gone where late records say otherwise; in both databases."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cds_service.alert_log.instants import micros
from cds_service.alert_log.sealing import sealing_key
from cds_service.clock import Clock
from cds_service.database import Database, open_database
from cds_service.rollups.days import SiteDays, plus
from cds_service.rollups.rollup import roll_up
from cds_service.signals.finding import Finding, Kind, Place
from cds_service.signals.hourly import find_hourly
from cds_service.signals.inbox import Signal, signals
from cds_service.signals.keeper import SignalKeeper
from cds_service.signals.store import Renewed, add_entry, keep, ran_at, watches
from cds_service.signals.update import update_signals
from tests.log_tables import make_sqlite_log
from tests.review.sample_log import CLIENTS, NOW, TENANT, write_sample_log
from tests.rollups.compare import merged
from tests.rollups.conftest import Made, made_log
from tests.rollups.synthetic import Shape, SyntheticLog

DAYS = SiteDays("UTC")
TODAY = 20261127
HERE = Place("north", "ehr-a", "quinine-avoid")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.loopback)])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Made]:
    with made_log(request.param, tmp_path) as one:
        yield one


def now() -> datetime:
    return NOW


def finding(day: int, fired: int = 20, kind: Kind = "fire_rate", place: Place = HERE, subject: str = "") -> Finding:
    return Finding(kind, place, day, 4.2, {"fired": fired, "of": 100, "usual": 0.1, "z": 4.2}, subject)


def stored(database: Database) -> list[Signal]:
    return signals(database, DAYS, TODAY)


WEEK = [Renewed(("fire_rate",), 20261120)]


def test_the_same_findings_again_change_nothing(made: Made) -> None:
    database, found = made.database, [finding(20261121), finding(20261122)]
    (number,) = keep(database, found, WEEK, at=5)
    before = stored(database)
    assert keep(database, found, WEEK, at=6) == []
    assert stored(database) == before
    assert [one.id for one in before] == [number]
    assert [(one.day, one.size) for one in before[0].sightings] == [(20261121, 2.0), (20261122, 2.0)]
    assert before[0].axes.effect == "over"
    assert before[0].axes.discovery == "automatic"
    assert signals(database, DAYS, TODAY, number) == before
    assert signals(database, DAYS, TODAY, number + 1) == []


def test_late_records_take_sightings_away_but_not_those_of_other_days_or_kinds(made: Made) -> None:
    database = made.database
    other = finding(20261121, kind="release_step", subject="version 1.1.0")
    keep(database, [finding(20261101), finding(20261121), other], WEEK, at=5)
    keep(database, [finding(20261101)], WEEK, at=6)
    assert {(one.kind, one.sightings[-1].day) for one in stored(database)} == {
        ("fire_rate", 20261101),
        ("release_step", 20261121),
    }
    keep(database, [], [Renewed(("fire_rate", "release_step"), 0)], at=7)
    assert stored(database) == []


def test_what_somebody_worked_on_stays_when_nothing_shows_it_any_more(made: Made) -> None:
    database = made.database
    (number,) = keep(database, [finding(20261121)], WEEK, at=5)
    add_entry(database, number, 6, "reviewer 1", "comment", "a new ward")
    keep(database, [], WEEK, at=7)
    (left,) = stored(database)
    assert (left.sightings, left.state) == ([], "ongoing")


def test_the_order_of_the_inbox(made: Made) -> None:
    """What may harm a patient first, seen lately before seen long ago, untouched before taken up."""
    database = made.database
    found = [
        finding(20261126, kind="code_new", subject="lab K-7"),
        finding(20261101, place=Place("north", "ehr-a", "baclofen-safety")),
        finding(20261126),
        finding(20261126, kind="release_step", subject="version 1.1.0"),
        finding(20261126, kind="verdict", place=Place("north", "ehr-b", "quinine-avoid")),
    ]
    keep(database, found, [], at=5)
    taken = next(one for one in stored(database) if one.kind == "verdict")
    add_entry(database, taken.id, 6, "reviewer 1", "assigned", "reviewer 1")
    order = [(one.kind, one.place.card) for one in stored(database)]
    assert [kind for kind, _ in order] == ["release_step", "fire_rate", "code_new", "fire_rate", "verdict"]
    assert order[3][1] == "baclofen-safety"


def test_detectors_run_on_any_log_and_again(made: Made) -> None:
    shape = Shape(calls=300, days=15, cards=2, clients=2, users=4, patients=30, first=datetime(2026, 11, 11, tzinfo=UTC))
    log = SyntheticLog(shape)
    made.filler.start(log)
    made.filler.fill(log, merged(log.days()))
    roll_up(made.database, DAYS, now)
    first = update_signals(made.database, DAYS, now, None)
    before = stored(made.database)
    again = update_signals(made.database, DAYS, now, sealing_key("0" * 32, 1))
    assert stored(made.database) == before
    assert again.new == []
    states = {(one.kind, one.state) for one in watches(made.database)}
    # Of two weeks no hour of the week is known; and a database that no machine reports to may lack any hour.
    assert {state for kind, state in states if kind == "client_stopped"} <= {"learning", "no_data"}
    assert any(kind == "fire_rate" for kind, _ in states)
    assert {one.why for one in first.watches if one.kind == "comments"} == {"comments are not kept: there is no CDS_REVEAL_KEY"}
    assert ran_at(made.database) == micros(NOW)
    assert made.database.rows("SELECT count(*) AS n FROM review.body_day")[0]["n"] == 15


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up log of five weeks, in whose last third one card has a new version."""
    path = tmp_path_factory.mktemp("sample") / "alerts.sqlite3"
    write_sample_log(path, days=34, calls_a_day=160)
    return path


@contextmanager
def counted(log: Path, folder: Path, clock: Clock) -> Iterator[Database]:
    """Lend the log with counts of its own, looked at by the clock."""
    with closing(open_database(log, folder / "review.sqlite3", limit_ms=None, writes_review=True)) as database:
        roll_up(database, DAYS, clock)
        update_signals(database, DAYS, clock, None)
        yield database


def opened(folder: Path) -> Database:
    return open_database(folder / "alerts.sqlite3", folder / "review.sqlite3", limit_ms=None, writes_review=True)


def test_a_card_that_fires_more_since_its_version_at_one_client_is_first(sample: Path, tmp_path: Path) -> None:
    """The made-up log has one such card, at the second client, and nobody tells the detectors."""
    with counted(sample, tmp_path, now) as database:
        first, *others = stored(database)
        assert (first.kind, first.place) == ("release_step", Place(TENANT, CLIENTS[1], "quinine-avoid"))
        assert first.subject == "version 1.1.0"
        assert first.axes.initiation == "version"
        assert not any(one.kind == "release_step" for one in others)
        # Its rate is the usual one of its version, and the place is still not said to be fine.
        (watched,) = [one for one in watches(database) if (one.kind, one.place) == ("fire_rate", first.place)]
        assert watched.state == "alarm"


def test_before_the_version_there_is_no_such_signal(sample: Path, tmp_path: Path) -> None:
    with counted(sample, tmp_path, lambda: NOW - timedelta(days=14)) as database:
        assert not any(one.kind == "release_step" for one in stored(database))


def write_hours(database: Database, calls: int, *, until: int, hour: int, silent: tuple[int, ...] = ()) -> None:
    """Write the counts of a client that has `calls` in one hour of each day, none on the `silent` days."""
    database.execute("INSERT INTO review.rollup_state VALUES (1, 'UTC', :at, 0)", at=micros(NOW))
    for back in range(64):
        day = plus(until, -back)
        database.execute("INSERT INTO review.rolled_day VALUES (:day, 0)", day=day)
        for number in (0, hour):
            n = 0 if day in silent else calls if number == hour else 1
            if n:
                values = {"day": day, "hour": number, "n": n, "failed": n // 10 if day == until else 0, "all": 8 * n}
                database.execute(
                    "INSERT INTO review.daily_hour VALUES (:day, 7001, 7002, :hour, :n, :failed, 0, :all, 1)", **values
                )


def hourly_kinds(folder: Path, calls: int, silent: tuple[int, ...]) -> tuple[set[tuple[str, int]], dict[str, str]]:
    path = folder / "alerts.sqlite3"
    make_sqlite_log(path)
    with closing(sqlite3.connect(path)) as log, log:
        log.execute("INSERT INTO name (id, text) VALUES (7001, 'north'), (7002, 'ehr-a')")
    with closing(opened(folder)) as database:
        write_hours(database, calls, until=TODAY, hour=9, silent=silent)
        found = find_hourly(database, DAYS, micros(NOW))
        return {(one.kind, one.day) for one in found.findings}, {one.kind: one.state for one in found.watches}


def test_a_client_that_stopped_and_hours_with_errors_are_found(tmp_path: Path) -> None:
    found, states = hourly_kinds(tmp_path, 40, silent=(20261125,))
    assert found == {("client_stopped", 20261125), ("server_errors", TODAY)}
    assert states == {"client_stopped": "normal", "server_errors": "alarm", "not_checked": "normal", "slow": "normal"}


def test_of_a_client_with_few_calls_a_silent_hour_says_nothing(tmp_path: Path) -> None:
    found, states = hourly_kinds(tmp_path, 19, silent=(20261125,))
    assert found == set()
    assert states["client_stopped"] == "no_data"


def test_an_empty_log_is_no_data_and_never_fine(made: Made) -> None:
    roll_up(made.database, DAYS, now)
    assert update_signals(made.database, DAYS, now, None) == ([], [])
    assert watches(made.database) == []


def test_the_keeper_survives_a_fault_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    write_sample_log(tmp_path / "alerts.sqlite3", days=2, calls_a_day=3)
    with closing(opened(tmp_path)) as database:
        roll_up(database, DAYS, now)
    keeper = SignalKeeper(lambda: opened(tmp_path), DAYS, now, None, threading.Event())
    with monkeypatch.context() as patched:
        patched.setattr("cds_service.signals.keeper.update_signals", broken)
        keeper.step()
    assert keeper.failing
    keeper.step()
    assert not keeper.failing


def test_the_keeper_waits_for_the_counts_and_survives_a_database_that_is_away(tmp_path: Path) -> None:
    counted_once = threading.Event()
    keeper = SignalKeeper(lambda: opened(tmp_path), DAYS, now, None, counted_once, every=0.001)
    keeper.step()
    assert keeper.failing  # there is no log
    write_sample_log(tmp_path / "alerts.sqlite3", days=2, calls_a_day=3)
    with closing(opened(tmp_path)) as database:
        roll_up(database, DAYS, now)
        keeper.step()
        assert not keeper.failing
        assert ran_at(database) == micros(NOW)
    keeper.start()
    counted_once.set()
    keeper.stop()
