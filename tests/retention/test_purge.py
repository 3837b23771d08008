"""What is older than the site keeps it is gone, and what is younger or held is there, in either database."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cds_service.database import Database, open_site_database
from cds_service.retention.holds import Kind, add_hold, end_hold, holds
from cds_service.retention.purge import Purged, purge
from cds_service.rollups.days import SiteDays
from cds_service.rollups.filter import Filter
from cds_service.rollups.queries import card_counts
from cds_service.rollups.rollup import differences, roll_up
from cds_service.settings import Settings
from cds_service.shipping.link import Link
from tests.log_rows import AT, DAY, NOW, FileWriter, hashed
from tests.log_tables import postgres_database

_CANARY = re.compile(rb"Kanarie.{9}|" + b"Kanarie".hex().encode() + rb"[0-9a-f]{18}", re.DOTALL)
OLD, YOUNG = AT - 70 * DAY, AT - 5 * DAY
AGES: dict[str, Any] = {"keep_days": 40, "keep_sealed_days": 20}
_PLACES = ["sqlite", pytest.param("postgres", marks=[pytest.mark.loopback, pytest.mark.enable_socket])]


@pytest.fixture(params=_PLACES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Of a log that is empty yet."""
    path = tmp_path / "alerts.sqlite3"
    if request.param == "sqlite":
        yield Settings(log_path=path, **AGES)
        return
    with postgres_database() as url:
        yield Settings(log_path=path, log_database_url=url, **AGES)


def now() -> datetime:
    return NOW


def opened(settings: Settings) -> Database:
    return open_site_database(settings, limit_ms=None, writes_review=True)


def ship(settings: Settings) -> None:
    """Move all to PostgreSQL, where the log goes there."""
    if settings.log_database_url:
        with closing(Link(settings.log_path, settings.log_database_url)) as link:
            while not link.move(500, NOW).whole:
                pass


def a_case(writer: FileWriter, at: int, patient: str, client: str = "ehr") -> bytes:
    """A call with all that can belong to it. Returns its id."""
    with writer.transaction():
        called = writer.call(at, patient=hashed(patient), body=f"body of {patient}".encode(), client=writer.name(client))
        writer.delivery(at, called)
        writer.record("withdrawal", received_at=at, call_id=called, at=at + 5)
        uuid = writer.connection.execute("SELECT uuid FROM card WHERE call_id = ?", (called,)).fetchone()[0]
        writer.feedback(at + DAY, uuid, accepted=f'["accepted of {patient}"]')
        who = {"tenant": 0, "client": writer.name(client)}
        writer.record("refusal", received_at=at, **who, hook=0, status=401, reason=0, n=3)
        writer.record("quarantine", received_at=at, kind=0, record_id=patient, error="", service=0, **who, item="")
        writer.record(
            "sealed", received_at=at, of=called, kind=writer.name("patient"), key_id=1, content=f"sealed {patient}".encode()
        )
        repeat = writer.record("call", **_repeat_of(writer, called, at + 7))
        assert repeat
    return called


def _repeat_of(writer: FileWriter, first: bytes, at: int) -> dict[str, object]:
    columns = [row[1] for row in writer.connection.execute("PRAGMA table_info(call)")]
    row = dict(zip(columns, writer.connection.execute("SELECT * FROM call WHERE id = ?", (first,)).fetchone(), strict=True))
    del row["seq"]
    return row | {"id": hashed(f"repeat {first.hex()}"), "received_at": at, "repeat_of": first, "digest": None}


def counts(database: Database) -> dict[str, int]:
    tables = ("call", "body", "card", "ordered", "delivery", "withdrawal", "feedback", "refusal", "quarantine", "sealed")
    return {table: (database.one(f"SELECT count(*) AS n FROM log.{table}") or {})["n"] for table in tables}  # noqa: S608


ONE = {"call": 2} | dict.fromkeys(
    ("body", "card", "ordered", "delivery", "withdrawal", "feedback", "refusal", "quarantine", "sealed"), 1
)


def times(number: int) -> dict[str, int]:
    return {table: number * n for table, n in ONE.items()}


def fill_two(settings: Settings) -> tuple[bytes, bytes]:
    """An old case and a young one."""
    with closing(FileWriter(settings.log_path)) as writer:
        ids = a_case(writer, OLD, "old"), a_case(writer, YOUNG, "young")
    ship(settings)
    return ids


