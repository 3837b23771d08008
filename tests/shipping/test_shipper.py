"""How the shipper paces itself, what it says of itself, and what it deletes."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from cds_service.database import open_database
from cds_service.shipping import new_shipper, shipping_state
from cds_service.shipping.schema import SCHEMA_VERSION, migrate
from cds_service.shipping.shipper import Shipper
from tests.log_rows import AT, DAY, NOW, FileWriter, fill, hashed, micros
from tests.log_tables import postgres_database
from tests.shipped import ask

pytestmark = [pytest.mark.loopback, pytest.mark.usefixtures("socket_enabled")]

NOWHERE = "postgresql://postgres@127.0.0.1:1/nowhere"


class Hands:
    """The clocks of a shipper."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds - 1000)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def database(socket_enabled: None) -> Iterator[str]:
    with postgres_database() as url:
        yield url


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts.sqlite3"


@pytest.fixture
def hands() -> Hands:
    return Hands()


def shipper(path: Path, url: str, hands: Hands) -> Shipper:
    return Shipper(path, url, hands.now, hands.monotonic)


def run(one: Shipper, hands: Hands, steps: int = 100) -> list[float]:
    """Step until there is a pause, and let the time of the pause go by. All pauses."""
    pauses: list[float] = []
    while steps and (not pauses or pauses[-1] == 0.0):
        pauses.append(one.step())
        steps -= 1
    hands.seconds += pauses[-1]
    return pauses


def test_without_a_database_nothing_is_shipped(path: Path) -> None:
    assert new_shipper(path, "") is None


def test_everything_is_shipped_and_said(path: Path, database: str, hands: Hands) -> None:
    fill(path, 1000)
    one = shipper(path, database, hands)
    assert one.health().state == "starting"
    assert one.health().waiting is None
    assert one.step() == 0.0
    assert (one.health().state, one.health().waiting, one.health().shipped) == ("ok", 500, 2000)
    hands.seconds += 3
    assert one.health().lag_seconds == 3
    assert one.step() == 0.5
    health = one.health()
    assert (health.waiting, health.lag_seconds, health.shipped, health.refused, health.last_error) == (0, 0.0, 2500, 0, "")
    one.close()
    assert ask(database, "SELECT last_seq, file_seq, waiting_since FROM log.source") == [(2500, 2500, None)]


