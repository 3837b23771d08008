"""The writer of the alert log: durable before it says so, and no hindrance when the file is at fault."""

from __future__ import annotations

import asyncio
import gc
import secrets
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cds_service.alert_log import AlertLog, CallRecord
from cds_service.alert_log.records import Record
from cds_service.alert_log.rows import Rows
from cds_service.alert_log.store import Store
from tests.alert_log_samples import START, a_call, a_card, a_feedback, a_key, named, rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "alerts.sqlite3"


@asynccontextmanager
async def alert_log(path: Path, **options: Any) -> AsyncIterator[AlertLog]:
    log = AlertLog(path, **options)
    log.start()
    try:
        yield log
    finally:
        await log.close()


async def healthy(log: AlertLog) -> None:
    """Wait until the log has caught up; retries start after 0.2 s."""
    async with asyncio.timeout(10):
        while (health := log.health()).state != "ok" or health.waiting:  # noqa: ASYNC110 (a thread changes it)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def no_place_for(path: Path) -> AsyncIterator[None]:
    """The file can't be made: its folder is a file. As with a missing mount, it can be put right while the service runs."""
    path.parent.write_text("in the way")
    try:
        yield
    finally:
        path.parent.unlink()


async def test_a_call_is_on_the_disk_when_append_returns(path: Path) -> None:
    call = a_call(a_card("u1"), a_card("u2"))
    async with alert_log(path) as log:
        assert await log.append(call) is True

        assert rows(path, "SELECT id FROM call") == [call.id.hex()]
        assert rows(path, "SELECT uuid FROM card ORDER BY position") == ["u1", "u2"]
        assert log.health().written == 1
        assert log.health().state == "ok"


async def test_feedback_is_on_the_disk_when_append_returns_and_may_come_before_its_card(path: Path) -> None:
    async with alert_log(path) as log:
        assert await log.append_feedback([a_feedback("u1", "accepted"), a_feedback("u1", "overridden")]) is True

        assert rows(path, "SELECT outcome FROM feedback ORDER BY seq") == ["accepted", "overridden"]


async def test_calls_that_wait_together_share_commits_and_keep_their_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[int] = []
    append = Store.append

    def counting(store: Store, records: Sequence[Record]) -> None:
        commits.append(len(records))
        append(store, records)

    monkeypatch.setattr(Store, "append", counting)
    calls = [a_call() for _ in range(600)]
    async with alert_log(path) as log:
        assert all(await asyncio.gather(*(log.append(call) for call in calls)))

    assert rows(path, "SELECT id FROM call ORDER BY seq") == [call.id.hex() for call in calls]
    assert len(commits) < 20
    assert max(commits) <= 256


async def test_closing_writes_what_waits(path: Path) -> None:
    async with alert_log(path) as log:
        waiting = [asyncio.create_task(log.append(a_call())) for _ in range(300)]
        await asyncio.sleep(0)

    assert [await one for one in waiting] == [True] * 300
    assert rows(path, "SELECT count(*) FROM call") == [300]


async def test_a_closed_log_takes_nothing_and_counts_it(path: Path) -> None:
    async with alert_log(path) as log:
        pass

    assert await log.append(a_call()) is False
    assert log.health().state == "failed"
    assert log.health().lost == 1


async def test_a_call_whose_client_went_away_is_logged(path: Path) -> None:
    call = a_call()
    async with alert_log(path) as log:
        task = asyncio.create_task(log.append(call))
        await asyncio.sleep(0)
        task.cancel()

    assert rows(path, "SELECT id FROM call") == [call.id.hex()]


async def test_a_file_that_cannot_be_opened_holds_up_no_answer_and_all_is_written_when_it_can(path: Path) -> None:
    calls = [a_call(a_card()) for _ in range(300)]
    async with no_place_for(path):
        log = AlertLog(path)
        log.start()
        began = time.monotonic()
        answers = [await log.append(call) for call in calls]
        answers.append(await log.append_feedback([a_feedback(calls[0].cards[0].uuid)]))
        waited = time.monotonic() - began
        health = log.health()
    await healthy(log)
    await log.close()

    assert answers == [False] * 301
    assert waited < 5
    assert health.state == "degraded"
    assert health.waiting == 301
    assert health.last_error == "FileExistsError"
    assert rows(path, "SELECT id FROM call ORDER BY seq") == [call.id.hex() for call in calls]
    assert rows(path, "SELECT count(*) FROM feedback") == [1]
    assert log.health().lost == 0


