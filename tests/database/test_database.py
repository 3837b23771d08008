"""The same statements on both databases, and what is raised where one can't be used."""

from __future__ import annotations

import secrets
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from cds_service.database import (
    WITHDRAWN,
    Database,
    DatabasePool,
    DatabaseUnavailableError,
    SchemaMismatchError,
    StatementTooLongError,
    open_database,
    review_path,
)
from cds_service.database.causes import described
from cds_service.database.migrations import for_dialect
from cds_service.database.review_tables import REVIEW_MIGRATIONS
from cds_service.database.statement import prepared
from cds_service.settings import Settings
from tests.log_tables import make_postgres_log, make_sqlite_log, postgres_database

Opened = Callable[..., Database]
BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.loopback)]
ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000000) SELECT count(*) AS n FROM n"


@contextmanager
def an_opener(dialect: str, folder: Path) -> Iterator[Opened]:
    log, review = folder / "alerts.sqlite3", folder / "review.sqlite3"
    if dialect == "sqlite":
        make_sqlite_log(log)
        yield lambda **how: open_database(log, review, **how)
    else:
        with postgres_database() as url:
            make_postgres_log(url)
            yield lambda **how: open_database(log, review, url, **how)


@pytest.fixture(params=BOTH)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    made: list[Database] = []

    with an_opener(request.param, tmp_path) as opener:

        def open_one(**how: object) -> Database:
            made.append(opener(**how))
            return made[-1]

        yield open_one
        for one in made:
            one.close()


COUNTED = "INSERT INTO review.rolled_day (day, computed_at) VALUES (:day, :at)"


def test_rows_are_read_and_written_by_name(opened: Opened) -> None:
    database = opened(writes_review=True)
    database.execute_many(COUNTED, [{"day": day, "at": day * 10} for day in (1, 2, 3, 4)])
    assert database.rows("SELECT day, computed_at FROM review.rolled_day WHERE day > :day ORDER BY day LIMIT 2", day=1) == [
        {"day": 2, "computed_at": 20},
        {"day": 3, "computed_at": 30},
    ]
    assert database.one("SELECT count(*) FILTER (WHERE day > 2) AS n FROM review.rolled_day") == {"n": 2}
    assert database.one("SELECT day FROM review.rolled_day WHERE day = :day", day=9) is None
    assert database.execute("UPDATE review.rolled_day SET computed_at = 0 WHERE day IN :days", days=[1, 2, 9]) == 2
    assert database.execute("DELETE FROM review.rolled_day WHERE day IN :days", days=()) == 0


