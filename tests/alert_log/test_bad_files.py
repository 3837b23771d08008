"""A file that can't be the log is set aside, at the start and later, by one of several processes; calls go on."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from cds_service.alert_log import AlertLog
from cds_service.backup.online_copy import copy_database
from cds_service.files.set_aside import files_set_aside
from cds_service.telemetry import metrics
from tests.alert_log.bad_files import BAD, Spoil, cut_to_nothing, overwritten
from tests.alert_log_samples import START, a_call, a_card, a_key, rows

PATIENT = a_key("somebody")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts.sqlite3"


@asynccontextmanager
async def logs(path: Path, count: int = 1) -> AsyncIterator[list[AlertLog]]:
    opened = [AlertLog(path, patience=20) for _ in range(count)]
    for log in opened:
        log.start()
    try:
        yield opened
    finally:
        for log in opened:
            await log.close()


async def filled(path: Path, calls: int = 200) -> None:
    async with logs(path) as (log,):
        await asyncio.gather(*(log.append(a_call(a_card(f"old-{n}"))) for n in range(calls)))


async def logged(log: AlertLog) -> bytes:
    """Append until a record is durable; return its id."""
    async with asyncio.timeout(20):
        while True:
            call = a_call(a_card())
            if await log.append(call):
                return call.id
            await asyncio.sleep(0.01)


def inside(path: Path, name: str) -> bytes | None:
    kept = path.with_name(name)
    return kept.read_bytes() if kept.is_file() else None


@pytest.mark.parametrize(("spoil", "reason"), BAD.values(), ids=BAD)
async def test_at_the_start(path: Path, spoil: Spoil, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    await filled(path)
    spoil(path)
    before = inside(path, path.name)
    counted = metrics.counts(metrics.LOG_SET_ASIDE).get(reason, 0)
    async with logs(path, 2) as (one, other):
        ids = {(await logged(one)).hex(), (await logged(other)).hex()}
        assert (one.state, other.state) == ("ok", "ok")
    (kept,) = files_set_aside(path.parent)
    assert kept.startswith(f"alerts.sqlite3.{reason}-")
    assert inside(path, kept) == before, "what is set aside is as it was found"
    assert metrics.counts(metrics.LOG_SET_ASIDE)[reason] == counted + 1
    assert f"log_set_aside why={reason} file={path} kept={path.with_name(kept)}" in caplog.text
    assert ids <= set(rows(path, "SELECT id FROM call"))


@pytest.mark.parametrize(("spoil", "reason"), BAD.values(), ids=BAD)
async def test_while_two_processes_write(path: Path, spoil: Spoil, reason: str) -> None:
    await filled(path)
    async with logs(path, 2) as (one, other):
        await logged(one)
        await logged(other)
        spoil(path)
        ids = [(await logged(log)).hex() for log in (one, other, one, other)]
        if files_set_aside(path.parent):  # what was written before the damage was met is in the file that was set aside
            ids = [(await logged(log)).hex() for log in (one, other)]
        assert (one.state, other.state) == ("ok", "ok")
        assert (one.health().lost, other.health().lost) == (0, 0)
    kept = [name for name in files_set_aside(path.parent) if not name.endswith("-wal")]  # of what was moved away: see below
    assert len(kept) <= 1, "one of them does it"
    if kept:  # else the pages in memory were all that was needed, and are in the file again
        assert kept[0].startswith(f"alerts.sqlite3.{reason}-")
    assert set(ids) <= set(rows(path, "SELECT id FROM call"))
    assert rows(path, "PRAGMA integrity_check") == ["ok"]


async def test_a_file_that_was_cut_to_nothing_beside_a_write_ahead_log_keeps_that(path: Path) -> None:
    await filled(path)
    with closing(sqlite3.connect(path)) as reader:  # the last to close would delete the write-ahead log
        reader.execute("SELECT count(*) FROM call").fetchone()
        await filled(path, 1)
        wal = path.with_name("alerts.sqlite3-wal").read_bytes()
        path.with_name("alerts.sqlite3-wal").rename(path.with_name("saved"))
    path.with_name("saved").rename(path.with_name("alerts.sqlite3-wal"))
    cut_to_nothing(path)
    async with logs(path) as (log,):
        await logged(log)
    (kept,) = files_set_aside(path.parent)
    assert path.with_name(f"{kept}-wal").read_bytes() == wal


@pytest.mark.parametrize("checkpointed", [False, True])
async def test_a_file_that_is_cut_to_nothing_while_two_processes_write(path: Path, checkpointed: bool) -> None:
    await filled(path)
    async with logs(path, 2) as (one, other):
        await logged(one)
        if checkpointed:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cut_to_nothing(path)
        ids = {(await logged(log)).hex() for log in (one, other, one)}
    assert [name[:23] for name in files_set_aside(path.parent)] == ["alerts.sqlite3.damaged-"]
    assert ids <= set(rows(path, "SELECT id FROM call"))


def with_wal(path: Path, to: Path) -> None:
    """Copy a log as it is while it is open, and as it is left by a process that was killed."""
    for ending in ("", "-wal"):
        shutil.copyfile(f"{path}{ending}", f"{to}{ending}")


@pytest.mark.parametrize("made_by", ["log backup", "cp"])
async def test_a_copy_of_before_that_is_written_over_the_open_log_is_not_mixed_with_it(path: Path, made_by: str) -> None:
    await filled(path)
    copy = path.with_name("copy")
    if made_by == "cp":
        shutil.copyfile(path, copy)
    else:
        copy_database(path, copy)
    async with logs(path, 2) as (one, other):
        old = {(await logged(one)).hex() for _ in range(60)}
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        await logged(other)
        shutil.copyfile(copy, path)
        for log in (one, other):  # one that has not seen how far the file was, may write once more
            await logged(log)
        ids = {(await logged(log)).hex() for log in (one, other, one)}
        assert (one.state, other.state) == ("ok", "ok")
    assert [name[:23] for name in files_set_aside(path.parent)] == ["alerts.sqlite3.damaged-"]
    assert ids <= set(rows(path, "SELECT id FROM call"))
    assert old.isdisjoint(rows(path, "SELECT id FROM call"))
    assert rows(path, "PRAGMA integrity_check") == ["ok"]


async def test_a_copy_beside_the_write_ahead_log_of_a_killed_process_is_not_mixed_with_it(path: Path) -> None:
    await filled(path)
    backup, killed = path.with_name("backup"), path.with_name("killed.sqlite3")
    copy_database(path, backup)
    async with logs(path) as (log,):
        await logged(log)
        with_wal(path, killed)
    shutil.copyfile(backup, killed)
    kept = killed.read_bytes()
    async with logs(killed) as (log,):
        record = (await logged(log)).hex()
    (name,) = files_set_aside(path.parent)
    assert inside(killed, name) == kept
    assert inside(killed, f"{name}-wal")
    assert rows(killed, "SELECT id FROM call") == [record]


@pytest.mark.parametrize("replaced", [False, True])
async def test_the_write_ahead_log_of_a_file_that_was_moved_away_is_kept_and_not_written_over_its_successor(
    path: Path, replaced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    await filled(path, 3)
    copy, moved = path.with_name("copy"), path.with_name("moved")
    copy_database(path, copy)
    async with logs(path, 2) as (one, other):
        old = {(await logged(log)).hex() for _ in range(30) for log in (one, other)}
        os.rename(path, moved)  # noqa: PTH104
        if replaced:
            os.rename(copy, path)  # noqa: PTH104
        new = {(await logged(log)).hex() for log in (one, other, one)}
        assert (one.state, other.state) == ("ok", "ok")
    assert new <= set(rows(path, "SELECT id FROM call"))
    assert old.isdisjoint(rows(path, "SELECT id FROM call"))
    assert rows(path, "PRAGMA integrity_check") == ["ok"]
    (name,) = files_set_aside(path.parent)
    assert name.startswith("alerts.sqlite3.replaced-")
    assert f"log_set_aside why=replaced file={path} kept={path.with_name(name)}" in caplog.text
    path.with_name(name).rename(path.with_name("moved-wal"))
    assert old <= set(rows(moved, "SELECT id FROM call")), "put beside its file, it holds the newest records"


async def test_a_look_up_that_comes_first_does_not_keep_a_replaced_log_from_being_opened(path: Path) -> None:
    await filled(path, 300)
    copy = path.with_name("copy")
    copy_database(path, copy)
    async with logs(path) as (log,):
        await logged(log)
        await log.prior_cards(PATIENT, "", {"quinine-for-cramps": START}, ())
        os.rename(copy, path)  # noqa: PTH104
        async with asyncio.timeout(20):
            while not await log.append(a_call()):
                await log.prior_cards(PATIENT, "", {"quinine-for-cramps": START}, ())
                await asyncio.sleep(0.01)
        assert log.state == "ok"
    assert rows(path, "PRAGMA integrity_check") == ["ok"]


async def test_a_log_that_is_replaced_before_the_first_record_is_not_mixed_either(path: Path) -> None:
    await filled(path)
    copy = path.with_name("copy")
    copy_database(path, copy)
    async with logs(path) as (writing,):
        await logged(writing)
        async with logs(path) as (log,):
            os.rename(copy, path)  # noqa: PTH104
            await logged(log)
            assert files_set_aside(path.parent)[0].startswith("alerts.sqlite3.replaced-")
    assert rows(path, "PRAGMA integrity_check") == ["ok"]


async def test_an_empty_file_is_a_new_log(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT))
    async with logs(path) as (log,):
        await logged(log)
    assert files_set_aside(path.parent) == []


async def test_a_file_that_this_user_may_not_read_is_set_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(path, 1)
    forbidden, access = os.stat(path).st_ino, os.access  # noqa: PTH116
    monkeypatch.setattr(
        "cds_service.alert_log.condition.os.access",
        lambda file, mode: Path(file).stat().st_ino != forbidden and access(file, mode),
    )
    async with logs(path) as (log,):
        await logged(log)
    assert [name.split(".")[-1][:11] for name in files_set_aside(path.parent)] == ["unreadable-"]


async def test_a_log_that_is_locked_stays_and_is_written_when_it_is_free(path: Path) -> None:
    await filled(path, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        log = AlertLog(path)
        log.start()
        answers = [await log.append(a_call()) for _ in range(3)]
        other.execute("ROLLBACK")
    await logged(log)
    await log.close()
    assert answers == [False] * 3
    assert files_set_aside(path.parent) == []
    assert rows(path, "SELECT count(*) FROM call")[0] >= 1 + 3 + 1


async def test_damage_that_only_readers_meet_is_found_too(path: Path) -> None:
    async with logs(path) as (log,):
        await asyncio.gather(*(log.append(a_call(a_card(f"u{n}"), patient_key=PATIENT)) for n in range(300)))
    overwritten_pages_of(path, "card_of_patient_at")
    asked = {"quinine-for-cramps": START}
    async with logs(path) as (log,):
        async with asyncio.timeout(20):
            while not files_set_aside(path.parent):
                assert await log.prior_cards(PATIENT, "", asked, ()) == []
                await asyncio.sleep(0.01)
        await logged(log)
        assert log.state == "ok"
        assert await log.prior_cards(PATIENT, "", asked, ()) == []
        assert log.health().unanswered <= 3


def overwritten_pages_of(path: Path, index: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (index,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\x5a" * size)


async def test_look_ups_and_records_go_to_the_file_that_is_there_now(path: Path, tmp_path: Path) -> None:
    card = a_card("u1")
    async with logs(path) as (log,):
        await log.append(a_call(card, patient_key=PATIENT))
        asked = {card.card: START}
        assert [one.uuid for one in await log.prior_cards(PATIENT, "", asked, ())] != []
        for ending in ("", "-wal", "-shm"):
            path.with_name(f"alerts.sqlite3{ending}").rename(tmp_path / f"moved{ending}")
        await logged(log)
        assert await log.prior_cards(PATIENT, "", asked, ()) == []


def test_all_noise_is_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 8192)
    overwritten(path)
    assert path.read_bytes() == b"a" * 4096 + b"\x5a" * 4096