def test_pauses_grow_while_the_database_is_away_and_what_waits_is_known(path: Path, hands: Hands, tmp_path: Path) -> None:
    fill(path, 10)
    one = shipper(path, NOWHERE, hands)
    assert [run(one, hands)[-1] for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    health = one.health()
    assert (health.state, health.last_error, health.waiting) == ("failing", "OperationalError: nothing listens there", None)
    assert health.lag_seconds == 91
    one.close()


def test_a_database_that_comes_back_gets_what_waited(path: Path, database: str, hands: Hands) -> None:
    fill(path, 10)
    one = shipper(path, database, hands)
    run(one, hands)
    name = database.rpartition("/")[2]
    with psycopg.connect(database.replace(name, "postgres"), autocommit=True) as server:
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        fill(path, 10, seed=2)
        assert [run(one, hands)[-1] for _ in range(3)] == [1, 2, 4]
        assert (one.health().state, one.health().waiting) == ("failing", 25)
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
    run(one, hands)
    assert (one.health().state, one.health().waiting, one.health().shipped) == ("ok", 0, 50)
    one.close()


def test_lag_is_remembered_over_a_restart(path: Path, database: str, hands: Hands) -> None:
    fill(path, 10)
    first = shipper(path, database, hands)
    run(first, hands)
    first.close()
    hands.seconds += 600
    fill(path, 1500, seed=2)
    second = shipper(path, database, hands)
    second.step()
    assert second.health().lag_seconds == pytest.approx(600.5, abs=1)
    second.close()


def test_refused_records_are_found_by_halving_and_never_block(path: Path, database: str, hands: Hands) -> None:
    fill(path, 200)
    writer = FileWriter(path, seed=5)
    with writer.transaction():
        poisons = [writer.feedback(AT, hashed("x"), reason=f"{n}\0") for n in range(3)]
    writer.close()
    fill(path, 200, seed=6)
    one = shipper(path, database, hands)
    run(one, hands, steps=1000)
    health = one.health()
    assert (health.state, health.waiting, health.refused, health.shipped) == ("ok", 0, 3, 1000)
    assert ask(database, "SELECT count(*) FROM log.call") == [(400,)]
    assert ask(database, "SELECT seq FROM log.unshipped ORDER BY seq") == [(seq,) for seq in poisons]
    one.close()
    with closing(open_database(path, path.with_name("review"), database, writes_review=True)) as readers:
        state = shipping_state(readers)
    assert (state.ships, state.refused, state.untrue, state.waiting, state.lag_seconds(AT)) == (True, 3, 0, 0, 0.0)


def test_readers_of_a_file_are_told_that_nothing_is_shipped(path: Path) -> None:
    FileWriter(path).close()
    with closing(open_database(path, path.with_name("review.sqlite3"), writes_review=True)) as readers:
        assert shipping_state(readers).ships is False


def test_readers_hear_from_a_shipper_that_has_nothing_to_do(path: Path, database: str, hands: Hands) -> None:
    fill(path, 1)
    one = shipper(path, database, hands)
    for _ in range(60):
        run(one, hands)
    one.close()
    with closing(open_database(path, path.with_name("review"), database, writes_review=True)) as readers:
        assert shipping_state(readers).silent_seconds(micros(hands.now())) <= 16


def test_slow_batches_become_small_and_quick_ones_large(path: Path, database: str, hands: Hands) -> None:
    fill(path, 4000)
    one = shipper(path, database, hands)
    slow = iter([2.0] * 12 + [0.0] * 100)
    monotonic = hands.monotonic

    def slower() -> float:  # each look at the clock, of which a batch needs two or more
        hands.seconds += next(slow)
        return monotonic()

    hands.monotonic = slower  # type: ignore[method-assign]
    one._monotonic = slower
    sizes = []
    while one.step() == 0.0:
        sizes.append(one._size)
    one.close()
    assert min(sizes) <= 500
    assert sizes[-1] == 2000


def test_one_process_ships_and_the_next_takes_over(path: Path, database: str, hands: Hands) -> None:
    fill(path, 5)
    first, second = shipper(path, database, hands), shipper(path, database, hands)
    assert first.step() == 0.5
    assert second.step() == 5.0
    assert (second.health().state, second.health().waiting, second.health().lag_seconds) == ("standby", None, 0.0)
    first.close()
    assert second.step() == 0.5
    second.close()


def test_a_newer_schema_stops_shipping_and_says_so(path: Path, database: str, hands: Hands) -> None:
    fill(path, 5)
    with psycopg.connect(database, autocommit=True) as connection:
        migrate(connection)
        connection.execute("UPDATE log.schema_version SET version = %s", (SCHEMA_VERSION + 1,))
    one = shipper(path, database, hands)
    assert one.step() == 60.0
    assert (one.health().state, one.health().last_error) == (
        "stopped",
        f"NewerSchemaError: the log in PostgreSQL has schema {SCHEMA_VERSION + 1}, this program knows {SCHEMA_VERSION}",
    )
    one.close()


def test_a_file_of_another_schema_stops_shipping(path: Path, database: str, hands: Hands) -> None:
    fill(path, 5)
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA user_version = 99")
    one = shipper(path, database, hands)
    assert one.step() == 60.0
    assert one.health().last_error.startswith("SchemaMismatchError: the alert log has schema 99, this program reads ")
    one.close()


def test_a_restored_file_is_counted(path: Path, database: str, hands: Hands) -> None:
    fill(path, 5)
    backup = shutil.copy(path, path.with_name("backup"))
    fill(path, 5, seed=2)
    one = shipper(path, database, hands)
    run(one, hands)
    one.close()
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    shutil.move(backup, path)
    fill(path, 1, seed=3)
    again = shipper(path, database, hands)
    run(again, hands)
    assert (again.health().restored, again.health().waiting) == (1, 0)
    again.close()


OLD = 30 * DAY


def test_records_that_are_shipped_and_old_are_deleted_but_for_the_last(path: Path, database: str, hands: Hands) -> None:
    canary = b"canary of an old body"
    writer = FileWriter(path)
    with writer.transaction():
        refused = writer.feedback(AT - OLD, hashed("x"), reason="\0")
        for _ in range(120):
            call_id = writer.call(AT - OLD, body=canary)
            writer.delivery(AT - OLD, call_id)
            writer.feedback(AT - OLD, hashed("y"))
        writer.call(AT - 6 * DAY)
    one = shipper(path, database, hands)
    run(one, hands, 1000)
    assert one.health().deleted == 360
    one.close()
    left = {
        table: writer.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - written here
        for table in ("call", "body", "card", "ordered", "delivery", "feedback")
    }
    assert left == {"call": 1, "body": 1, "card": 1, "ordered": 1, "delivery": 0, "feedback": 1}
    assert writer.connection.execute("SELECT seq FROM feedback").fetchall() == [(refused,)]
    writer.close()
    assert [one for one in path.parent.iterdir() if canary in one.read_bytes()] == []
    assert ask(database, "SELECT count(*) FROM log.body") == [(121,)]
    # The watermark's record is there, so that the file is not taken for another one.
    again = shipper(path, database, hands)
    run(again, hands)
    assert (again.health().restored, again.health().shipped) == (0, 0)
    again.close()


def test_what_is_not_shipped_is_not_deleted(path: Path, database: str, hands: Hands) -> None:
    fill(path, 50, begin=AT - OLD)
    one = shipper(path, NOWHERE, hands)
    run(one, hands)
    one.close()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT count(*) FROM call").fetchone() == (50,)


def test_the_thread_ships_and_ends_soon(path: Path, database: str) -> None:
    fill(path, 300)
    one = Shipper(path, database, lambda: NOW)
    one.start()
    while one.health().waiting != 0:
        time.sleep(0.01)
    one.stop()
    assert one._thread is not None
    assert not one._thread.is_alive()
    assert ask(database, "SELECT count(*) FROM log.call") == [(300,)]
