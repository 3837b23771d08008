"""Service calls in front of the framework: decoding, limits of the body, and log lines."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from tests.http_side import Stub, call_body, encoded, new_test_app, running

PATH = "/cds-services/cramps-order-sign"


@pytest.mark.parametrize("hook", ["patient-view", "order-select", "order-sign"])
async def test_a_call_is_decoded_and_answered(app: FastAPI, stub: Stub, hook: str) -> None:
    async with running(app) as client:
        answer = await client.post(f"/cds-services/cramps-{hook}", json=call_body(hook))
    assert (answer.status_code, answer.content) == (200, b'{"cards":[]}')
    assert answer.headers["content-type"] == "application/json"
    [call] = stub.calls
    assert (call.hook, call.context.patientId) == (hook, "123")


async def test_a_call_is_answered_below_the_path_of_a_proxy(app: FastAPI) -> None:
    transport = httpx2.ASGITransport(app=app, root_path="/cds")
    async with running(app), httpx2.AsyncClient(transport=transport, base_url="http://cds.example") as client:
        assert (await client.post(f"/cds{PATH}", json=call_body("order-sign"))).status_code == 200
        assert (await client.post(f"/other{PATH}", json=call_body("order-sign"))).status_code == 404
        without_the_prefix = await client.post(PATH, json=call_body("order-sign"))  # the proxy took it off
        assert without_the_prefix.status_code == 200


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "application/fhir+json", "text/plain", "", None]
)
async def test_any_content_type_will_do(app: FastAPI, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    async with running(app) as client:
        answer = await client.post(PATH, content=encoded(call_body("order-sign")), headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hook": "patient-view"}, "`hook`"),
        ({"hookInstance": None}, "`hookInstance`"),
        ({"context": {"patientId": "1", "draftOrders": []}}, "`context.draftOrders`"),
    ],
)
async def test_a_call_that_lacks_something_is_refused_by_the_name_of_the_field(
    app: FastAPI, stub: Stub, changes: dict[str, Any], field: str
) -> None:
    async with running(app) as client:
        answer = await client.post(PATH, json=call_body("order-sign", **changes))
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["details"]["text"].startswith(field)
    assert stub.calls == []


async def test_a_body_in_pieces_is_put_together(app: FastAPI, stub: Stub) -> None:
    async def pieces() -> Any:
        body = encoded(call_body("order-sign"))
        for start in range(0, len(body), 10):
            yield body[start : start + 10]

    async with running(app) as client:
        assert (await client.post(PATH, content=pieces())).status_code == 200
    assert len(stub.calls) == 1


async def test_a_compressed_body_is_refused(app: FastAPI) -> None:
    async with running(app) as client:
        answer = await client.post(PATH, content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
        plain = await client.post(PATH, json=call_body("order-sign"), headers={"content-encoding": "identity"})
    assert (answer.status_code, plain.status_code) == (415, 200)


async def call_asgi(app: FastAPI, messages: list[dict[str, Any]], *headers: tuple[bytes, bytes]) -> tuple[list[Any], int]:
    """What `app` sends for a call whose body arrives as `messages`, and how many of these it read."""
    sent: list[Any] = []
    waiting = iter(messages)
    read = 0

    async def receive() -> Any:
        nonlocal read
        read += 1
        return next(waiting)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": PATH, "headers": list(headers), "query_string": b"", "http_version": "1.1"}
    await app(scope, receive, send)
    return sent, read


CHUNK = {"type": "http.request", "body": b" " * 1000, "more_body": True}


async def test_a_body_that_grows_too_long_is_refused_without_reading_the_rest(tmp_path: Path) -> None:
    app, _ = new_test_app(tmp_path, Stub(), max_body_bytes=2500)
    sent, read = await call_asgi(app, [CHUNK] * 10)
    assert read == 3
    assert sent[0]["status"] == 413


@pytest.mark.parametrize("length", [b"2501", b"9" * 5000])
async def test_a_body_that_says_that_it_is_too_long_is_not_read_at_all(tmp_path: Path, length: bytes) -> None:
    app, _ = new_test_app(tmp_path, Stub(), max_body_bytes=2500)
    sent, read = await call_asgi(app, [CHUNK], (b"content-length", length))
    assert (sent[0]["status"], read) == (413, 0)


async def test_a_body_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    body = encoded(call_body("order-sign")).ljust(1024)
    app, _ = new_test_app(tmp_path, Stub(), max_body_bytes=1024)
    sent, _ = await call_asgi(app, [{"type": "http.request", "body": body}], (b"content-length", str(len(body)).encode()))
    assert sent[0]["status"] == 200


async def test_a_client_that_leaves_while_sending_is_not_answered_and_no_error(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    sent, _ = await call_asgi(app, [CHUNK, {"type": "http.disconnect"}])
    assert sent == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_no_task_is_left_after_a_call(app: FastAPI) -> None:
    async with running(app) as client:
        await asyncio.sleep(0)
        before = asyncio.all_tasks()
        await client.post(PATH, json=call_body("order-sign"))
        assert asyncio.all_tasks() <= before
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_log_lines_hold_no_ids_and_no_tokens(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    context = call_body("order-sign")["context"] | {"patientId": "SECRET-1", "userId": "Practitioner/SECRET-2"}
    body = call_body("order-sign", context=context, hookInstance="SECRET-3", fhirAuthorization={"access_token": "SECRET-4"})
    async with running(app) as client:
        await client.post(PATH, json=body)
        await client.post("/cds-services/SECRET-5", json=body)
        await client.post(PATH, json=body | {"context": {"patientId": ["SECRET-6"]}})
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("cds_service")]
    assert any(line.startswith("answered service=cramps-order-sign status=200 ms=") for line in lines)
    assert sum(line.startswith("refused status=") for line in lines) == 2
    assert "SECRET" not in "".join(lines)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "empty"),
        (b"[]", "not_an_object"),
        (b'{"hook": "SECRET", ', "not_json"),
        (b'{"hook": "order-sign", "hook": "SECRET"}', "member_twice"),
        (encoded(call_body("order-sign", hook="SECRET")), "hook"),
        (encoded(call_body("order-sign", hookInstance="")), "hookInstance"),
        (encoded(call_body("order-sign", hookInstance="SECRET" * 50)), "hookInstance"),
        (encoded(call_body("order-sign", context={"patientId": "SECRET", "draftOrders": 1})), "context.draftOrders"),
        (
            encoded(call_body("order-sign", fhirAuthorization={"access_token": "T", "patient": ["SECRET"]})),
            "fhirAuthorization.patient",
        ),
        (encoded(call_body("order-sign", prefetch=["SECRET"])), "prefetch"),
        (encoded(call_body("order-sign")).ljust(5000), "PayloadTooLarge"),
    ],
)
async def test_the_log_line_of_a_refused_call_names_the_reason_or_the_field(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, body: bytes, why: str
) -> None:
    caplog.set_level(logging.INFO)
    app, _ = new_test_app(tmp_path, Stub(), max_body_bytes=4096)
    async with running(app) as client:
        answer = await client.post(PATH, content=body)
    [line] = [record.getMessage() for record in caplog.records if record.getMessage().startswith("refused ")]
    assert f" why={why} trace=" in line
    assert line.endswith(answer.json()["issue"][0]["diagnostics"].removeprefix("trace "))
    assert "SECRET" not in line
