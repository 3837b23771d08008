"""The audit: nothing can be changed by a statement, and what is changed by other means is found."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from cds_service.access.audit import FIRST, Head, append, entry_hash, head
from cds_service.access.audit_check import check_audit
from cds_service.access.head_log import HeadLog
from cds_service.alert_log.sealing import sealing_key
from cds_service.cli.main import main
from cds_service.database import Database, DatabasePool, DatabaseUnavailableError
from cds_service.database.sqlite import SqliteDatabase
from cds_service.telemetry.events import Event, Line
from tests.access.people import Clock, a_site, add_person, audit_entries, form_token, review_database, sign_in
from tests.core import a_runtime
from tests.log_tables import make_postgres_log, make_sqlite_log, postgres_database
from tests.review.fired_log import QUININE, fire
from tests.review.sample_log import NOW, write_sample_log

ENTRIES = 1_000
REVEAL: dict[str, Any] = {"reveal_key": "r" * 32}
TRIGGERS = ("audit_not_changed", "audit_not_deleted")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    make_sqlite_log(tmp_path / "alerts.sqlite3")
    with closing(review_database(tmp_path)) as made:
        yield made


@pytest.fixture(scope="module")
def fired(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A log of fired calls whose ids and comments are sealed, and the address of a case with feedback."""
    folder = tmp_path_factory.mktemp("fired")
    runtime = replace(a_runtime(folder, **REVEAL), sealing=sealing_key(REVEAL["reveal_key"], 1))
    asyncio.run(fire(folder, [(QUININE, "not-for-cramps")], runtime=runtime))
    with closing(review_database(folder)) as database:
        row = database.one("SELECT id FROM log.call")
        assert row is not None
        return folder, f"/cases/{bytes(row['id']).hex()}/quinine-avoid/1"


def fill(database: Database, entries: int) -> Head:
    """Write entries as people do, and return the head."""
    if database.dialect == "sqlite":
        database.execute("PRAGMA review.synchronous = OFF")  # the disk is not what is tested
    newest = Head(0, FIRST)
    with_reason = {"reason": "complaint of a clinician", "detail": {"rows": 3, "sha256": "ab"}}
    for number in range(entries):
        more: dict[str, Any] = with_reason if number % 3 == 0 else {}
        newest = append(database, number, f"reader {number % 7}", "open case", f"/review/cases/{number}", **more)
    return newest


def without_triggers(folder: Path) -> sqlite3.Connection:
    """The file as somebody has it who may write it by other means."""
    connection = sqlite3.connect(folder / "review.sqlite3", isolation_level=None)
    for name in TRIGGERS:
        connection.execute(f"DROP TRIGGER {name}")
    return connection


def test_an_untouched_audit_is_whole(database: Database) -> None:
    assert check_audit(database).head is None
    newest = fill(database, 2_500)
    checked = check_audit(database, [newest])
    assert (checked.entries, checked.head, checked.findings) == (2_500, newest, [])
    assert head(database) == newest


@pytest.mark.parametrize("statement", ["UPDATE review.audit SET reader = 'x'", "DELETE FROM review.audit"])
def test_no_statement_changes_it(database: Database, statement: str) -> None:
    fill(database, 2)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute(statement)
    assert check_audit(database).findings == []


@pytest.mark.loopback
def test_the_same_holds_on_postgres(tmp_path: Path) -> None:
    with postgres_database() as url:
        make_postgres_log(url)
        with closing(review_database(tmp_path, url)) as database:
            newest = fill(database, 30)
            assert check_audit(database, [newest]).findings == []
            for statement in ("UPDATE review.audit SET reader = 'x'", "DELETE FROM review.audit", "TRUNCATE review.audit"):
                with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
                    database.execute(statement)
            with psycopg.connect(url, autocommit=True) as owner:
                owner.execute("ALTER TABLE review.audit DISABLE TRIGGER audit_kept")
                owner.execute("UPDATE review.audit SET object = 'x' WHERE seq = 7")
                owner.execute("DELETE FROM review.audit WHERE seq IN (12, 30)")
            found = [(one.seq, one.kind) for one in check_audit(database, [newest]).findings]
            assert found == [(7, "altered"), (12, "missing"), (30, "cut off")]


def test_each_altered_entry_of_a_thousand_is_found(database: Database, tmp_path: Path) -> None:
    newest = fill(database, ENTRIES)
    chance = random.Random(14)
    with closing(without_triggers(tmp_path)) as file:
        for number in range(1, ENTRIES + 1):
            column = chance.choice(["at", "reader", "action", "object", "reason", "detail", "before", "hash"])
            value: object = chance.randbytes(32) if column in ("before", "hash") else -number if column == "at" else f"x{number}"
            file.execute(f"UPDATE audit SET {column} = ? WHERE seq = ?", (value, number))  # noqa: S608 - our words
    found = {one.seq for one in check_audit(database, [newest]).findings if one.kind == "altered"}
    assert found == set(range(1, ENTRIES + 1))


