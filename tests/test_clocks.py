"""A clock that is set, and the nights on which an hour comes twice: deadlines don't notice, and what is stored is UTC."""

from __future__ import annotations

import ast
import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import respx

import cds_service
from cds_service import respond
from cds_service.app import create_app
from cds_service.shorthand import request_from_case
from tests.alert_log_samples import rows
from tests.core import Json, a_runtime
from tests.http_side import running

PACKAGE = Path(cds_service.__file__).parent
BASE = "https://ehr.example/fhir"


class Clock:
    """The time of day as the service reads it, which tests set."""

    at = datetime(2026, 6, 1, 12, tzinfo=UTC)

    @classmethod
    def now(cls, tz: object) -> datetime:
        assert tz is UTC
        return cls.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(respond, "datetime", Clock)
    monkeypatch.setattr(time, "time", lambda: Clock.at.timestamp())
    return Clock


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def quinine(now: datetime) -> Json:
    return request_from_case(["prescribed: quinine 300 mg"], "patient-view", now)


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1), timedelta(days=400)])
@respx.mock(base_url=BASE, assert_all_called=False)  # a call that is given up is not noted
async def test_a_clock_that_is_set_while_a_server_is_asked_neither_ends_nor_prolongs_the_wait(
    respx_mock: respx.MockRouter, tmp_path: Path, clock: type[Clock], monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    async def slow(_: httpx.Request) -> httpx.Response:
        monkeypatch.setattr(clock, "at", clock.at + jump)
        await asyncio.sleep(30)
        raise AssertionError("it was waited for")

    respx_mock.get("/Observation").mock(side_effect=slow)
    runtime = a_runtime(tmp_path, deadline_ms=400)
    request = quinine(clock.at) | {"fhirServer": BASE}
    del request["prefetch"]["labs"]
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        begun = time.perf_counter()
        answer = await client.post("/cds-services/cramp-care-patient-view", json=request)
        seconds = time.perf_counter() - begun
    assert answer.status_code == 200
    assert "did not answer in time" in answer.text
    assert 0.2 < seconds < 5


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1)])
async def test_durations_are_not_those_of_a_clock_that_is_set(
    tmp_path: Path, clock: type[Clock], monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    runtime = a_runtime(tmp_path)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        for _ in range(3):
            monkeypatch.setattr(clock, "at", clock.at + jump)
            assert (await client.post("/cds-services/cramp-care-patient-view", json=quinine(clock.at))).status_code == 200
    timings = rows(runtime.settings.log_path, "SELECT max(value) FROM call, json_each(call.timings)")
    assert 0 < timings[0] < 60_000


async def test_the_hour_that_comes_twice_is_stored_as_two(
    tmp_path: Path, clock: type[Clock], in_berlin: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = a_runtime(tmp_path)
    moments = [datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1, 2)]
    assert [f"{time.localtime(at.timestamp()).tm_hour}" for at in moments] == ["2", "2", "3"]
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        for at in moments:
            monkeypatch.setattr(clock, "at", at)
            answer = await client.post("/cds-services/cramp-care-patient-view", json=quinine(at))
            assert [card["source"]["topic"]["code"] for card in answer.json()["cards"]] == ["quinine-avoid"]
    stored = rows(runtime.settings.log_path, "SELECT received_at FROM call ORDER BY seq")
    assert [datetime.fromisoformat(text) for text in stored] == moments
    assert all(text.endswith("+00:00") for text in stored)


def test_the_time_of_day_is_read_in_utc_and_only_to_say_when() -> None:
    """Durations and deadlines come from clocks that only go forward."""
    of_day: dict[str, int] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                name = f"{node.func.value.id}.{node.func.attr}"
                if name in {"datetime.now", "datetime.today", "datetime.utcnow", "date.today"}:
                    assert [ast.unparse(one) for one in node.args] == ["UTC"], path
                if name in {"time.time", "time.time_ns"}:
                    of_day[path.name] = of_day.get(path.name, 0) + 1
    assert of_day == {"checking.py": 1, "traces.py": 1}, "when a check ran, and when a span ended"