async def test_a_full_disk_makes_the_waiting_calls_go_on_and_be_written_later(path: Path) -> None:
    calls = [a_call(facts=msgspec.json.encode(secrets.token_hex(20_000))) for _ in range(20)]
    async with alert_log(path) as log:
        store = log._writer._store
        assert store is not None
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages + 10}")  # 40 KB; a new connection is unlimited again

        answers = await asyncio.gather(*(log.append(call) for call in calls))
        health = log.health()
        await healthy(log)

        assert answers == [False] * 20
        assert health.state == "degraded"
        assert health.last_error == "OperationalError"
        assert rows(path, "SELECT id FROM call ORDER BY seq") == [call.id.hex() for call in calls]
        assert await log.append(a_call()) is True


async def test_a_commit_that_hangs_holds_up_no_answer_for_longer_than_the_patience(path: Path) -> None:
    first, second = a_call(), a_call()
    async with alert_log(path, patience=1) as log:
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            assert await log.append(first) is False
            patient = time.monotonic() - began
            began = time.monotonic()
            assert await log.append(second) is False
            impatient = time.monotonic() - began
            assert log.health().state == "degraded"
            other.rollback()
        await healthy(log)

        assert patient > 0.9
        assert impatient < 0.9  # it does not wait once more
        assert rows(path, "SELECT id FROM call ORDER BY seq") == [first.id.hex(), second.id.hex()]
        assert await log.append(a_call()) is True


async def test_more_than_fits_into_memory_is_lost_by_count_the_oldest_first(path: Path) -> None:
    calls = [a_call() for _ in range(50)]
    async with no_place_for(path):
        log = AlertLog(path, max_waiting_calls=10)
        log.start()
        for call in calls:
            assert await log.append(call) is False
        health = log.health()
        assert health.lost >= 30
        assert health.lost + health.waiting == 50
    await healthy(log)
    await log.close()

    assert log.health().written == 50 - health.lost
    assert rows(path, "SELECT id FROM call ORDER BY seq")[-10:] == [call.id.hex() for call in calls[-10:]]


async def test_closing_a_log_that_cannot_be_written_ends_and_counts_what_is_lost(path: Path) -> None:
    async with no_place_for(path):
        log = AlertLog(path, grace=0.1)
        log.start()
        for _ in range(300):
            await log.append(a_call())
        began = time.monotonic()
        await log.close()

    assert time.monotonic() - began < 30  # it ends
    assert log.health().lost == 300
    assert log.health().state == "failed"


