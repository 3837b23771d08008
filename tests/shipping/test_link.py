"""What arrives in PostgreSQL, once each and in its own words, whatever happened to the file in between."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from cds_service.shipping.link import Link, Moved, RecordRefusedError
from cds_service.shipping.own_ids import DictionaryConflictError
from cds_service.shipping.schema import SCHEMA_VERSION, NewerSchemaError, migrate
from cds_service.shipping.tables import SETS, TABLES
from tests.log_rows import AT, DAY, NOW, FileWriter, fill, hashed
from tests.log_tables import postgres_database
from tests.shipped import ask, assert_same

pytestmark = [pytest.mark.loopback, pytest.mark.usefixtures("socket_enabled")]


@pytest.fixture
def database(socket_enabled: None) -> Iterator[str]:
    with postgres_database() as url:
        yield url


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts.sqlite3"


def ship_all(path: Path, url: str, size: int = 500) -> list[Moved]:
    """Ship until nothing is left; what each step did."""
    steps: list[Moved] = []
    with closing(Link(path, url)) as link:
        while not (steps and steps[-1].whole):
            steps.append(link.move(size, NOW))
    return steps


def every_kind(path: Path) -> None:
    """Each kind of record, and what calls refer to."""
    writer = FileWriter(path)
    with writer.transaction():
        missing = writer.connection.execute(
            "INSERT INTO missing_set (digest) VALUES (?) RETURNING id", (hashed("m"),)
        ).fetchone()[0]
        writer.insert("missing_of_set", set_id=missing, card=writer.name("a"), criterion=writer.name("b"), cause=0, n=2)
        writer.insert("dictionary", id=1_234_567_890, made_at=AT, content=b"a dictionary")
        writer.insert("knowledge", hash=writer.name("feed" * 16), archived_at=AT, content=b"cards")
        call_id = writer.call(AT, cards=2, missing_set=missing)
        writer.call(AT + 1, repeat_of=call_id, cards=0)
        writer.delivery(AT, call_id)
        writer.record("withdrawal", received_at=AT, call_id=call_id, at=AT + 5)
        writer.feedback(AT + 9, hashed("uuid"), reason="not-indicated")
        seen = {"tenant": 0, "client": writer.name("ehr")}
        for _ in range(2):  # equal counts of two processes are two records
            writer.record("refusal", received_at=AT, **seen, hook=0, status=401, reason=writer.name("expired"), n=3)
        kind = writer.name("call")
        writer.record("quarantine", received_at=AT, kind=kind, record_id="x", error="TypeError", service=0, **seen, item="")
        writer.record("sealed", received_at=AT, of=call_id, kind=writer.name("patient"), key_id=1, content=b"sealed")
        writer.record("key_pair", received_at=AT, kind=writer.name("patient"), old_key=1, old=b"o", new_key=2, new=b"n")
    writer.close()


def test_every_kind_of_record_arrives_in_its_own_words(path: Path, database: str) -> None:
    every_kind(path)
    with psycopg.connect(database, autocommit=True) as connection:  # so that ids differ from those of the file
        migrate(connection)
        connection.execute("INSERT INTO log.name (text) SELECT 'other ' || n FROM generate_series(1, 50) AS n")
    assert [(one.records, one.whole) for one in ship_all(path, database)] == [(10, True)]
    assert_same(path, database)
    assert ask(database, "SELECT id, content FROM log.dictionary") == [(1_234_567_890, b"a dictionary")]
    assert ask(database, "SELECT text, content FROM log.knowledge JOIN log.name ON id = hash") == [("feed" * 16, b"cards")]


def test_every_column_of_the_file_is_shipped(path: Path) -> None:
    FileWriter(path).close()
    with closing(sqlite3.connect(path)) as file:
        for table in TABLES:
            columns = {row[1] for row in file.execute(f"PRAGMA table_info({table.name})")}
            assert columns - {"seq"} == set(table.columns) - (
                {"tenant", "received_at", "call_id"} if table.name == "body" else set()
            )
        for kind in SETS:
            assert {row[1] for row in file.execute(f"PRAGMA table_info({kind.members})")} == {"set_id", *kind.columns}


def test_batches_go_on_where_the_last_one_ended_and_a_second_time_nothing_moves(path: Path, database: str) -> None:
    fill(path, 300)
    assert sum(one.records for one in ship_all(path, database, size=70)) == 750
    assert_same(path, database)
    assert [one.records for one in ship_all(path, database)] == [0]
    fill(path, 40, seed=2)
    assert sum(one.records for one in ship_all(path, database)) == 100
    assert_same(path, database)


def test_two_files_are_two_sources_and_share_names(tmp_path: Path, database: str) -> None:
    for number in (1, 2):
        fill(tmp_path / f"{number}.sqlite3", 50, seed=number)
        ship_all(tmp_path / f"{number}.sqlite3", database)
    assert ask(database, "SELECT last_seq FROM log.source") == [(125,), (125,)]
    assert ask(database, "SELECT count(*), count(DISTINCT source) FROM log.call") == [(100, 2)]
    assert ask(database, "SELECT count(*) FROM log.outcome_set") == [
        (len(ask(database, "SELECT DISTINCT outcome_set FROM log.call")),)
    ]


def test_a_file_restored_from_a_backup_is_recognised_and_shipped_again_without_doubles(path: Path, database: str) -> None:
    fill(path, 100)
    ship_all(path, database)
    backup = path.with_name("backup")
    shutil.copy(path, backup)
    fill(path, 20, begin=AT + DAY, seed=2)  # these are lost with the disk, but not in PostgreSQL
    ship_all(path, database)
    number = ask(database, "SELECT number FROM log.source")
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    shutil.move(backup, path)
    fill(path, 50, begin=AT + 2 * DAY, seed=3)  # with numbers that were given out before
    steps = ship_all(path, database)
    assert steps[0].restored
    assert sum(one.records for one in steps) == 250 + 125
    assert ask(database, "SELECT count(*), count(DISTINCT id) FROM log.call") == [(170, 170)]
    assert ask(database, "SELECT count(*), count(DISTINCT id) FROM log.feedback") == [(85, 85)]
    assert ask(database, "SELECT restored FROM log.source") == [(1,)]
    # New records have another number of their source: for each, sequence numbers grow.
    assert ask(database, "SELECT number FROM log.source") != number
    assert ask(database, "SELECT count(*), count(DISTINCT (source, seq)) FROM log.call") == [(170, 170)]


def test_a_shorter_file_is_recognised_too(path: Path, database: str) -> None:
    fill(path, 10)
    ship_all(path, database)
    with closing(sqlite3.connect(path)) as file, file:
        for table in ("call", "delivery", "feedback"):
            file.execute(f"DELETE FROM {table} WHERE seq > 12")  # noqa: S608 - written here
        file.execute("UPDATE source SET last_seq = 12")
    assert [one.restored for one in ship_all(path, database)] == [True, False]
    assert ask(database, "SELECT count(*) FROM log.call") == [(10,)]


@pytest.mark.parametrize("poison", ["a\0b", "x\0", "y" * 2_000_000])
def test_a_record_that_postgres_refuses_is_named_and_moves_nothing(path: Path, database: str, poison: str) -> None:
    fill(path, 3)
    writer = FileWriter(path, seed=9)
    with writer.transaction():
        for n in range(len(poison) // 1000):  # so that it can't be compressed below the limit of an index row
            poison = poison.replace("y" * 1000, hashed(f"{n}").hex() * 30, 1)
        seq = writer.feedback(AT, hashed("x"), reason=poison)
    writer.close()
    with closing(Link(path, database)) as link:
        with pytest.raises(RecordRefusedError):
            link.move(100, NOW)
        assert ask(database, "SELECT count(*) FROM log.call") == [(0,)]
        assert link.move(seq - 1, NOW).records == seq - 1
        with pytest.raises(RecordRefusedError):
            link.move(1, NOW)
        assert link.set_aside("DataError", NOW) == "feedback"
        assert link.move(1, NOW).whole
        assert link.set_aside_seqs() == {seq}
    assert ask(database, "SELECT kind, error FROM log.unshipped") == [("feedback", "DataError")]


def test_a_name_that_the_file_lacks_is_the_fault_of_its_record(path: Path, database: str) -> None:
    writer = FileWriter(path)
    with writer.transaction():
        writer.call(AT, outcome=999_999)
    writer.close()
    with closing(Link(path, database)) as link, pytest.raises(RecordRefusedError, match="KeyError"):
        link.move(1, NOW)


def test_a_disk_without_room_is_no_fault_of_a_record(path: Path, database: str) -> None:
    fill(path, 3)
    with psycopg.connect(database, autocommit=True) as connection:
        migrate(connection)
        connection.execute(
            """CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$"""
        )
        connection.execute("CREATE TRIGGER disk_full BEFORE INSERT ON log.feedback FOR EACH ROW EXECUTE FUNCTION disk_full()")
    with closing(Link(path, database)) as link, pytest.raises(psycopg.errors.DiskFull):
        link.move(10, NOW)


def test_another_dictionary_under_the_same_id_stops_shipping(path: Path, database: str) -> None:
    every_kind(path)
    with psycopg.connect(database, autocommit=True) as connection:
        migrate(connection)
        connection.execute("INSERT INTO log.dictionary VALUES (1234567890, 0, 'another')")
    with closing(Link(path, database)) as link, pytest.raises(DictionaryConflictError):
        link.move(10, NOW)
    assert ask(database, "SELECT count(*) FROM log.call") == [(0,)]


def test_a_newer_schema_is_refused(path: Path, database: str) -> None:
    fill(path, 1)
    with psycopg.connect(database, autocommit=True) as connection:
        migrate(connection)
        connection.execute("UPDATE log.schema_version SET version = %s", (SCHEMA_VERSION + 1,))
    with pytest.raises(NewerSchemaError, match=f"has schema {SCHEMA_VERSION + 1}"):
        Link(path, database)


def test_records_go_to_partitions_of_their_month_and_untrue_ones_to_the_default(path: Path, database: str) -> None:
    writer = FileWriter(path)
    with writer.transaction():
        for days in (0, -300, -40, 5000, -9000):
            writer.call(AT + days * DAY)
    writer.close()
    assert [one.untrue for one in ship_all(path, database)] == [2 * 4]  # call, body, card, ordered
    parts = "SELECT tableoid::regclass::text, count(*) FROM log.call GROUP BY 1 ORDER BY 1"
    assert ask(database, parts) == [
        ("log.call_2026_01", 1),
        ("log.call_2026_10", 1),
        ("log.call_2026_11", 1),
        ("log.call_elsewhen", 2),
    ]
    ahead = ask(database, "SELECT to_regclass('log.card_2027_01') IS NOT NULL, to_regclass('log.card_2027_02') IS NULL")
    assert ahead == [(True, True)]
    # When that month comes after all, its rows move into the partition that is made then.
    with closing(Link(path, database)) as link:
        fill(path, 1, begin=AT + 5000 * DAY, seed=7)
        link.move(10, NOW + timedelta(days=5000))
    assert ask(database, "SELECT count(*) FROM log.call_elsewhen") == [(1,)]
    assert_same(path, database)


def test_views_for_people_show_words_and_times(path: Path, database: str) -> None:
    every_kind(path)
    ship_all(path, database)
    query = (
        "SELECT client, hook, outcome, (received_at AT TIME ZONE 'UTC')::text FROM log.readable_call ORDER BY received_at LIMIT 1"
    )
    assert ask(database, query) == [("ehr", "order-sign", "fired", "2026-11-20 12:00:00")]
    assert ask(database, "SELECT state, mode, indicator FROM log.readable_card LIMIT 1") == [("shown", "live", "warning")]
    assert ask(database, "SELECT outcome, reason_code FROM log.readable_feedback") == [("overridden", "not-indicated")]


@pytest.mark.parametrize("table", ["call", "delivery", "withdrawal", "feedback", "refusal"])
def test_new_records_of_a_source_are_found_by_an_index(database: str, table: str) -> None:
    """Those who count the log ask every few seconds for what came since, of tables with millions of rows."""
    with psycopg.connect(database, autocommit=True) as connection:
        migrate(connection)
        query = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'log' AND tablename = %s AND indexdef LIKE '%%(source, seq)'"
        assert connection.execute(query, (table,)).fetchone() == (1,)
