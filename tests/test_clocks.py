"""A clock that is set, and the nights on which an hour comes twice: deadlines don't notice, and what is stored is UTC."""

from __future__ import annotations

import ast
import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import msgspec
import pytest
import respx

import cds_service
from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from tests.alert_log_samples import rows
from tests.core import Json, a_runtime
from tests.http_side import running

PACKAGE = Path(cds_service.__file__).parent
BASE = "https://ehr.example/fhir"


class Clock:
    """The time of day as the service reads it, which tests set."""

    def __init__(self) -> None:
        self.at = datetime(2026, 6, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", lambda: clock.at.timestamp())
    return clock


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
    respx_mock: respx.MockRouter, tmp_path: Path, clock: Clock, jump: timedelta
) -> None:
    async def slow(_: httpx.Request) -> httpx.Response:
        clock.at += jump
        await asyncio.sleep(30)
        raise AssertionError("it was waited for")

    respx_mock.get("/Observation").mock(side_effect=slow)
    runtime = msgspec.structs.replace(a_runtime(tmp_path, deadline_ms=400), clock=clock)
    request = quinine(clock.at) | {"fhirServer": BASE}
    del request["prefetch"]["labs"]
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        begun = time.perf_counter()
        answer = await client.post("/cds-services/cramp-care-patient-view", json=request)
        seconds = time.perf_counter() - begun
    assert answer.status_code == 200
    assert "did not answer in time" in answer.text
    assert 0.2 < seconds < 25  # not at once, and not as long as the server takes


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1)])
async def test_durations_are_not_those_of_a_clock_that_is_set(tmp_path: Path, clock: Clock, jump: timedelta) -> None:
    runtime = msgspec.structs.replace(a_runtime(tmp_path), clock=clock)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        for _ in range(3):
            clock.at += jump
            assert (await client.post("/cds-services/cramp-care-patient-view", json=quinine(clock.at))).status_code == 200
    timings = rows(runtime.settings.log_path, "SELECT max(value) FROM call, json_each(call.timings)")
    assert 0 < timings[0] < 60_000


async def test_the_hour_that_comes_twice_is_stored_as_two(tmp_path: Path, clock: Clock, in_berlin: None) -> None:
    runtime = msgspec.structs.replace(a_runtime(tmp_path), clock=clock)
    moments = [datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1, 2)]
    assert [f"{time.localtime(at.timestamp()).tm_hour}" for at in moments] == ["2", "2", "3"]
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        for at in moments:
            clock.at = at
            answer = await client.post("/cds-services/cramp-care-patient-view", json=quinine(at))
            assert [card["source"]["topic"]["code"] for card in answer.json()["cards"]] == ["quinine-avoid"]
    stored = rows(runtime.settings.log_path, "SELECT received_at FROM call ORDER BY seq")
    assert [datetime.fromisoformat(text) for text in stored] == moments
    assert all(text.endswith("+00:00") for text in stored)


# Modules that read the time of day: where it enters, and where a span, a check or a token is stamped.
STAMPS = {"self_check.py": 1, "clock.py": 1, "traces.py": 1, "token.py": 1}
# Tests of what has a clock of its own: other processes, certificates, measurements.
OTHER_PROCESSES = {
    *("bench/alert_log.py", "bench/anchors/durable_rows.py", "bench/generate.py", "bench/in_process.py", "bench/memory.py"),
    *(
        "bench/flood.py",
        "bench/no_harm.py",
        "bench/phases.py",
        "bench/rollup_lag.py",
        "bench/run.py",
        "bench/soak.py",
        "bench/soak_hours.py",
    ),
    *(
        "e2e/test_sandbox_browser.py",
        "faults/test_server_under_faults.py",
        "faults/test_shipping_service.py",
        "faults/wire.py",
        "sockets.py",
        "doctor/test_doctor.py",
    ),
    *("test_clocks.py", "faults/test_tokens_across_workers.py"),
}
OF_DAY = {"datetime.now", "datetime.today", "datetime.utcnow", "date.today", "time.time", "time.time_ns"}


def reads_of_the_time_of_day(folder: Path, names: set[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in names:
                name = path.relative_to(folder).as_posix()
                found[name] = found.get(name, 0) + 1
    return found


def test_the_time_of_day_is_read_at_one_place_and_only_to_say_when() -> None:
    """Durations and deadlines come from clocks that only go forward."""
    read = {Path(name).name: times for name, times in reads_of_the_time_of_day(PACKAGE, OF_DAY).items()}
    assert read == STAMPS


def test_no_test_reads_the_time_of_day_of_this_machine() -> None:
    tests = Path(__file__).parent
    assert reads_of_the_time_of_day(tests, OF_DAY | {"utc_now"}).keys() <= OTHER_PROCESSES


PURE = ("criteria", "decide", "present", "read")
CLOCK_MODULES = {"time", "cds_service.clock"}
CLASSES_WITH_A_CLOCK = {"datetime", "date"}


def reads_of_a_clock(source: str) -> Iterator[str]:
    """Yield each import of a module with a clock and each use of `datetime.now` and its like."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name in CLOCK_MODULES)
        elif isinstance(node, ast.ImportFrom):
            names = {node.module or "", *(f"{node.module}.{one.name}" for one in node.names)}
            yield from sorted(names & CLOCK_MODULES)
        elif isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}:
            yield from {ast.unparse(node)} if ast.unparse(node.value).rpartition(".")[2] in CLASSES_WITH_A_CLOCK else ()


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "from time import monotonic",
        "from cds_service.clock import utc_now",
        "from cds_service import clock",
        "datetime.now(UTC)",
        "datetime.datetime.utcnow()",
        "date.today()",
        "read = datetime.now",
    ],
)
def test_each_way_to_read_a_clock_is_found(line: str) -> None:
    assert list(reads_of_a_clock(line))


def test_the_pure_folders_read_no_clock() -> None:
    """Judging, drawing and reading take the time from `Facts.now` and parameters, so that a replay gives the same."""
    paths = [path for folder in PURE for path in (PACKAGE / folder).rglob("*.py")]
    assert {path.parent.name for path in paths} == set(PURE)
    found = {path.relative_to(PACKAGE).as_posix(): list(reads_of_a_clock(path.read_text(encoding="utf-8"))) for path in paths}
    assert {name: reads for name, reads in found.items() if reads} == {}