@pytest.mark.parametrize("wanted", range(0, ENTRIES, 50))
def test_one_entry_written_anew_with_its_own_hash_is_found(database: Database, tmp_path: Path, wanted: int) -> None:
    newest = fill(database, 60)
    number = wanted % 60 + 1
    row = next(one for one in database.rows("SELECT * FROM review.audit") if one["seq"] == number)
    row["object"] = "/review/cases/elsewhere"
    with closing(without_triggers(tmp_path)) as file:
        file.execute("UPDATE audit SET object = ?, hash = ? WHERE seq = ?", (row["object"], entry_hash(row), number))
    kinds = {(one.seq, one.kind) for one in check_audit(database, [newest]).findings}
    assert kinds == {(60, "not as noted")} if number == 60 else {(number + 1, "does not follow")}


def _removed(file: sqlite3.Connection) -> None:
    file.execute("DELETE FROM audit WHERE seq IN (5, 6, 20)")


def _put_in(file: sqlite3.Connection) -> None:
    file.execute("DELETE FROM audit WHERE seq = 8")
    file.execute(
        "INSERT INTO audit SELECT 8, at, 'nobody', action, object, reason, detail, before, randomblob(32) "
        "FROM audit WHERE seq = 7"
    )


def _cut(file: sqlite3.Connection) -> None:
    file.execute("DELETE FROM audit WHERE seq > 25")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (_removed, {(5, "missing"), (6, "missing"), (20, "missing")}),
        (_put_in, {(8, "altered"), (8, "does not follow"), (9, "does not follow")}),
        (_cut, {(30, "cut off")}),
    ],
)
def test_removed_inserted_and_cut_entries_are_found(
    database: Database, tmp_path: Path, change: Callable[[sqlite3.Connection], None], found: set[tuple[int, str]]
) -> None:
    newest = fill(database, 30)
    with closing(without_triggers(tmp_path)) as file:
        change(file)
    assert {(one.seq, one.kind) for one in check_audit(database, [newest]).findings} == found


def test_an_audit_that_was_written_anew_from_its_beginning_is_told_by_a_noted_head(database: Database, tmp_path: Path) -> None:
    middle = fill(database, 10)
    newest = fill(database, 20)
    rows = database.rows("SELECT * FROM review.audit ORDER BY seq")
    before = FIRST
    with closing(without_triggers(tmp_path)) as file:
        for row in rows:
            row |= {"reader": "somebody else", "before": before}
            before = entry_hash(row)
            file.execute("UPDATE audit SET reader = ?, before = ?, hash = ? WHERE seq = ?",
                         (row["reader"], row["before"], before, row["seq"]))  # fmt: skip
    assert check_audit(database).findings == []  # the chain alone can't tell
    assert [(one.seq, one.kind) for one in check_audit(database, [middle, newest]).findings] == [
        (10, "not as noted"),
        (30, "not as noted"),
    ]


def test_the_commands_check_and_tell_the_head(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CDS_LOG_PATH", str(tmp_path / "alerts.sqlite3"))
    newest = fill(database, 12)
    assert main(["audit", "head"]) == 0
    noted = capsys.readouterr().out.strip()
    assert noted == f"12:{newest.hash.hex()}"
    assert main(["audit", "verify", "--head", noted]) == 0
    assert f"12 entries, 0 findings; head {noted}" in capsys.readouterr().out
    with closing(without_triggers(tmp_path)) as file:
        file.execute("DELETE FROM audit WHERE seq = 12")
    assert main(["audit", "verify"]) == 0
    assert "is not seen" in capsys.readouterr().err
    assert main(["audit", "verify", "--head", noted]) == 1
    assert "entry 12 was noted as the newest once and is not there: the end was cut off" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["audit", "verify", "--head", "12:xyz"])


def test_the_head_is_logged_at_the_start_each_day_and_at_the_end(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="cds_service")
    clock, pool = Clock(), DatabasePool(lambda: review_database(tmp_path), 1)
    log = HeadLog(pool, clock, every=3600)
    newest = fill(database, 3)
    log.start()
    log.step()  # the same day
    clock.now = clock.now.replace(day=NOW.day + 1)
    log.step()
    log.stop()
    pool.close()
    lines = [record.msg for record in caplog.records if isinstance(record.msg, Line) and record.msg.event is Event.AUDIT_HEAD]
    assert [line.fields for line in lines] == [{"count": 3, "hash": newest.hash.hex()}] * 3