def test_sums_are_whole_numbers_and_bytes_are_bytes(opened: Opened) -> None:
    database = opened(writes_review=True)
    database.execute_many(COUNTED, [{"day": day, "at": 2**62 // 2} for day in (1, 2)])
    found = database.one("SELECT sum(computed_at) AS s FROM review.rolled_day")
    assert found == {"s": 2**62}
    assert type(found["s"]) is int
    database.execute("INSERT INTO review.rolled_source VALUES (1, :id, 0)", id=b"\x00\xff")
    assert database.one("SELECT id FROM review.rolled_source") == {"id": b"\x00\xff"}


def test_a_transaction_is_all_or_nothing_and_sees_one_moment(opened: Opened) -> None:
    writer, reader = opened(writes_review=True), opened()

    def fail() -> None:
        with writer.transaction():
            writer.execute(COUNTED, day=1, at=1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with writer.transaction():
        writer.execute(COUNTED, day=2, at=2)
        assert reader.rows("SELECT day FROM review.rolled_day") == []
    assert reader.rows("SELECT day FROM review.rolled_day") == [{"day": 2}]


def test_the_log_is_never_written_and_a_reader_writes_nothing(opened: Opened) -> None:
    writer = opened(writes_review=True)
    reader = opened()
    refused = (DatabaseUnavailableError, sqlite3.OperationalError, psycopg.errors.ReadOnlySqlTransaction)
    with pytest.raises(refused):
        reader.execute(COUNTED, day=1, at=1)
    if writer.dialect == "sqlite":  # in PostgreSQL the rights of the role say so
        with pytest.raises(refused):
            writer.execute("INSERT INTO log.name VALUES (7, 'seven')")


def test_a_statement_past_its_limit_is_ended_and_the_connection_goes_on(opened: Opened) -> None:
    opened(writes_review=True)
    database = opened(limit_ms=50)
    with pytest.raises(StatementTooLongError, match="more than 50 ms"):
        database.rows(ENDLESS)
    assert database.usable
    assert database.one("SELECT 1 AS one") == {"one": 1}


def test_names_are_translated_both_ways(opened: Opened, tmp_path: Path) -> None:
    database = opened(writes_review=True)
    assert database.names.id("quinine-avoid") is None
    add_name(database, tmp_path, 7, "quinine-avoid")
    assert (database.names.id("quinine-avoid"), database.names.text(7)) == (7, "quinine-avoid")
    assert (database.names.id(""), database.names.text(0)) == (0, "")
    assert (database.names.id("withdrawn"), database.names.text(WITHDRAWN)) == (WITHDRAWN, "withdrawn")
    assert database.names.ids("quinine-avoid", "never seen") == [7]
    with pytest.raises(KeyError):
        database.names.text(99)


def add_name(database: Database, folder: Path, id_: int, text: str) -> None:
    if database.dialect == "postgres":
        database.execute("INSERT INTO log.name VALUES (:id, :text)", id=id_, text=text)
        return
    with closing(sqlite3.connect(folder / "alerts.sqlite3", isolation_level=None)) as log:
        log.execute("INSERT INTO name VALUES (?, ?)", (id_, text))


def test_opening_again_changes_nothing_and_a_newer_schema_is_refused(opened: Opened) -> None:
    with closing(opened(writes_review=True)) as database:
        database.execute(COUNTED, day=1, at=1)
    database = opened(writes_review=True)
    assert database.rows("SELECT day FROM review.rolled_day") == [{"day": 1}]
    newer = len(REVIEW_MIGRATIONS) + 1
    if database.dialect == "sqlite":
        database.execute(f"PRAGMA review.user_version = {newer}")
    else:
        database.execute("UPDATE review.schema_version SET version = :newer", newer=newer)
    for writes in (True, False):
        with pytest.raises(SchemaMismatchError, match="newer program"):
            opened(writes_review=writes)


def test_processes_that_start_together_migrate_once(opened: Opened) -> None:
    failed: list[BaseException] = []

    def open_one() -> None:
        try:
            opened(writes_review=True)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failed.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_reader_says_what_makes_the_review_database(opened: Opened) -> None:
    with pytest.raises((DatabaseUnavailableError, SchemaMismatchError), match="cds-service log rollup"):
        opened()


def test_a_log_of_another_version_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "alerts.sqlite3")) as old:
        old.execute("CREATE TABLE call (seq INTEGER PRIMARY KEY)")
    with pytest.raises(SchemaMismatchError, match="no tables of this version"):
        open_database(tmp_path / "alerts.sqlite3", tmp_path / "review.sqlite3", writes_review=True)


def test_missing_and_broken_files_are_unavailable(tmp_path: Path) -> None:
    log, review = tmp_path / "alerts.sqlite3", tmp_path / "review.sqlite3"
    with pytest.raises(DatabaseUnavailableError, match="no alert log at"):
        open_database(log, review)
    log.write_text("no database " * 500)
    with pytest.raises(DatabaseUnavailableError, match="not a usable SQLite file"):
        open_database(log, review, writes_review=True)


def test_a_server_that_is_not_there_is_unavailable_and_its_url_is_not_told(tmp_path: Path) -> None:
    nowhere = f"postgresql://cds:SECRET@/cds?host={tmp_path}"  # a folder without a socket
    with pytest.raises(DatabaseUnavailableError) as caught:
        open_database(tmp_path / "log", tmp_path / "review", nowhere)
    assert "SECRET" not in f"{caught.value}{caught.value.__cause__}"


@pytest.mark.loopback
def test_a_user_without_rights_and_a_server_that_only_reads_are_unavailable(tmp_path: Path) -> None:
    user = f"cds_test_{secrets.token_hex(6)}"
    with postgres_database() as url, psycopg.connect(url, autocommit=True) as server:
        make_postgres_log(url)
        server.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(user)))
        try:
            with pytest.raises(DatabaseUnavailableError, match="InsufficientPrivilege"):
                open_database(tmp_path / "log", tmp_path / "review", psycopg.conninfo.make_conninfo(url, user=user))
        finally:
            server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(user)))
        with closing(open_database(tmp_path / "log", tmp_path / "review", url, writes_review=True)):
            pass
        with (
            closing(open_database(tmp_path / "log", tmp_path / "review", url)) as reader,
            pytest.raises(DatabaseUnavailableError, match="ReadOnlySqlTransaction"),
        ):
            reader.execute(COUNTED, day=1, at=1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('FATAL:  password authentication failed for user "SECRET"', "OperationalError: the password was refused"),
        ('FATAL:  database "SECRET" does not exist', "OperationalError: the server has no database of this name"),
        ("failed to resolve host 'SECRET': [Errno -2] Name or service not known", "OperationalError: the host is not known"),
        ("server does not support SSL, but SSL was required", "OperationalError: no TLS connection"),
        ('FATAL:  Passwort-Authentifizierung fehlgeschlagen: "SECRET"', "OperationalError"),
    ],
)
def test_why_a_connection_failed_is_said_in_words_of_our_own(text: str, words: str) -> None:
    assert described(psycopg.OperationalError(f'connection to server at "SECRET", port 5432 failed: {text}')) == words