def test_what_is_old_goes_and_what_is_young_stays(settings: Settings) -> None:
    fill_two(settings)
    (found, *_) = planned = purge(settings, now, dry_run=True)
    assert {one.table: one.deleted for one in found.found if one.table != "sealed"} == {
        table: n for table, n in ONE.items() if table not in ("body", "sealed")
    } | {"inputs": 0}
    with closing(opened(settings)) as database:
        assert counts(database) == times(2)
        done = purge(settings, now)
        assert counts(database) == times(1)
        assert database.one("SELECT min(received_at) AS at FROM log.call") == {"at": YOUNG}
    assert [one.found for one in done] == [one.found for one in planned]
    assert all(not one.left and one.wal_emptied for one in done)
    assert all(not table.old for one in purge(settings, now) for table in one.found)


def test_sealed_texts_have_an_age_of_their_own(settings: Settings) -> None:
    with closing(FileWriter(settings.log_path)) as writer:
        a_case(writer, AT - 30 * DAY, "sealed for long")
        a_case(writer, YOUNG, "young")
    ship(settings)
    purge(settings, now)
    with closing(opened(settings)) as database:
        assert counts(database) == times(2) | {"sealed": 1}


def test_inputs_have_an_age_of_their_own(settings: Settings) -> None:
    ages = settings.model_copy(update={"keep_inputs_days": 10})
    with closing(FileWriter(settings.log_path)) as writer:
        for days in (15, 5):  # both younger than sealed texts are kept
            called = a_case(writer, AT - days * DAY, f"{days} days ago")
            with writer.transaction():
                kind = {"kind": writer.name("inputs"), "key_id": 1, "content": b"inputs"}
                writer.record("sealed", received_at=AT - days * DAY, of=called, **kind)
    ship(settings)
    with closing(opened(settings)) as database:
        assert counts(database)["sealed"] == 4
        (found, *_) = purge(ages, now, dry_run=True)
        assert {one.table: one.deleted for one in found.found}["inputs"] == 1
        assert all(not one.left for one in purge(ages, now))
        assert counts(database) == times(2) | {"sealed": 3}
        kept_longer = settings.model_copy(update={"keep_sealed_days": 1, "keep_inputs_days": 10})
        purge(kept_longer, now)
        assert counts(database)["sealed"] == 1


@pytest.mark.parametrize("kind", ["patient", "call", "client"])
def test_what_is_held_stays_until_the_hold_ends(settings: Settings, kind: Kind) -> None:
    with closing(FileWriter(settings.log_path)) as writer:
        held = a_case(writer, OLD, "held", client="held")
        a_case(writer, OLD + 1, "another", client="other")
        a_case(writer, YOUNG, "young", client="other")
    ship(settings)
    value = {"patient": f"k1:{hashed('held').hex()}", "call": held.hex(), "client": "held"}[kind]
    stays = times(2) | {"refusal": 1, "quarantine": 2 if kind == "client" else 1}
    with closing(opened(settings)) as database:
        number = add_hold(database, kind, value, "a claim", AT)
        assert [one.value for one in holds(database)] == [value]
        for _ in range(2):  # held records outlive several purges
            assert all(not one.left for one in purge(settings, now))
            assert counts(database) == stays
        assert end_hold(database, number, AT + 1)
        assert not end_hold(database, number, AT + 2)
        purge(settings, now)
        assert counts(database) == times(1)


def test_a_hold_of_a_patient_covers_the_hashes_of_both_keys(settings: Settings) -> None:
    with closing(FileWriter(settings.log_path)) as writer:
        a_case(writer, OLD, "under the old key")
        with writer.transaction():
            pair = {"old_key": 1, "old": hashed("under the old key"), "new_key": 2, "new": hashed("under the new key")}
            writer.record("key_pair", received_at=YOUNG, kind=writer.name("patient"), **pair)
    ship(settings)
    with closing(opened(settings)) as database:
        add_hold(database, "patient", f"k2:{hashed('under the new key').hex()}", "a claim", AT)
        purge(settings, now)
        assert counts(database)["call"] == 2
        assert database.one("SELECT count(*) AS n FROM log.key_pair") == {"n": 1}


