"""Calls of one client beyond its registration are turned away until the minute is over."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cds_service.hooks.client_limits import MINUTE, ClientLimits
from cds_service.trust import ANONYMOUS, Caller
from cds_service.wire.errors import TooManyCalls
from tests.http_side import SameCaller, Stub, call_body, new_test_app, running

BUSY = Caller("busy", calls_per_minute=2)


def test_calls_beyond_the_limit_are_refused_until_the_minute_is_over() -> None:
    now = [100.0]
    limits = ClientLimits(lambda: now[0])
    limits.take(BUSY)
    now[0] += 20.5
    limits.take(msgspec.structs.replace(BUSY, tenant="another"))
    with pytest.raises(TooManyCalls) as refused:
        limits.take(BUSY)
    assert refused.value.headers == {"retry-after": "40"}
    limits.take(Caller("calm", calls_per_minute=2))
    now[0] = 100.0 + MINUTE
    limits.take(BUSY)


def test_a_client_without_a_limit_of_its_own_has_none() -> None:
    limits = ClientLimits(lambda: 0.0)
    for _ in range(1000):
        limits.take(ANONYMOUS)


async def test_the_ehr_gets_429_and_when_to_come_back(tmp_path: Path) -> None:
    stub = Stub()
    app, _ = new_test_app(tmp_path, stub, callers=SameCaller(BUSY))
    async with running(app) as client:
        answers = [await client.post("/cds-services/cramps-patient-view", json=call_body()) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 0 < int(answers[2].headers["retry-after"]) <= MINUTE
    assert answers[2].json()["issue"][0]["code"] == "throttled"
    assert len(stub.calls) == 2