async def test_auditors_read_it_and_nothing_else(tmp_path: Path) -> None:
    write_sample_log(tmp_path / "alerts.sqlite3", days=2)
    with closing(review_database(tmp_path)) as database:
        secret = add_person(database, "Otto", "auditor")
        fill(database, 250)
        append(database, 5, "=1+1", "reveal", "/review/cases/9", "<b>why</b>")
    with a_site(tmp_path, Clock()) as browser:
        async with browser() as client:
            await sign_in(client, "Otto", secret)
            page = await client.get("/review/audit")
            assert "&lt;b&gt;why&lt;/b&gt;" in page.text
            assert 'href="/review/audit"' in page.text
            assert 'href="/review/log"' not in page.text
            first = (await client.get("/review/audit.json")).json()
            assert len(first["entries"]) == 100
            assert first["entries"][1]["reader"] == "=1+1"
            older = (await client.get(f"/review/audit.json?before={first['before']}")).json()["entries"]
            assert [one["seq"] for one in older] == list(range(first["before"] - 1, first["before"] - 101, -1))
            csv = (await client.get("/review/audit.csv?action=reveal&rows=10000")).text
            assert ",'=1+1,reveal," in csv
            assert csv.count("\r\n") == 2
            day = (await client.get(f"/review/audit.json?from={NOW:%Y-%m-%d}&to={NOW:%Y-%m-%d}")).json()["entries"]
            assert [one["action"] for one in day] == ["sign in"]
            for wrong in ("from=yesterday", "before=x", "rows=0", "rows=10001", "colour=red"):
                assert (await client.get(f"/review/audit?{wrong}")).status_code == 400
            assert (await client.get("/review/log")).status_code == 403
    assert audit_entries(tmp_path)[-1] == ("Otto", "refused", "/review/log")


async def test_a_case_that_is_opened_and_ids_that_are_revealed_are_entered_first(
    fired: tuple[Path, str],
) -> None:
    folder, path = fired
    with closing(review_database(folder)) as database:
        secrets = {name: add_person(database, name, role) for name, role in (("Rita", "reviewer"), ("Vera", "viewer"))}  # type: ignore[arg-type]
    with a_site(folder, Clock(), **REVEAL) as browser:
        async with browser() as client, browser() as viewer:
            await sign_in(client, "Rita", secrets["Rita"])
            await sign_in(viewer, "Vera", secrets["Vera"])
            case = await client.get(f"/review{path}")
            assert f"/review{path}/reveal" in case.text
            token = await form_token(client, f"{path}/reveal")
            empty = await client.post(f"/review{path}/reveal", data={"form_token": token, "reason": " "})
            assert (empty.status_code, "Give a reason" in empty.text) == (400, True)
            shown = await client.post(f"/review{path}/reveal", data={"form_token": token, "reason": "call the ward"})
            assert "Patient/p0" in shown.text or "p0" in shown.text
            assert "as discussed" in shown.text
            assert (await viewer.get(f"/review{path}/reveal")).status_code == 403
            assert (await viewer.get(f"/review{path}")).status_code == 403
    names = ("reader", "action", "object", "reason")
    assert [one for one in audit_entries(folder, names=names) if one[1] in ("open case", "reveal")] == [
        ("Rita", "open case", f"/review{path}", ""),
        ("Rita", "reveal", f"/review{path}", "call the ward"),
    ]


async def test_nothing_is_revealed_or_opened_where_the_audit_cannot_be_written(
    fired: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, path = fired
    with closing(review_database(folder)) as database:
        secret = add_person(database, "Rosa", "reviewer")
    with a_site(folder, Clock(), **REVEAL) as browser:
        async with browser() as client:
            await sign_in(client, "Rosa", secret)
            token = await form_token(client, f"{path}/reveal")
            real = SqliteDatabase._execute

            def full(self: SqliteDatabase, statement: str, parameters: Mapping[str, Any]) -> int:
                if "INTO review.audit" in statement:
                    raise DatabaseUnavailableError("the database file can't be used now (disk is full)")
                return real(self, statement, parameters)

            monkeypatch.setattr(SqliteDatabase, "_execute", full)
            for answer in (
                await client.get(f"/review{path}"),
                await client.get(f"/review{path}.json"),
                await client.post(f"/review{path}/reveal", data={"form_token": token, "reason": "call the ward"}),
            ):
                assert answer.status_code == 503
                assert "disk is full" in answer.text
                assert "as discussed" not in answer.text
                assert "Evidence" not in answer.text
