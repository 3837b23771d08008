"""The benchmark measures what it says: its client, its server handling and its verdicts."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.bench import environments, report
from tests.bench.client import Connection, burst, first_answer
from tests.bench.generate import SIZES, request
from tests.bench.instructions import instructions
from tests.bench.memory_curve import picture
from tests.bench.over_loopback import Place
from tests.bench.phases import LOG_THREADS, REST, Counted, per_call, table
from tests.bench.server import Server, ServerStartError, anchor_command, free_port
from tests.bench.soak import Point, growth

NOW = datetime(2026, 1, 5, tzinfo=UTC)
BODY = request(SIZES["S"], "order-sign", NOW)


@pytest.mark.loopback
@pytest.mark.enable_socket
def test_the_noop_answers_two_cards_and_its_work_is_seen(tmp_path: Path) -> None:
    port = free_port()

    with Server(anchor_command("noop", port), port, tmp_path, None, {}) as server:
        server.wait()
        answer = asyncio.run(first_answer(port, "any", BODY))
        before = server.cpu_ns()
        load = asyncio.run(burst(port, "any", BODY, concurrency=2, seconds=0.1))
        used = server.cpu_ns() - before
        memory = server.memory_mb()

    assert answer.status == 200
    assert len(json.loads(answer.body)["cards"]) == 2
    assert load.came == Counter({(200, 2): len(load.latencies)})
    assert len(load.latencies) >= 2
    assert used > 10_000 * len(load.latencies)  # a request costs more than 10 us
    assert 0 < memory["VmRSS"] <= memory["VmHWM"]


@pytest.mark.loopback
@pytest.mark.enable_socket
def test_a_server_that_ends_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    port = free_port()

    with (
        pytest.raises(ServerStartError, match="No module"),
        Server([*anchor_command("noop", port)[:2], "no_such_module"], port, tmp_path, None, {}) as server,
    ):
        server.wait()


def row(ratio: float, *names: str) -> dict[str, Any]:
    """One comparison, every ratio of which is `ratio`."""
    values = {"min": ratio, "median": ratio, "max": ratio}
    seen = {"per_second": 1.0, "p50_ms": 1.0, "p99_ms": 1.0, "cpu_us": 1.0}
    pairs = {"3 / 0": values, "50 / 0": values} if "3" in names else {f"{names[0]} / {name}": values for name in names[1:]}
    return {"seen": dict.fromkeys(names, seen), "cpu_ratio": pairs}


def measured(ratio: float, *, healthchain: bool = True, memory: bool = True) -> dict[str, Any]:
    """A result whose ratios are all `ratio`, and whose other figures are `ratio` times their limits."""
    values = {"min": ratio, "median": ratio, "max": ratio}
    anchors = ("ours", "noop", "noop_with_row", "good_service", *(("healthchain_noop",) if healthchain else ()))
    both = dict.fromkeys(("1", "16"), row(ratio, *anchors))
    work = {
        "bytes": 1,
        "ours_us": 1.0,
        "json_us": 1.0,
        "ratio": values,
        "without_gc": {"ratio": values},
        "longest_pause_ms": ratio,
    }
    log_us = {"min": 0.0, "median": 150 * ratio, "max": 0.0}
    occupied = {"VmRSS": 80 * ratio, "VmHWM": 90.0}
    start = {"cpu_s": {"min": 0.0, "median": 0.7 * ratio, "max": 0.0}, "wall_s": values}
    return {
        "firing": dict.fromkeys(("S", "M", "L", "XL"), both),
        "silent": {size: {"16": row(ratio, "ours", "noop")} for size in ("S", "M")},
        "prior": {"rows": {"16": row(ratio, "0", "3", "50", "noop")}},
        "fetched": {"S": {"16": row(ratio, "fetched", "sent")}},
        "log": {"rows": dict.fromkeys(("1", "16"), row(ratio, "with", "without") | {"log_us": log_us}), "fdatasync_us": 90.0},
        "workers": row(ratio, "ours 1", "ours 2") | {"gain": dict.fromkeys(("ours", "noop", "ratio"), values)},
        "start": {"ours": start},
        "memory_mb": {"start": {"ours": occupied}},
        "memory_without_development": {"start": occupied, "after L": occupied} if memory else None,
        "in_process": {
            "kinds": {"order-sign": {**dict.fromkeys(SIZES, work), "growth_exponent": 1.05 * ratio}},
            "longest_pause": {"calls": 100_000, "ms": ratio},
        },
    }


def met(result: dict[str, Any]) -> dict[str, bool]:
    return {target.name: target.met for target in report.targets(result)}


def test_a_figure_just_at_its_target_meets_it() -> None:
    seen = met(measured(1.0))

    assert seen["growth exponent, M to XL"]
    assert seen["worker memory after S, M and L, MB"]
    assert seen["start to first answer, s of CPU"]
    assert seen["longest garbage collection in 100,000 calls, ms"]
    assert seen["record and log, CPU us, 16 clients"]
    assert seen["gain of two workers / the no-op's gain"]
    assert not seen["CPU per request / good_service, S, 1 clients"]
    assert not met(measured(1.001))["growth exponent, M to XL"]


def test_one_client_may_take_one_fdatasync_more_for_the_log() -> None:
    seen = met(measured(1.5))

    assert seen["record and log, CPU us, 1 clients"]  # 225 us, where one fdatasync takes 90
    assert not seen["record and log, CPU us, 16 clients"]


@pytest.mark.parametrize(("anchor", "ratio"), [("good_service", 0.25), ("healthchain_noop", 0.3)])
def test_each_size_has_a_limit_against_an_anchor_for_one_and_for_many_clients(anchor: str, ratio: float) -> None:
    names = [f"CPU per request / {anchor}, {size}, {clients} clients" for size in "SML" for clients in ("1", "16")]

    assert all(met(measured(ratio))[name] for name in names)
    assert not met(measured(ratio + 0.01))[names[-1]]


def test_a_second_worker_has_to_gain_at_least_its_target() -> None:
    assert met(measured(0.85))["gain of two workers / the no-op's gain"]
    assert not met(measured(0.84))["gain of two workers / the no-op's gain"]


def test_the_table_says_met_or_not_met_for_every_target() -> None:
    result = measured(1.01)

    lines = report.table(result).splitlines()

    verdicts = [line for line in lines if line.startswith(("met ", "NOT MET "))]
    assert len(verdicts) == len(list(report.targets(result)))
    assert {line.split()[0] for line in verdicts} == {"met", "NOT"}
    assert not any(line.startswith("not measured") for line in lines)


def test_the_table_says_what_was_not_measured() -> None:
    result = measured(0.2, healthchain=False, memory=False)

    lines = report.table(result).splitlines()

    assert [line.partition(" (")[0] for line in lines if line.startswith("not measured")] == [
        "not measured: against HealthChain",
        "not measured: worker memory",
    ]
    assert not any("healthchain" in name or "memory" in name for name in met(result))


def test_the_slope_of_memory_is_that_of_the_second_half() -> None:
    filling = [Point(calls, 50 + calls / 1000) for calls in range(0, 10_000, 1000)]

    flat = growth([*filling, *(Point(calls, 60.0) for calls in range(10_000, 21_000, 1000))])
    leaking = growth([*filling, *(Point(calls, 60 + calls * 0.0082) for calls in range(10_000, 21_000, 1000))])

    assert flat == pytest.approx(0)
    assert leaking == pytest.approx(8200)


def test_the_picture_of_memory_has_every_point() -> None:
    svg = picture([(0, 50.0), (1000, 55.0), (2000, 55.0)], "2,000 calls")

    (line,) = re.findall('<polyline points="(.*?)"', svg)
    (_, first), (middle, second), (right, third) = (map(float, point.split(",")) for point in line.split())
    assert first > second == third  # up is more
    assert middle == pytest.approx((60 + right) / 2)


def test_phases_are_shares_of_the_whole_call() -> None:
    before = Counted({"read": 1000.0, "log": 0.0}, main=5000.0, all=6000.0)
    after = Counted({"read": 2000.0, "log": 1000.0, "judge": 500.0}, main=9000.0, all=11_000.0)

    alone = per_call(before, after, calls=10, alone=True)
    among_others = per_call(before, after, calls=10, alone=False)

    assert alone == {"read": 100.0, "log": 100.0, "judge": 50.0, REST: 150.0, LOG_THREADS: 100.0}
    assert among_others == {"read": 100.0, "judge": 50.0, REST: 250.0, LOG_THREADS: 100.0}
    lines = [line.split() for line in table({"S 1": alone, "S 16": among_others}).splitlines()]
    assert lines[1:3] == [["read", "20.0", "20.0"], ["log", "20.0", "-"]]


def test_instructions_are_those_between_two_marks() -> None:
    # What is between, its calls, its `json.loads`.
    numbers = (9000, 4000, 400, 70, 600, 60, 80, 900, 90, 10, 2000, 800, 10, 4000, 400, 10, 2400, 800)
    dumps = [f"version: 1\nsummary: {number}\n" for number in numbers]

    counted = instructions(dumps, calls=4)
    series = ("S", "M", "L", "silent", "S logged", "silent logged")
    assert [counted[name] for name in series] == [1000, 600, 900, 500, 1000, 600]
    assert [counted[f"{name} json.loads"] for name in series] == [100, 60, 90, 200, 100, 200]


@pytest.mark.loopback
@pytest.mark.enable_socket
async def test_a_connection_brings_another_patient_after_so_many_calls() -> None:
    ended = asyncio.Event()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer each request with its own body."""
        with suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(len(BODY))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    seen = []
    async with server, Connection(port, "any", BODY, calls_per_patient=2) as connection:
        for _ in range(4):
            body = json.loads((await connection.ask()).body)
            references = {entry["resource"]["subject"]["reference"] for entry in body["prefetch"]["labs"]["entry"]}
            assert references == {f"Patient/{body['context']['patientId']}"}
            assert body["prefetch"]["patient"]["id"] == body["context"]["patientId"]
            seen.append((body["context"]["patientId"], body["hookInstance"]))

    await ended.wait()
    patients, instances = zip(*seen, strict=True)
    assert patients[0] == patients[1] != patients[2] == patients[3]
    assert len(set(instances)) == 4


def test_an_anchor_without_its_environment_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "FOLDER", tmp_path)

    place = Place(tmp_path, None, NOW)

    assert place.anchor("healthchain_noop") is None
