"""Nothing twice over several machines: what one has shown, another knows, and a database that is away costs a count."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from cds_service.alert_log import AlertLog, PriorRecord
from cds_service.alert_log.prior_everywhere import PriorEverywhere, PriorSourceDownError, merged
from cds_service.shipping.link import Link
from cds_service.shipping.prior_postgres import PostgresPriorCards
from tests.alert_log_samples import START, a_call, a_card, a_feedback, a_key, name_of
from tests.log_rows import NOW
from tests.log_tables import postgres_database

pytestmark = [pytest.mark.loopback, pytest.mark.usefixtures("socket_enabled")]

SINCE = {"quinine-avoid": START}
LIMIT = 10.0  # seconds: the machine of the tests may be busy


@pytest.fixture
def database(socket_enabled: None) -> Iterator[str]:
    with postgres_database() as url:
        yield url


@asynccontextmanager
async def machine(path: Path, url: str, limit: float = LIMIT) -> AsyncIterator[AlertLog]:
    log = AlertLog(path, prior_limit=limit, elsewhere=PostgresPriorCards(url, limit))
    log.start()
    try:
        yield log
    finally:
        await log.close()


async def ship(path: Path, url: str) -> None:
    def move() -> None:
        with closing(Link(path, url)) as link:
            while not link.move(2000, NOW).whole:
                pass

    await asyncio.to_thread(move)


async def shown(log: AlertLog, since: dict[str, datetime] | None = None, apart: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    found = await log.prior_cards(a_key("patient"), "", since or SINCE, apart)
    return [(name_of(one.uuid), one.answered) for one in found]


async def test_a_card_shown_on_one_machine_is_known_to_another_with_all_that_a_repeat_is_known_by(
    tmp_path: Path, database: str
) -> None:
    async with machine(tmp_path / "1" / "a", database) as first, machine(tmp_path / "2" / "a", database) as second:
        await first.append(a_call(a_card("u1", about="quinine", row=2), hook="order-select"))
        await second.append(a_call(a_card("other"), patient="somebody else"))
        await ship(tmp_path / "1" / "a", database)
        asked = (a_key("patient"), "", SINCE, ())
        assert await second.prior_cards(*asked) == await first.prior_cards(*asked) != []
        assert second.health().unanswered_elsewhere == 0


async def test_only_shown_live_cards_of_that_patient_client_and_time_count(tmp_path: Path, database: str) -> None:
    path = tmp_path / "a"
    async with machine(path, database) as log, machine(tmp_path / "b", database) as other:
        held_back = a_call(a_card("held back"))
        for call in (
            a_call(a_card("shadow", mode="shadow"), a_card("capped", state="capped"), a_card("another", card="baclofen-safety")),
            a_call(a_card("at another EHR"), client="another"),
            a_call(a_card("long ago"), minute=-1),
            a_call(a_card("this one"), minute=1),
            held_back,
        ):
            await log.append(call)
        log.withdraw(held_back, START)
        await log.append_feedback([a_feedback("this one")])
        await ship(path, database)
        assert await shown(other) == [("this one", "overridden")]


async def test_feedback_to_another_machine_answers_a_card(tmp_path: Path, database: str) -> None:
    async with machine(tmp_path / "1" / "a", database) as first, machine(tmp_path / "2" / "a", database) as second:
        await first.append(a_call(a_card("u1")))
        await second.append_feedback([a_feedback("u1", "overridden")])
        await ship(tmp_path / "1" / "a", database)
        assert await shown(first) == [("u1", "")]
        await ship(tmp_path / "2" / "a", database)
        assert await shown(first) == [("u1", "overridden")]
        assert await shown(second) == [("u1", "overridden")]


@pytest.mark.parametrize("outcomes", [["accepted", "overridden"], ["overridden", "accepted"], ["ignored", "accepted"]])
async def test_an_accepted_card_stays_accepted(tmp_path: Path, database: str, outcomes: list[str]) -> None:
    async with machine(tmp_path / "a", database) as log, machine(tmp_path / "b", database) as other:
        await log.append(a_call(a_card("u1")))
        await log.append_feedback([a_feedback("u1", outcome) for outcome in outcomes])
        await ship(tmp_path / "a", database)
        assert await shown(other) == [("u1", "accepted")]


async def test_alike_cards_are_one_and_the_newest_few_are_looked_at(tmp_path: Path, database: str) -> None:
    async with machine(tmp_path / "a", database) as log, machine(tmp_path / "b", database) as other:
        for n in range(60):
            await log.append(a_call(a_card(f"u{n}", row=n % 2), minute=n))
        await ship(tmp_path / "a", database)
        assert await shown(other) == [("u59", ""), ("u58", "")]
        apart = tuple(a_card(f"u{n}").uuid for n in range(60))
        assert len(await shown(other, apart=apart)) == 50


async def test_an_empty_database_and_one_without_tables_cost_nothing(tmp_path: Path, database: str) -> None:
    async with machine(tmp_path / "a", database) as log:
        await log.append(a_call(a_card("u1")))
        assert await shown(log) == [("u1", "")]
        assert log.health().unanswered_elsewhere == 1  # no tables yet
    await ship(tmp_path / "a", database)
    async with machine(tmp_path / "b", database) as log:
        assert await shown(log, {"no such card": START}) == []
        assert log.health().unanswered_elsewhere == 0


async def test_a_database_that_is_away_costs_one_short_wait_and_then_only_a_count(tmp_path: Path) -> None:
    """The port answers nobody: connections hang."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        url = f"postgresql://postgres@127.0.0.1:{silent.getsockname()[1]}/x"
        async with machine(tmp_path / "a", url, limit=0.2) as log:
            await log.append(a_call(a_card("u1")))
            began = time.monotonic()
            answers = [await shown(log) for _ in range(50)]
            assert time.monotonic() - began < 5  # not 50 times 0.2 s
            assert answers == [[("u1", "")]] * 50
            assert (log.health().unanswered, log.health().unanswered_elsewhere) == (0, 50)


