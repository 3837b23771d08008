"""T3 within one process: each token once, what happens while the shared memory is down, and what that shows."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from cds_service.files.set_aside import files_set_aside
from cds_service.telemetry.metrics import AUTH_DEGRADED, TOKENS_SET_ASIDE, count
from cds_service.trust.replay import Replay, StoreDownError
from cds_service.trust.replay_sqlite import SqliteUsedTokens
from cds_service.trust.tokens import read_token
from cds_service.trust.verify import LEEWAY
from tests.http_side import call_body, running
from tests.tokens import FEEDBACK, SERVICE, a_client, bearer, signed
from tests.trusting import NOW, Clock, Memory, app_with, callers

PATH, FEEDBACK_PATH = "/cds-services/cramps-order-sign", "/cds-services/cramps-order-sign/feedback"
ONE_FEEDBACK = {"feedback": [{"card": "c-1", "outcome": "accepted"}]}


def degraded_calls() -> float:
    [family] = AUTH_DEGRADED.collect()
    return next(sample.value for sample in family.samples if sample.name.endswith("_total"))


# Through the application


async def test_a_token_is_good_once_and_at_once_too(tmp_path: Path) -> None:
    async with running(app_with(tmp_path, callers(tmp_path))) as client:
        headers = bearer(now=NOW)
        answers = await asyncio.gather(*(client.post(PATH, json=call_body("order-sign"), headers=headers) for _ in range(20)))
        assert sorted(answer.status_code for answer in answers) == [200] + [401] * 19
        again = await client.post(PATH, json=call_body("order-sign"), headers=headers)
        assert (again.status_code, again.content) == (401, b"")


async def test_a_token_is_used_up_by_a_request_that_turns_out_bad(tmp_path: Path) -> None:
    async with running(app_with(tmp_path, callers(tmp_path))) as client:
        headers = bearer(now=NOW)
        assert (await client.post(PATH, content=b"no json", headers=headers)).status_code == 400
        assert (await client.post(PATH, json=call_body("order-sign"), headers=headers)).status_code == 401


async def test_the_same_jti_of_two_issuers_are_two_tokens(tmp_path: Path) -> None:
    other = "https://other.example"
    known = callers(tmp_path, a_client(), a_client("other", iss=other))
    async with running(app_with(tmp_path, known)) as client:
        for iss, status in ((None, 200), (other, 200), (None, 401), (other, 401)):
            changes = {"jti": "same"} | ({"iss": iss} if iss else {})
            answer = await client.post(PATH, json=call_body("order-sign"), headers=bearer(now=NOW, **changes))
            assert answer.status_code == status


async def test_a_refused_token_uses_nothing_up(tmp_path: Path) -> None:
    async with running(app_with(tmp_path, callers(tmp_path))) as client:
        forged = bearer(now=NOW, jti="mine", kid="k1")["authorization"][:-8] + "AAAAAAAA"
        assert (await client.post(PATH, json={}, headers={"authorization": forged})).status_code == 401
        assert (await client.post(PATH, json=call_body("order-sign"), headers=bearer(now=NOW, jti="mine"))).status_code == 200


async def test_tokens_are_remembered_until_they_have_expired_and_forgotten_then(tmp_path: Path) -> None:
    clock, memory = Clock(), Memory()
    known = callers(tmp_path, clock=clock, memory=memory)
    async with running(app_with(tmp_path, known)) as client:
        headers = bearer(now=NOW)
        assert (await client.post(PATH, json=call_body("order-sign"), headers=headers)).status_code == 200
        for passed in (359.9, 360.0, 361.0):
            clock.passed = passed
            await known.tick()
            assert (await client.post(PATH, json=call_body("order-sign"), headers=headers)).status_code == 401
        assert len(memory.used) == 1
        clock.passed = 500.0
        await known.tick()
        assert (memory.used, known._replay._accepted) == ({}, {})


async def test_while_the_store_is_down_cards_go_on_feedback_waits_and_health_says_so(tmp_path: Path) -> None:
    clock, memory = Clock(), Memory()
    known = callers(tmp_path, clock=clock, memory=memory)
    async with running(app_with(tmp_path, known)) as client:
        memory.down = True
        before, headers = degraded_calls(), bearer(now=NOW)
        assert (await client.post(PATH, json=call_body("order-sign"), headers=headers)).status_code == 200
        assert (await client.post(PATH, json=call_body("order-sign"), headers=headers)).status_code == 401  # seen here
        assert degraded_calls() == before + 1
        health = (await client.get("/health")).json()
        assert (health["status"], health["callers"]["degraded_auth"]) == ("degraded", True)
        refused = await client.post(FEEDBACK_PATH, json=ONE_FEEDBACK, headers=bearer(FEEDBACK, now=NOW))
        assert (refused.status_code, refused.json()["issue"][0]["code"]) == (503, "transient")
        memory.down = False
        clock.passed = 10.0
        await known.tick()
        assert len(memory.used) == 2  # what was let in meanwhile is known to everybody now
        assert (await client.get("/health")).json()["status"] == "ok"
        taken = await client.post(FEEDBACK_PATH, json=ONE_FEEDBACK, headers=bearer(FEEDBACK, now=NOW))
        assert taken.status_code == 200


async def test_while_the_store_is_down_a_strict_site_lets_nobody_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory()
    async with running(app_with(tmp_path, callers(tmp_path, memory=memory, replay_down="refuse"))) as client:
        memory.down = True
        answer = await client.post(PATH, json=call_body("order-sign"), headers=bearer(now=NOW))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert answer.json()["issue"][0]["code"] == "transient"
        assert "why=replay_unknown" in caplog.text
        assert (await client.get("/cds-services")).status_code == 200  # discovery never asks


async def test_two_processes_share_what_was_used_also_what_one_let_in_alone(tmp_path: Path) -> None:
    clock, memory = Clock(), Memory()
    one, two = (Replay(memory, clock.now, clock.monotonic) for _ in range(2))
    for process in (one, two):
        await process.start()
    first, second = (read_token(signed(now=NOW)) for _ in range(2))
    assert await one.first_use(first, LEEWAY) is True
    assert await two.first_use(first, LEEWAY) is False
    memory.down = True
    assert await one.first_use(second, LEEWAY) is None
    memory.down = False
    clock.passed = 5.0
    await one.maintain()
    assert not one.degraded
    assert await two.first_use(second, LEEWAY) is False


async def test_a_machine_whose_clock_is_ahead_makes_none_forget_a_token_that_is_still_good(tmp_path: Path) -> None:
    ahead, behind, memory = Clock(), Clock(), Memory()
    ahead.passed = LEEWAY
    first, second = (Replay(memory, clock.now, clock.monotonic) for clock in (ahead, behind))
    for process in (first, second):
        await process.start()
    token = read_token(signed(now=NOW))
    assert await first.first_use(token, LEEWAY) is True
    for clock in (ahead, behind):
        clock.passed += token.expires + LEEWAY - NOW - 1  # the last second in which it is good where the clock is behind
    await first.maintain()
    assert await second.first_use(token, LEEWAY) is False


async def test_a_store_that_hangs_does_not_keep_the_service_from_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cds_service.trust.replay.ANSWER_SECONDS", 0.05)
    memory = Memory()
    monkeypatch.setattr(memory, "close", asyncio.Event().wait)
    async with asyncio.timeout(5):
        async with running(app_with(tmp_path, callers(tmp_path, memory=memory))) as client:
            assert (await client.post(PATH, json=call_body("order-sign"), headers=bearer(now=NOW))).status_code == 200


async def test_a_store_that_is_down_is_not_asked_by_every_call(tmp_path: Path) -> None:
    clock, memory = Clock(), Memory()
    replay = Replay(memory, clock.now, clock.monotonic)
    await replay.start()
    memory.down = True
    asked = memory.questions
    for _ in range(100):
        assert await replay.first_use(read_token(signed(now=NOW)), LEEWAY) is None
    assert memory.questions == asked + 1


async def test_what_can_not_be_remembered_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cds_service.trust.replay.MAX_REMEMBERED", 2)
    clock, memory = Clock(), Memory()
    replay = Replay(memory, clock.now, clock.monotonic)
    await replay.start()
    tokens = [read_token(signed(now=NOW)) for _ in range(4)]
    assert [await replay.first_use(token, LEEWAY) for token in tokens[:3]] == [True] * 3  # the store decides alone
    assert await replay.first_use(tokens[2], LEEWAY) is False
    memory.down = True
    assert await replay.first_use(tokens[3], LEEWAY) is False


# The file


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteUsedTokens]:
    made = SqliteUsedTokens(tmp_path / "var" / "used_tokens.sqlite3", Clock().now)
    await made.open()
    yield made
    await made.close()


async def test_the_file_lets_one_insert_of_many_win_and_is_private(store: SqliteUsedTokens, tmp_path: Path) -> None:
    other = SqliteUsedTokens(tmp_path / "var" / "used_tokens.sqlite3", Clock().now)
    await other.open()
    for number in range(50):
        use = (number.to_bytes(16), 100)
        won = await asyncio.gather(*(one.insert(use) for one in (store, other) for _ in range(5)))
        assert sum(won) == 1
    await other.close()
    assert stat.S_IMODE((tmp_path / "var" / "used_tokens.sqlite3").stat().st_mode) == 0o600


async def test_the_file_keeps_hashes_and_forgets_what_expired(store: SqliteUsedTokens, tmp_path: Path) -> None:
    await store.insert_all([(b"a" * 16, 100), (b"b" * 16, 200), (b"a" * 16, 100)])
    await store.purge(100)
    with closing(sqlite3.connect(tmp_path / "var" / "used_tokens.sqlite3")) as connection:
        assert connection.execute("SELECT token, until FROM used_token").fetchall() == [(b"b" * 16, 200)]


async def test_a_file_that_was_removed_locked_or_broken_is_down_and_can_be_opened_again(
    store: SqliteUsedTokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "var" / "used_tokens.sqlite3"
    for one in path.parent.iterdir():
        one.unlink()
    with pytest.raises(StoreDownError, match="FileNotFoundError"):
        await store.insert((b"a" * 16, 100))
    await store.open()
    assert await store.insert((b"a" * 16, 100))
    monkeypatch.setattr("cds_service.trust.replay_sqlite._BUSY_MS", 0)
    quick = SqliteUsedTokens(path, Clock().now)
    await quick.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreDownError, match="OperationalError"):
            await quick.insert((b"b" * 16, 100))
        other.execute("ROLLBACK")
    await quick.open()
    assert await quick.insert((b"b" * 16, 100))
    await quick.close()


# A store that was damaged


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_damaged_store_is_set_aside_and_learns_what_the_processes_remember(tmp_path: Path, workers: int) -> None:
    path, clock, counted = tmp_path / "used_tokens.sqlite3", Clock(), count(TOKENS_SET_ASIDE)
    processes = [Replay(SqliteUsedTokens(path, clock.now), clock.now, clock.monotonic) for _ in range(workers)]
    for process in processes:
        await process.start()
    used = [read_token(signed(now=NOW)) for _ in range(workers)]
    assert [await process.first_use(token, LEEWAY) for process, token in zip(processes, used, strict=True)] == [True] * workers
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(b"noise" * 4096)
    for passed in (5.0, 10.0):
        for process in processes:
            await process.first_use(read_token(signed(now=NOW + 500)), LEEWAY)  # finds it out
            clock.passed = passed
            await process.maintain()
    assert [process.degraded for process in processes] == [False] * workers
    assert [name.split("-")[0] for name in files_set_aside(tmp_path)] == ["used_tokens.sqlite3.damaged"], "by one of them"
    assert count(TOKENS_SET_ASIDE) == counted + 1
    for token in used:
        assert [await process.first_use(token, LEEWAY) for process in processes] == [False] * workers
    unseen, later = read_token(signed(now=NOW - 60)), read_token(signed(now=NOW + 500))
    assert await processes[0].first_use(unseen, LEEWAY) is None, "a process that has ended may have accepted it"
    assert await processes[0].first_use(unseen, LEEWAY) is False
    assert await processes[-1].first_use(later, LEEWAY) is True
    for process in processes:
        await process.close()


@pytest.mark.parametrize("folder", [False, True])
async def test_a_store_that_is_damaged_at_the_start_knows_since_when_it_knows(tmp_path: Path, folder: bool) -> None:
    path, clock = tmp_path / "used_tokens.sqlite3", Clock()
    if folder:
        path.mkdir()
    else:
        path.write_text("no database " * 500)
    for _ in range(2):  # the second finds what the first has begun
        store = SqliteUsedTokens(path, clock.now)
        assert await store.open() == clock.now()
        await store.close()
    assert len(files_set_aside(tmp_path)) == 1


async def test_a_strict_site_waits_for_tokens_that_a_damaged_store_can_not_have_known(tmp_path: Path) -> None:
    memory = Memory()
    memory.begun = NOW + 1000.0
    async with running(app_with(tmp_path, callers(tmp_path, memory=memory, replay_down="refuse"))) as client:
        answer = await client.post(PATH, json=call_body("order-sign"), headers=bearer(now=NOW))
        assert answer.status_code == 503
    async with running(app_with(tmp_path, callers(tmp_path, memory=memory))) as client:
        before = degraded_calls()
        answer = await client.post(PATH, json=call_body("order-sign"), headers=bearer(now=NOW))
        assert (answer.status_code, degraded_calls()) == (200, before + 1)


async def test_the_log_line_of_a_refusal_holds_no_token_and_no_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(app_with(tmp_path, callers(tmp_path))) as client:
        headers = bearer(SERVICE, now=NOW, jti="CANARY-1", iss="https://CANARY-2.example", sub="CANARY-3")
        await client.post(PATH, json=call_body("order-sign"), headers=headers)
        headers = bearer("https://CANARY-4.example", now=NOW, header={"kid": "CANARY-5"})
        await client.post(PATH, json=call_body("order-sign"), headers=headers)
    said = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert said == [
        "caller_refused why=issuer client=- peer=127.0.0.1",
        "caller_refused why=audience client=ehr peer=127.0.0.1",
    ]