async def test_a_commit_that_failed_after_it_reached_the_disk_is_not_doubled(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append = Store.append
    faults = iter([sqlite3.OperationalError("disk I/O error")])

    def commits_then_fails(store: Store, records: Sequence[Record]) -> None:
        append(store, records)
        for fault in faults:
            raise fault

    monkeypatch.setattr(Store, "append", commits_then_fails)
    calls = [a_call(a_card(f"u{n}")) for n in range(5)]
    async with alert_log(path) as log:
        answers = await asyncio.gather(*(log.append(call) for call in calls))
        await healthy(log)

    assert answers == [False] * 5
    assert rows(path, "SELECT id FROM call ORDER BY seq") == [call.id.hex() for call in calls]
    assert rows(path, "SELECT uuid FROM card ORDER BY seq") == ["u0", "u1", "u2", "u3", "u4"]
    assert log.health().written == 5


@pytest.mark.parametrize("position", [0, 7, 31])
async def test_a_record_that_cannot_be_stored_is_quarantined_and_the_others_are_stored(path: Path, position: int) -> None:
    calls = [a_call(a_card()) for _ in range(32)]
    calls[position] = a_call(a_card(), hook_instance="\ud800")
    async with alert_log(path) as log:
        answers = await asyncio.gather(*(log.append(call) for call in calls))
        health = log.health()

        assert answers == [n != position for n in range(32)]
        assert await log.append(a_call()) is True

    assert health.state == "ok"
    assert health.quarantined == 1
    assert health.written == 31
    assert health.last_error == "UnicodeEncodeError"
    assert rows(path, "SELECT kind, record_id, error FROM quarantine") == [
        ("call", calls[position].id.hex(), "UnicodeEncodeError")
    ]
    good = [call.id.hex() for n, call in enumerate(calls) if n != position]
    assert rows(path, "SELECT id FROM call ORDER BY seq LIMIT 31") == good


async def test_a_record_whose_id_cannot_be_stored_is_quarantined_under_an_escaped_one(path: Path) -> None:
    async with alert_log(path) as log:
        assert (
            await log.append_feedback([a_feedback("u1"), msgspec.structs.replace(a_feedback("u2"), card_uuid="\ud800")]) is False
        )

    assert rows(path, "SELECT card_uuid FROM feedback") == ["u1"]
    assert rows(path, "SELECT kind, record_id FROM quarantine") == [("feedback", "\\ud800")]


async def test_two_different_calls_with_one_id_are_not_mistaken_for_one(path: Path) -> None:
    async with alert_log(path) as log:
        assert await log.append(a_call(id="twice", hook_instance="first")) is True
        assert await log.append(a_call(id="twice", hook_instance="second")) is False

    assert rows(path, "SELECT hook_instance FROM call") == ["first"]
    assert rows(path, "SELECT record_id, error FROM quarantine") == [(named("twice").hex(), "IntegrityError")]


async def test_the_withdrawal_of_a_record_that_cannot_be_stored_leaves_one_trace(path: Path) -> None:
    call = a_call(a_card(), hook_instance="\ud800")
    async with alert_log(path) as log:
        assert await log.append(call) is False
        log.withdraw(call, START)

    assert log.health().quarantined == 1
    assert rows(path, "SELECT record_id FROM quarantine") == [call.id.hex()]


async def test_a_trace_that_cannot_be_stored_does_not_end_the_writer(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unfit(rows: Rows, record: Record) -> Any:
        raise sqlite3.IntegrityError("constraint failed")

    monkeypatch.setattr(Rows, "_quarantine", unfit)
    async with alert_log(path) as log:
        assert await log.append(a_call(hook_instance="\ud800")) is False
        assert await log.append(a_call()) is True
        health = log.health()

    assert (health.state, health.quarantined, health.last_error) == ("ok", 1, "IntegrityError")
    assert "kind=trace error=IntegrityError" in caplog.text


async def test_a_call_that_is_withdrawn_while_its_commit_hangs_ends_without_cards(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed, go_on = threading.Event(), threading.Event()
    append = Store.append

    def slow(store: Store, records: Sequence[Record]) -> None:
        append(store, records)
        committed.set()
        go_on.wait(10)

    call, next_one = a_call(a_card(), digest=1), a_call(a_card(), digest=1)
    async with alert_log(path, patience=0.05) as log:
        monkeypatch.setattr(Store, "append", slow)
        assert await log.append(call) is False
        assert await asyncio.to_thread(committed.wait, 10)
        log.withdraw(call, START)
        go_on.set()
        await healthy(log)
        assert await log.append(next_one) is True

    assert (call.status, call.digest, len(call.cards)) == (200, 1, 1), "the writer holds it"
    query = "SELECT id, status, bytes_out, (SELECT count(*) FROM card WHERE call_seq = call.seq) FROM call ORDER BY seq"
    assert rows(path, query) == [(call.id.hex(), 503, 0, 0), (next_one.id.hex(), 200, 2000, 1)]


async def test_a_withdrawal_that_comes_too_late_is_counted(path: Path) -> None:
    async with alert_log(path) as log:
        pass
    log.withdraw(a_call(), START)
    assert log.health().lost == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_writer_that_died_is_reported_and_holds_up_no_answer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(store: Store, records: Sequence[Record]) -> None:
        raise MemoryError

    monkeypatch.setattr(Store, "append", out_of_memory)
    async with alert_log(path, patience=60) as log:
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*(log.append(a_call()) for _ in range(5)))
        log._writer.join(5)

        assert answers == [False] * 5
        assert await log.append(a_call()) is False
        assert log.health().state == "failed"
        assert log.health().last_error == "MemoryError"


async def test_errors_are_logged_without_what_the_record_held(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with alert_log(path) as log:
        await log.append(a_call(client="secret \ud800"))

    assert "UnicodeEncodeError" in caplog.text
    assert "secret" not in caplog.text


async def test_a_log_that_was_not_started_takes_nothing(path: Path) -> None:
    log = AlertLog(path)

    assert await log.append(a_call()) is False
    assert log.health().state == "failed"
    await log.close()


async def test_two_logs_append_to_one_file(path: Path) -> None:
    async def fill(log: AlertLog, calls: list[CallRecord]) -> list[bool]:
        return [await log.append(call) for call in calls]

    calls = [[a_call(a_card(f"{n}-{k}"), id=f"{n}-{k}") for k in range(100)] for n in range(2)]
    async with alert_log(path) as one, alert_log(path) as other:
        stored = await asyncio.gather(fill(one, calls[0]), fill(other, calls[1]))

    assert [all(mine) for mine in stored] == [True, True]
    found = rows(path, "SELECT id, uuid FROM call JOIN card ON call_seq = call.seq")
    assert sorted(found) == sorted((f"{n}-{k}", f"{n}-{k}") for n in range(2) for k in range(100))


async def test_a_file_that_was_removed_is_noticed_and_written_anew(tmp_path: Path) -> None:
    log = AlertLog(tmp_path / "alerts.sqlite3")
    log.start()
    await log.append(a_call())
    (tmp_path / "alerts.sqlite3").unlink()
    later = a_call()
    while not await log.append(later):
        await asyncio.sleep(0.05)
        later = a_call()
    assert len(rows(tmp_path / "alerts.sqlite3", "SELECT id FROM call")) >= 1
    await log.close()


def let_threads_run() -> None:
    time.sleep(0.02)


async def test_records_of_one_turn_of_the_event_loop_share_a_commit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[int] = []
    append = Store.append

    def counting(store: Store, records: Sequence[Record]) -> None:
        commits.append(len(records))
        append(store, records)

    monkeypatch.setattr(Store, "append", counting)

    async def slowly(log: AlertLog) -> bool:
        appended = asyncio.ensure_future(log.append(a_call()))
        await asyncio.sleep(0)  # it is queued
        let_threads_run()
        return await appended

    async with alert_log(path) as log:
        assert all(await asyncio.gather(*(slowly(log) for _ in range(4))))

    assert commits == [4]


async def test_nothing_of_a_call_is_held_once_it_is_durable(path: Path) -> None:
    async with alert_log(path) as log:
        await asyncio.gather(*(log.append(a_call()) for _ in range(50)))

        assert len(log._unsettled) == 0
        for _ in range(5000):  # the thread counts them off once it has answered
            if not log.health().waiting:
                break
            await asyncio.sleep(0.001)
        assert log.health().waiting == 0


async def test_calls_leave_nothing_that_only_the_garbage_collector_frees(path: Path) -> None:
    async with alert_log(path, prior_limit=10) as log:
        for last in (False, True):
            if last:
                gc.collect()
                gc.freeze()  # what other tests left is not looked through again
                gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                await asyncio.gather(*(log.append(a_call(a_card())) for _ in range(50)))
                await log.append_feedback([a_feedback("u1")])
                await log.prior_cards(a_key("patient"), "", {"quinine-avoid": START}, ())
                await asyncio.sleep(0)
                gc.collect()
                left = [type(one).__qualname__ for one in gc.garbage]
            finally:
                gc.set_debug(0)
                gc.garbage.clear()

    assert left == []
