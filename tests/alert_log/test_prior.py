"""What the log says about cards that were shown before, how soon, and what a file of an earlier schema becomes."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from cds_service.alert_log import AlertLog, PriorRecord
from cds_service.alert_log import prior as module
from tests.alert_log_samples import START, a_call, a_card, a_feedback, a_key, a_uuid, name_of

SINCE = {"quinine-avoid": START}
ASKED = dict.fromkeys(("patient", "card", "live", "shown", "accepted", "overridden", "newest", "client", "since"), 1) | {
    "apart": "[]"
}
# Uuids of cards that are read one by one:
EVERY = tuple(map(a_uuid, ("u1", "u2", "this one", "long ago", *(f"u{n}" for n in range(1000)))))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "alerts.sqlite3"


@asynccontextmanager
async def alert_log(path: Path, prior_limit: float = 10) -> AsyncIterator[AlertLog]:
    """`prior_limit`: long, because the machine of the tests may be busy."""
    log = AlertLog(path, prior_limit=prior_limit)
    log.start()
    try:
        yield log
    finally:
        await log.close()


async def shown(log: AlertLog, since: dict[str, datetime] | None = None, patient: str = "patient") -> list[str]:
    return [name_of(one.uuid) for one in await log.prior_cards(a_key(patient), "", since or SINCE, EVERY)]


async def test_a_card_is_known_as_soon_as_it_is_logged_with_all_that_a_repeat_is_known_by(path: Path) -> None:
    async with alert_log(path) as log:
        await log.append(a_call(a_card("u1", about="quinine", row=2), hook="order-select"))
        assert await log.prior_cards(a_key("patient"), "", SINCE, EVERY) == [
            PriorRecord(
                uuid=a_uuid("u1"),
                card="quinine-avoid",
                version="1.2.0",
                indicator="warning",
                about="quinine",
                row=2,
                order_key=a_key("order"),
                hook="order-select",
                user_key=a_key("user"),
                shown_at=START,
                answered="",
            )
        ]
        assert log.health().unanswered == 0


async def test_only_live_cards_with_that_id_of_that_patient_and_client_in_that_time_count(path: Path) -> None:
    async with alert_log(path) as log:
        await log.append(a_call(a_card("shadow", mode="shadow"), a_card("another", card="baclofen-safety")))
        await log.append(a_call(a_card("somebody else"), patient="other"))
        await log.append(a_call(a_card("at another EHR"), client="another"))
        await log.append(a_call(a_card("long ago"), minute=-1))
        await log.append(a_call(a_card("nobody"), patient=""))
        assert await shown(log) == []
        assert await shown(log, patient="") == []
        await log.append(a_call(a_card("this one")))
        assert await shown(log) == ["this one"]
        both = {"quinine-avoid": START - timedelta(hours=1), "baclofen-safety": START}
        assert await shown(log, both) == ["this one", "long ago", "another"]


@pytest.mark.parametrize(
    ("outcomes", "answered"),
    [
        ([], ""),
        (["overridden"], "overridden"),
        (["accepted"], "accepted"),
        (["accepted", "overridden"], "accepted"),
        (["overridden", "accepted"], "accepted"),
        (["ignored"], ""),
        (["overridden", "ignored"], "overridden"),
    ],
)
async def test_feedback_says_how_a_card_was_answered(path: Path, outcomes: list[str], answered: str) -> None:
    async with alert_log(path) as log:
        await log.append(a_call(a_card("u1"), a_card("u2")))
        await log.append_feedback([a_feedback("u1", outcome) for outcome in outcomes])
        first, second = reversed(await log.prior_cards(a_key("patient"), "", SINCE, EVERY))
        assert (first.answered, second.answered) == (answered, "")


async def test_an_override_answers_no_card_that_was_shown_after_it_although_a_repeated_call_gave_it_the_same_uuid(
    path: Path,
) -> None:
    async with alert_log(path) as log:
        await log.append(a_call(a_card("u1", indicator="info")))
        await log.append_feedback([a_feedback("u1", minute=5)])
        await log.append(a_call(a_card("u1"), minute=10))
        newer, older = await log.prior_cards(a_key("patient"), "", SINCE, EVERY)
        assert (older.answered, newer.answered) == ("overridden", "")


async def test_a_patient_with_a_thousand_cards_is_looked_up_by_the_newest_few(path: Path) -> None:
    async with alert_log(path) as log:
        await asyncio.gather(*(log.append(a_call(a_card(f"u{n}"), minute=n)) for n in range(1000)))
        assert await shown(log) == [f"u{n}" for n in range(999, 949, -1)]
    with closing(sqlite3.connect(path)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {module._SHOWN}", dict.fromkeys(ASKED, "[]")).fetchall()
    text = "\n".join(row[3] for row in plan)
    assert "card USING INDEX card_of_patient_at (patient=? AND card=?)" in text
    scanned = {line for line in text.splitlines() if line.startswith("SCAN")}
    assert scanned <= {"SCAN card", "SCAN json_each VIRTUAL TABLE INDEX 1:"}, "`card` is the fifty newest"
    assert "call USING COVERING INDEX call_of_time" in text or "call USING INDEX call_of_time (received_at=? AND id=?)" in text
    assert "feedback USING INDEX feedback_of_card (card_uuid=?)" in text


async def test_cards_that_are_alike_are_read_once_and_the_answers_stay_the_same(path: Path) -> None:
    """Whatever a rule asks of a card: the newest that meets it is the same with and without the older ones like it."""
    chance = Random(7)
    async with alert_log(path) as log:
        for minute in range(60):
            uuid = f"u{chance.randrange(50)}"
            card = a_card(
                uuid,
                order_key=chance.choice(["", *["order"] * 5]),
                version=chance.choice(["1.3.0", *["1.2.0"] * 5]),
                indicator=chance.choice(["info", "warning"]),
                about=chance.choice(["quinine", "quinine, potassium"]),
                row=chance.choice([1, 0, 0, 0]),
            )
            hook, user = chance.choice(["order-select", "order-sign"]), chance.choice(["other", *["user"] * 5])
            await log.append(a_call(card, minute=minute, hook=hook, user=user))
            if chance.random() < 0.3:
                await log.append_feedback([a_feedback(uuid, chance.choice(["accepted", "overridden"]), minute=minute + 1)])
        alone = tuple(map(a_uuid, ("u1", "u2", "u3")))
        every = await log.prior_cards(a_key("patient"), "", SINCE, EVERY)
        read = await log.prior_cards(a_key("patient"), "", SINCE, alone)
    assert len(every) == 50
    assert {one for one in every if one.uuid in alone} <= set(read)
    assert set(read) < set(every)
    asked = [name for name in PriorRecord.__struct_fields__ if name not in ("uuid", "shown_at")]
    for wanted in every:
        for _ in range(50):
            names = chance.sample(asked, chance.randrange(len(asked)))

            def newest(found: list[PriorRecord], names: list[str] = names, wanted: PriorRecord = wanted) -> PriorRecord | None:
                alike = (one for one in found if all(getattr(one, name) == getattr(wanted, name) for name in names))
                return next(alike, None)

            assert newest(read) == newest(every) is not None


# Not in time


async def test_a_log_that_is_not_there_or_closed_says_nothing_and_counts_it(path: Path) -> None:
    log = AlertLog(path)
    assert await shown(log) == []
    assert log.health().unanswered == 1
    await log.close()
    assert await shown(log) == []
    assert log.health().unanswered == 2


async def test_a_file_that_is_damaged_says_nothing_and_is_asked_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with alert_log(path) as log:
        await log.append(a_call(a_card("u1")))
        with closing(sqlite3.connect(path)) as other:
            other.execute("ALTER TABLE feedback RENAME TO gone")
        assert await shown(log) == []
        assert await shown(log) == []
        assert log.health().unanswered == 2
        with closing(sqlite3.connect(path)) as other:
            other.execute("ALTER TABLE gone RENAME TO feedback")
        assert await shown(log) == ["u1"]
    assert [record.getMessage() for record in caplog.records].count("log_unread error=OperationalError") == 1


async def test_a_read_that_hangs_keeps_nobody_waiting_and_those_behind_it_do_not_pile_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = threading.Event()
    reads: list[str] = []

    def hang(file: Path, busy_ms: int) -> sqlite3.Connection:
        reads.append("read")
        hanging.wait(10)
        raise sqlite3.OperationalError("disk I/O error")

    async with alert_log(path, prior_limit=0.1) as log:
        with monkeypatch.context() as patched:
            patched.setattr(module, "open_for_reading", hang)
            began = time.monotonic()
            answers = await asyncio.gather(*(shown(log) for _ in range(20)))
            waited = time.monotonic() - began
            hanging.set()
            await asyncio.sleep(0)
        assert answers == [[]] * 20
        assert waited < 9  # the file answers after 10 s
        assert log.health().unanswered == 20
        assert reads == ["read"]
        await log.append(a_call(a_card("u1")))
        async with asyncio.timeout(5):
            while await shown(log) != ["u1"]:
                pass


async def test_a_query_that_takes_too_long_is_ended_in_the_thread_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT :card UNION ALL SELECT :card FROM n) SELECT max(x) FROM n"
    async with alert_log(path, prior_limit=0.1) as log:
        await log.append(a_call(a_card("u1")))
        with monkeypatch.context() as patched:
            patched.setattr(module, "_SHOWN", endless)
            assert await shown(log) == []
        async with asyncio.timeout(5):
            while await shown(log) != ["u1"]:
                pass


async def test_asking_does_not_hold_up_the_writer_and_leaves_no_thread_behind(path: Path) -> None:
    others = set(threading.enumerate())
    async with alert_log(path) as log:
        for n in range(20):
            await log.append(a_call(a_card(f"u{n}"), minute=n))
            assert (await shown(log))[0] == f"u{n}"
        left = [one for one in threading.enumerate() if one not in others]
        assert {one.name for one in left} >= {"alert-log", "alert-log-prior_0"}
    for one in left:
        one.join(5)
    assert not [one for one in left if one.is_alive()]