def test_a_locked_review_file_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cds_service.database.sqlite._BUSY_MS", 0)
    make_sqlite_log(tmp_path / "alerts.sqlite3")
    one, other = (open_database(tmp_path / "alerts.sqlite3", tmp_path / "review.sqlite3", writes_review=True) for _ in range(2))
    with closing(one), closing(other), one.transaction():
        one.execute(COUNTED, day=1, at=1)
        with pytest.raises(DatabaseUnavailableError, match="can't be used now"), other.transaction():
            pass


def test_the_review_file_is_private_and_stands_beside_the_log(tmp_path: Path) -> None:
    settings = Settings(log_path=tmp_path / "alerts.sqlite3")
    assert review_path(settings) == tmp_path / "review.sqlite3"
    assert review_path(settings.model_copy(update={"review_path": tmp_path / "other"})) == tmp_path / "other"
    make_sqlite_log(settings.log_path)
    open_database(settings.log_path, review_path(settings), writes_review=True).close()
    assert stat.S_IMODE(review_path(settings).stat().st_mode) == 0o600


def test_a_pool_lends_each_connection_once_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cds_service.database.pool._WAIT_SECONDS", 0.0)
    make_sqlite_log(tmp_path / "alerts.sqlite3")

    def open_one() -> Database:
        made.append(open_database(tmp_path / "alerts.sqlite3", tmp_path / "review.sqlite3", writes_review=True))
        return made[-1]

    made: list[Database] = []
    pool = DatabasePool(open_one, size=2)
    with pool.borrow() as one, pool.borrow() as two:
        assert one is not two
        with pytest.raises(DatabaseUnavailableError, match="in use"), pool.borrow():
            pass
    with pytest.raises(ZeroDivisionError), pool.borrow():
        raise ZeroDivisionError
    with pool.borrow() as again:
        assert again in made
    assert len(made) == 2
    pool.close()


@pytest.mark.parametrize(
    ("sql", "parameters", "sqlite", "postgres"),
    [
        ("a = :a", {"a": 1}, "a = :a", "a = %(a)s"),
        ("a LIKE '%:b' AND c = :c_d", {"c_d": 1}, "a LIKE '%:b' AND c = :c_d", "a LIKE '%%:b' AND c = %(c_d)s"),
        ("a::text = :a", {"a": 1}, "a::text = :a", "a::text = %(a)s"),
        ("a IN :a", {"a": (5, 6)}, "a IN (:a_0, :a_1)", "a IN (%(a_0)s, %(a_1)s)"),
        ("a IN :a", {"a": []}, "a IN (NULL)", "a IN (NULL)"),
    ],
)
def test_parameters_are_translated(sql: str, parameters: dict[str, object], sqlite: str, postgres: str) -> None:
    assert prepared(sql, parameters, "sqlite")[0] == sqlite
    assert prepared(sql, parameters, "postgres")[0] == postgres


@pytest.mark.parametrize(
    ("written", "postgres"),
    [
        ("CREATE TABLE review.t (a INTEGER PRIMARY KEY, b BLOB) STRICT", ("bigint GENERATED BY DEFAULT AS IDENTITY", "bytea)")),
        ("CREATE TABLE review.t (a INTEGER, PRIMARY KEY (a)) STRICT, WITHOUT ROWID", ("(a bigint, PRIMARY KEY (a))",)),
        ("CREATE INDEX review.t_a ON t (a)", ("CREATE INDEX t_a ON review.t (a)",)),
    ],
)
def test_tables_are_written_once_for_both(written: str, postgres: tuple[str, ...]) -> None:
    assert for_dialect(written, "sqlite") == written
    for part in postgres:
        assert part in for_dialect(written, "postgres")


def test_a_process_that_ends_leaves_the_write_ahead_log_of_another_alone(tmp_path: Path) -> None:
    code = """import sys; from pathlib import Path; from cds_service.database import open_database
log, review = map(Path, sys.argv[1:]); database = open_database(log, review, writes_review=True)
database.execute("INSERT INTO review.rolled_day (day, computed_at) VALUES (1, 1)"); database.close()"""
    with an_opener("sqlite", tmp_path) as opener, closing(opener(writes_review=True)) as pages:
        pages.execute(COUNTED, day=2, at=2)
        with closing(opener(writes_review=True)):  # as each thread of the pages opens one
            pass
        files = [tmp_path / "review.sqlite3-wal", tmp_path / "review.sqlite3-shm"]
        before = [one.stat().st_ino for one in files]
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "alerts.sqlite3"), str(tmp_path / "review.sqlite3")], check=True
        )
        assert [one.stat().st_ino for one in files] == before
        pages.execute(COUNTED, day=3, at=3)
    with closing(sqlite3.connect(tmp_path / "review.sqlite3")) as after:
        assert after.execute("SELECT day FROM rolled_day ORDER BY day").fetchall() == [(1,), (2,), (3,)]