async def test_a_database_that_comes_back_is_asked_again(tmp_path: Path, database: str) -> None:
    seconds = 0.0
    source = PostgresPriorCards(database, LIMIT, lambda: seconds)
    asked = (a_key("patient"), "", SINCE, ())
    async with machine(tmp_path / "a", database) as log:
        await log.append(a_call(a_card("u1")))
        await ship(tmp_path / "a", database)

    def cut() -> None:
        ours = "application_name = 'cds-service prior cards' AND datname = current_database()"
        with psycopg.connect(database) as connection:
            connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}".encode())  # noqa: S608 - written here

    await source.open()
    try:
        assert len(await source.find(*asked)) == 1
        await asyncio.to_thread(cut)
        with pytest.raises(PriorSourceDownError):
            await source.find(*asked)
        with pytest.raises(PriorSourceDownError, match="Paused"):
            await source.find(*asked)
        assert source._checking is not None
        await source._checking
        seconds = 1.0
        assert len(await source.find(*asked)) == 1
    finally:
        await source.close()


def a_prior(uuid: str, shown_at: datetime, **changes: object) -> PriorRecord:
    values: dict[str, object] = {
        "uuid": uuid,
        "card": "a",
        "version": "1",
        "indicator": "info",
        "about": "",
        "row": -1,
        "order_key": "",
        "hook": "order-sign",
        "user_key": "",
        "shown_at": shown_at,
        "answered": "",
    }
    return PriorRecord(**values | changes)  # type: ignore[arg-type]


def test_what_both_know_is_one_card_with_the_stronger_answer() -> None:
    other = a_prior("other", NOW, card="b")
    here = [a_prior("x", NOW, answered="overridden"), a_prior("y", START), other]
    there = [a_prior("x", NOW, answered="accepted"), a_prior("x", START), a_prior("y", START, answered="overridden")]
    found = merged(["b", "a"], here, there)
    assert [(one.uuid, one.shown_at, one.answered) for one in found] == [
        ("other", NOW, ""),
        ("x", NOW, "accepted"),
        ("y", START, "overridden"),
        ("x", START, ""),
    ]


async def test_a_call_that_ends_while_the_database_is_asked_leaves_no_question_behind() -> None:
    ended: list[str] = []

    class Slow:
        async def open(self) -> None: ...

        async def close(self) -> None: ...

        async def find(self, *_: object) -> list[PriorRecord]:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append("ended")
            return []

    class Silent:
        async def find(self, *_: object) -> list[PriorRecord]:
            return []

    everywhere = PriorEverywhere(Silent(), Slow(), 60)  # type: ignore[arg-type]
    asking = asyncio.create_task(everywhere.find(a_key("patient"), "", SINCE, ()))
    await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0)
    assert ended == ["ended"]
