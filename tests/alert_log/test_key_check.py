"""A key of the hashes that was changed without notice is an alarm, and never stops a call."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cds_service.alert_log.key_check import foreign_keys
from cds_service.alert_log.store import Store
from cds_service.app import create_app
from tests.core import Json, a_runtime
from tests.http_side import running

FIRST, SECOND, THIRD = b"1" * 32, b"2" * 32, b"3" * 32


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "alerts.sqlite3"
    Store(path).close()
    return path


def test_the_key_that_a_log_began_with_is_known_and_another_is_told(log: Path) -> None:
    assert foreign_keys(log, {1: FIRST}) == []
    assert foreign_keys(log, {1: FIRST}) == []
    assert foreign_keys(log, {1: SECOND}) == [1]
    assert foreign_keys(log, {1: SECOND}) == [1], "it is told at each start"
    assert foreign_keys(log, {1: FIRST}) == []


def test_a_key_that_was_changed_with_notice_is_right(log: Path) -> None:
    assert foreign_keys(log, {1: FIRST}) == []
    assert foreign_keys(log, {2: SECOND, 1: FIRST}) == []
    assert foreign_keys(log, {2: SECOND}) == []
    assert foreign_keys(log, {2: THIRD, 1: SECOND}) == [2, 1]


def test_the_log_holds_nothing_of_the_key(log: Path) -> None:
    foreign_keys(log, {1: FIRST})
    assert FIRST not in log.read_bytes()


async def health(folder: Path, caplog: pytest.LogCaptureFixture, **changes: Any) -> tuple[Json, str]:
    caplog.clear()
    runtime = msgspec.structs.replace(a_runtime(folder), **changes)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        return (await client.get("/health")).json(), caplog.text


async def test_a_process_with_another_key_starts_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told, lines = await health(tmp_path, caplog, hash_secret=FIRST)
    assert (told["status"], told["notes"], "key_changed" in lines) == ("ok", [], False)
    told, lines = await health(tmp_path, caplog, hash_secret=SECOND)
    assert told["status"] == "degraded"
    assert told["notes"][0].startswith("the key of the hashes k1 is not the one that this log began with")
    assert "key_changed count=1" in lines


async def test_a_log_that_cannot_be_read_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> list[int]:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr("cds_service.process.health.foreign_keys", locked)
    told, lines = await health(tmp_path, caplog)
    assert told["notes"] == []
    assert "key_unchecked" in lines


def test_two_workers_may_begin_a_log_at_once(log: Path) -> None:
    with closing(Store(log)):
        assert [foreign_keys(log, {1: FIRST}), foreign_keys(log, {1: SECOND})] == [[], [1]]
