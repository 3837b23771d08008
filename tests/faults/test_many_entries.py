"""Ten thousand entries and five hundred orders: the time grows no faster than what is sent, and the rest is said to be unread."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from cds_service.authoring.shorthand import request_from_case
from cds_service.evaluate import evaluate_request
from cds_service.runtime import Runtime
from cds_service.wire.hook_request import decode_request
from tests.core import NOW, Json, a_runtime


def with_labs(count: int) -> Json:
    request = request_from_case(["LOINC#2823-3 Potassium 3.9 mmol/L", "order: quinine 300 mg"], "order-sign", NOW)
    request["prefetch"]["labs"]["entry"] *= count
    return request


def with_orders(count: int) -> Json:
    request = request_from_case(["order: quinine 300 mg, id q"], "order-sign", NOW)
    entries = request["context"]["draftOrders"]["entry"]
    resource = entries[0]["resource"]
    request["context"]["draftOrders"]["entry"] = [{"resource": {**resource, "id": f"q{number}"}} for number in range(count)]
    return request


async def cpu_ms(runtime: Runtime, body: bytes) -> float:
    """The best of five, because other processes share the machine."""
    times = []
    for _ in range(5):
        begun = time.process_time()
        await evaluate_request(decode_request(body, "order-sign"), runtime.engine, NOW)
        times.append(time.process_time() - begun)
    return min(times) * 1000


@pytest.mark.parametrize(("make", "counts"), [(with_labs, (500, 2000, 10_000)), (with_orders, (12, 50, 500))])
async def test_the_time_grows_no_faster_than_what_is_sent(
    tmp_path: Path, make: Callable[[int], Json], counts: tuple[int, ...]
) -> None:
    runtime = a_runtime(tmp_path)
    times = [await cpu_ms(runtime, msgspec.json.encode(make(count))) for count in counts]
    exponents = [math.log(times[at + 1] / times[at]) / math.log(counts[at + 1] / counts[at]) for at in range(len(counts) - 1)]
    said = ", ".join(f"{count}: {ms:.1f} ms" for count, ms in zip(counts, times, strict=True))
    print(f"{make.__name__}: {said}; growth exponents {', '.join(f'{one:.2f}' for one in exponents)}")
    assert max(exponents) < 1.5


@pytest.mark.parametrize(
    ("request_", "note"),
    [
        (with_labs(10_000), "entries were read, because there are too many"),
        (with_orders(500), "only 50 of 500 draft orders were read"),
    ],
)
async def test_what_was_not_read_is_said(tmp_path: Path, request_: Json, note: str) -> None:
    call = decode_request(msgspec.json.encode(request_), "order-sign")
    assert note.encode() in (await evaluate_request(call, a_runtime(tmp_path).engine, NOW)).body