def test_pairs_of_keys_go_with_the_last_call_of_the_old_key(settings: Settings) -> None:
    with closing(FileWriter(settings.log_path)) as writer:
        a_case(writer, OLD, "of the old key")
        with writer.transaction():
            pair = {"old_key": 1, "old": hashed("of the old key"), "new_key": 2, "new": hashed("new")}
            writer.record("key_pair", received_at=YOUNG, kind=writer.name("patient"), **pair)
            writer.call(YOUNG, patient=hashed("new"), key=2)
    ship(settings)
    purge(settings, now)
    with closing(opened(settings)) as database:
        assert database.one("SELECT count(*) AS n FROM log.key_pair") == {"n": 0}


def test_counts_of_the_pages_outlive_their_records(settings: Settings) -> None:
    fill_two(settings)
    days = SiteDays("UTC")
    everything = Filter.of()
    with closing(opened(settings)) as database:
        roll_up(database, days, now)
        before = card_counts(database, everything)
        purge(settings, now)
        roll_up(database, days, now, everything=True)
        assert card_counts(database, everything) == before
        assert list(differences(database, days)) == []


def test_knowledge_that_no_call_needs_goes(settings: Settings) -> None:
    fill_two(settings)
    with closing(FileWriter(settings.log_path)) as writer, writer.transaction():
        for version, at in (("feed" * 16, OLD), ("dead" * 16, OLD), ("beef" * 16, YOUNG)):
            writer.insert("knowledge", hash=writer.name(version), archived_at=at, content=b"cards")
    with closing(FileWriter(settings.log_path)) as writer, writer.transaction():
        writer.call(YOUNG + 1)
    ship(settings)
    purge(settings, now)
    with closing(opened(settings)) as database:
        rows = database.rows("SELECT text FROM log.knowledge JOIN log.name ON id = hash ORDER BY text")
    assert [row["text"][:4] for row in rows] == ["beef", "feed"]


def test_no_trace_of_what_went_is_on_the_disk(tmp_path: Path) -> None:
    """Canaries in every column with something of a person, in a file that is large enough for pages to be split and joined."""
    settings = Settings(log_path=tmp_path / "alerts.sqlite3", **AGES)
    random = Random(7)
    canaries: list[bytes] = []
    with closing(FileWriter(settings.log_path)) as writer:
        for first in range(0, 1_500, 100):
            with writer.transaction():
                for number in range(first, first + 100):
                    old = number % 3 != 0
                    at = (OLD if old else YOUNG) + number * 1_000_000
                    marks = [b"Kanarie" + random.randbytes(9) for _ in range(6)]
                    patient, user, encounter, text, sealed, order = marks
                    if old:
                        canaries += marks
                    called = writer.call(
                        at, patient=patient, user_key=user, encounter=encounter, body=text * 60, orders=number % 3
                    )
                    about = text.hex()
                    writer.connection.execute(
                        "UPDATE card SET about = ?, order_key = ? WHERE call_id = ?", (about, order, called)
                    )
                    writer.insert("ordered", order_key=order, received_at=at, call_id=called)
                    writer.feedback(at, sealed, accepted=f'["{about}"]')
                    writer.record("sealed", received_at=at, of=called, kind=writer.name("patient"), key_id=1, content=sealed * 3)
    canaries += [one.hex().encode() for one in canaries]
    assert found(tmp_path, canaries)
    (done,) = purge(settings, now)
    assert done.wal_emptied
    # Deletion overwrites every row. Copies that SQLite left in unused parts of pages, when it split them, are few.
    assert found(tmp_path, canaries).get("alerts.sqlite3", 0) < len(canaries) / 500
    (done,) = purge(settings, now, rewrite=True)
    assert found(tmp_path, canaries) == {}
    with closing(sqlite3.connect(settings.log_path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert file.execute("SELECT count(*) FROM call").fetchone() == (500,)


def found(folder: Path, canaries: list[bytes]) -> dict[str, int]:
    """How many of the canaries each file has, of those that have any."""
    wanted = set(canaries)
    seen = {path.name: set(_CANARY.findall(path.read_bytes())) & wanted for path in folder.iterdir()}
    return {name: len(some) for name, some in seen.items() if some}


def test_nothing_to_purge_is_said(tmp_path: Path) -> None:
    settings = Settings(log_path=tmp_path / "alerts.sqlite3", keep_days=30)
    FileWriter(settings.log_path).close()
    done: list[Purged] = purge(settings, lambda: NOW + timedelta(days=1))
    assert [table.old for one in done for table in one.found] == [0] * 10
