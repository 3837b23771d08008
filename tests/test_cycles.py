"""A call leaves nothing that only the garbage collector frees: it hardly runs, so cycles would pile up for hours."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CoroutineType, FrameType
from typing import Any

import httpx2
import msgspec
import pytest

from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.runtime import Runtime
from tests.core import NOW, Json, a_runtime
from tests.http_side import TransportClient, running

THIAZIDE, CRAMP, LOW = "takes: hydrochlorothiazide 25 mg", "ICD10#R25.2 Cramp and spasm", "LOINC#2823-3 Potassium 3.2 mmol/L"
QUININE = "order: quinine 300 mg, for leg cramps"


@pytest.fixture
def garbage() -> Iterator[list[Any]]:
    """What the collector finds unreachable while a test runs."""
    gc.collect()
    gc.freeze()  # what other tests left is not looked through again and again
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield gc.garbage
    gc.set_debug(0)
    gc.garbage.clear()


def ours(garbage: list[Any]) -> Counter[str]:
    """The objects of this package among `garbage`, counted by type; frames and coroutines by their code."""
    found: Counter[str] = Counter()
    for one in garbage:
        code = one.f_code if isinstance(one, FrameType) else one.cr_code if isinstance(one, CoroutineType) else None
        name = (
            f"{code.co_filename}:{code.co_qualname}" if code is not None else f"{type(one).__module__}.{type(one).__qualname__}"
        )
        if "cds_service" in name:
            found[name] += 1
    return found


async def post(app: Any, path: str, body: bytes) -> int:
    """The status of the answer to a POST, sent without a client, which would leave cycles of its own."""
    sent: list[Json] = []

    to_come = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Json:
        if not to_come:
            await asyncio.sleep(30)  # the client stays
        return to_come.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"host", b"cds.example"), (b"content-length", b"%d" % len(body))]
    await app(
        {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": headers,
            "http_version": "1.1",
            "scheme": "http",
            "server": ("cds.example", 80),
            "client": ("127.0.0.1", 1),
            "root_path": "",
            "asgi": {"version": "3.0"},
        },
        receive,
        send,
    )
    return int(sent[0]["status"])


def request(hook: str, *given: str, **changes: Any) -> Json:
    return request_from_case(given, hook, NOW) | changes


def foreign() -> Json:
    """An order of another patient: refused."""
    one = request("order-sign", QUININE)
    one["context"]["draftOrders"]["entry"][0]["resource"]["subject"] = {"reference": "Patient/other"}
    return one


def bare(hook: str, *given: str) -> Json:
    """Without data: it is asked for."""
    one = request(hook, *given, fhirServer="https://ehr.example/fhir")
    return {key: value for key, value in one.items() if key != "prefetch"}


CALLS: dict[str, tuple[int, Json]] = {
    "nothing to say": (200, request("patient-view")),
    "cards": (200, request("patient-view", CRAMP, THIAZIDE, LOW)),
    "the same cards, shown before": (200, request("patient-view", CRAMP, THIAZIDE, LOW, hookInstance="another")),
    "an order that is picked": (200, request("order-select", QUININE, CRAMP)),
    "orders that are signed": (200, request("order-sign", QUININE, "order: baclofen 10 mg, dose 10 mg TID", CRAMP)),
    "nothing arrived": (200, request("order-sign", QUININE, "source labs: error", "source problems: error")),
    "data that is asked for": (200, bare("order-sign", QUININE)),
    "an order of another patient": (400, foreign()),
    "no context": (400, {"hook": "patient-view", "hookInstance": "i"}),
}


def fhir(asked: httpx2.Request) -> httpx2.Response:
    if asked.url.path.endswith("/Condition"):
        return httpx2.Response(503)
    return httpx2.Response(200, json={"resourceType": "Bundle", "type": "searchset", "entry": []})


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return msgspec.structs.replace(a_runtime(tmp_path), http=TransportClient(httpx2.MockTransport(fhir)))


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_leaves_no_cycle(name: str, runtime: Runtime, garbage: list[Any]) -> None:
    status, asked = CALLS[name]
    path, body = f"/cds-services/cramp-care-{asked['hook']}", msgspec.json.encode(asked)
    app = create_app(runtime.settings, runtime=runtime)
    async with running(app):
        for _ in range(2):  # what is made once and kept
            assert await post(app, path, body) == status
        await asyncio.sleep(0)
        gc.collect()
        garbage.clear()
        assert await post(app, path, body) == status
        await asyncio.sleep(0)
        gc.collect()
        assert ours(garbage) == {}


async def test_a_log_that_does_not_answer_in_time_leaves_no_cycle(
    runtime: Runtime, garbage: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cds_service.alert_log.prior.PriorCards._is_late", lambda _: True)
    _, asked = CALLS["cards"]
    app = create_app(runtime.settings, runtime=runtime)
    async with running(app):
        for last in (False, True):
            if last:
                gc.collect()
                garbage.clear()
            assert await post(app, "/cds-services/cramp-care-patient-view", msgspec.json.encode(asked)) == 200
            await asyncio.sleep(0)
        gc.collect()
        assert runtime.alert_log.health().unanswered == 2
        assert ours(garbage) == {}


async def test_feedback_leaves_no_cycle(runtime: Runtime, garbage: list[Any]) -> None:
    item = {"card": "c9e1d3f0-0000-4000-8000-000000000001", "outcome": "overridden", "outcomeTimestamp": NOW.isoformat()}
    app = create_app(runtime.settings, runtime=runtime)
    async with running(app):
        for last in (False, True):
            if last:
                gc.collect()
                garbage.clear()
            answered = await post(
                app, "/cds-services/cramp-care-patient-view/feedback", msgspec.json.encode({"feedback": [item]})
            )
            assert answered == 200
        await asyncio.sleep(0)
        gc.collect()
        assert ours(garbage) == {}


async def test_a_call_that_is_given_up_leaves_no_cycle(runtime: Runtime, garbage: list[Any]) -> None:
    async def slow(_: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(30)
        raise AssertionError("it was waited for")

    runtime = msgspec.structs.replace(runtime, http=TransportClient(httpx2.MockTransport(slow)))
    app = create_app(runtime.settings, runtime=runtime)
    body = msgspec.json.encode(bare("order-sign", QUININE))
    async with running(app):
        for last in (False, True):
            if last:
                gc.collect()
                garbage.clear()
            call = asyncio.create_task(post(app, "/cds-services/cramp-care-order-sign", body))
            await asyncio.sleep(0.05)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            del call
        await asyncio.sleep(0)
        gc.collect()
        assert ours(garbage) == {}
