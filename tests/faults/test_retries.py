"""Calls and feedback that are sent again: one logical record, whichever worker answers. `CDS_CALLS=10000` for the long form."""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest

from tests.alert_log_samples import rows
from tests.faults.wire import SAMPLE, SERVICE, answer_of, connected, served, whole

CALLS = int(os.environ.get("CDS_CALLS", "200"))
TIMES = 5
CONNECTIONS = 16

pytestmark = [pytest.mark.loopback, pytest.mark.usefixtures("socket_enabled")]


async def test_what_is_sent_five_times_over_two_workers_is_one_record(tmp_path: Path) -> None:
    chance = random.Random(1)
    # Retries of one call come close together, as they do, and in any order within that.
    instances = [str(uuid.uuid4()) for _ in range(CALLS)]
    waiting: list[str] = []
    for at in range(0, CALLS, 50):
        together = instances[at : at + 50] * TIMES
        chance.shuffle(together)
        waiting += together
    answers: dict[str, set[bytes]] = defaultdict(set)
    cards: dict[str, str] = {}

    async def ask(port: int) -> None:
        async with connected(port) as (reader, writer):
            while waiting:
                instance = waiting.pop()
                writer.write(whole(msgspec.json.encode(SAMPLE | {"hookInstance": instance})))
                status, body = await answer_of(reader)
                assert status == 200
                answers[instance].add(body)
                cards[instance] = msgspec.json.decode(body)["cards"][0]["uuid"]
                item = {"card": cards[instance], "outcome": "overridden", "outcomeTimestamp": "2026-01-01T00:00:00Z"}
                writer.write(whole(msgspec.json.encode({"feedback": [item]}), f"/cds-services/{SERVICE}/feedback"))
                assert (await answer_of(reader))[0] == 200

    with served(tmp_path, workers=2) as server:
        await asyncio.gather(*(ask(server.port) for _ in range(CONNECTIONS)))
    path = tmp_path / "alerts.sqlite3"
    assert {len(one) for one in answers.values()} == {1}
    again = CALLS * (TIMES - 1)
    first = "SELECT count(*), count(DISTINCT hook_instance) FROM call WHERE repeat_of IS NULL"
    assert rows(path, first) == [(CALLS, CALLS)]
    assert rows(path, "SELECT count(*) FROM call WHERE repeat_of IS NOT NULL") == [again]
    assert rows(path, "SELECT count(*), count(DISTINCT card_uuid) FROM feedback") == [(CALLS * TIMES, CALLS)]
    assert rows(path, "SELECT count(*) FROM card WHERE card = 'quinine-avoid'") == [CALLS]
    assert sorted(rows(path, "SELECT uuid FROM card WHERE card = 'quinine-avoid'")) == sorted(cards.values())
    print(f"{CALLS} calls and their feedback, each sent {TIMES} times: {CALLS} records of each")
