"""Whose FHIR server a call may have us ask, and until when: the whole way, from HTTP to the log."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import NoReturn

import httpx2
import msgspec
import pytest
import respx
from starlette.types import Message

from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.outbound.base_urls import FhirBase
from cds_service.runtime import Runtime
from cds_service.telemetry.metrics import SECURITY_EVENTS
from cds_service.trust import Caller
from tests.alert_log_samples import rows
from tests.core import NOW, Json, a_runtime
from tests.http_side import SameCaller, encoded, running

OWN = "https://ehr.example/fhir"
TOKEN = {"access_token": "T0KEN", "token_type": "Bearer"}
EMPTY = {"resourceType": "Bundle", "type": "searchset", "total": 0}


def a_runtime_of(folder: Path, *bases: str, deadline_ms: int | None = None) -> Runtime:
    """A process whose callers are all of one client with these FHIR bases."""
    caller = Caller("a-hospital", fhir_bases=tuple(map(FhirBase, bases)), deadline_ms=deadline_ms)
    return msgspec.structs.replace(a_runtime(folder), callers=SameCaller(caller))


def of(fhir_server: str, *absent: str) -> Json:
    lines = ["prescribed: quinine 300 mg", *(f"source {key}: absent" for key in absent)]
    return request_from_case(lines, "patient-view", NOW) | {"fhirServer": fhir_server, "fhirAuthorization": TOKEN}


async def post(runtime: Runtime, request: Json) -> httpx2.Response:
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        return await client.post("/cds-services/cramp-care-patient-view", json=request)


def logged(runtime: Runtime) -> tuple[str, int, str]:
    [row] = rows(runtime.settings.log_path, "SELECT client, status, outcome FROM call")
    return row  # type: ignore[no-any-return]


@respx.mock
@pytest.mark.parametrize("absent", [(), ("labs",)])
@pytest.mark.parametrize(
    "named", ["https://evil.example/fhir", f"{OWN}/more", "https://ehr.example", "ehr", "http://[::1", "ftp://x"]
)
async def test_a_server_of_somebody_else_is_refused_counted_and_logged_and_never_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, named: str, absent: tuple[str, ...]
) -> None:
    runtime = a_runtime_of(tmp_path, OWN)
    before = SECURITY_EVENTS.labels("foreign_fhir_server")._value.get()
    caplog.set_level(logging.INFO)
    answer = await post(runtime, of(named, *absent))
    assert answer.status_code == 400
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert "`fhirServer` is not among" in answer.text
    assert logged(runtime) == ("a-hospital", 400, "foreign_server")
    assert SECURITY_EVENTS.labels("foreign_fhir_server")._value.get() == before + 1
    assert "security kind=foreign_fhir_server client=a-hospital" in caplog.text
    for text in (answer.text, caplog.text):
        assert named not in text
        assert "T0KEN" not in text


@respx.mock
@pytest.mark.parametrize(("absent", "status"), [((), 200), (("labs",), 412)])
async def test_a_client_without_fhir_servers_has_none_asked(tmp_path: Path, absent: tuple[str, ...], status: int) -> None:
    assert (await post(a_runtime_of(tmp_path), of("https://evil.example/fhir", *absent))).status_code == status


@respx.mock
async def test_the_registered_server_is_asked_at_its_registered_address(respx_mock: respx.MockRouter, tmp_path: Path) -> None:
    route = respx_mock.route().respond(json=EMPTY)
    answer = await post(a_runtime_of(tmp_path, OWN), of("HTTPS://EHR.example:443/fhir/", "labs"))
    assert answer.status_code == 200
    [call] = route.calls
    assert str(call.request.url).startswith(f"{OWN}/Observation?")
    assert call.request.headers["authorization"] == "Bearer T0KEN"


@respx.mock
async def test_a_client_may_have_a_deadline_of_its_own(
    respx_mock: respx.MockRouter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cds_service.gather.gather.FHIR_SHARE_MS", 60_000)

    async def never(_: object) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError

    respx_mock.route().mock(side_effect=never)
    runtime = a_runtime_of(tmp_path, OWN, deadline_ms=400)
    started = time.monotonic()
    answer = await post(runtime, of(OWN, "labs"))
    assert 0.2 < time.monotonic() - started < 1.7  # the deadline of the site leaves 1.85 s
    assert "did not answer in time" in answer.text


@respx.mock
async def test_a_call_that_its_client_ended_stops_asking_and_is_logged_as_such(
    respx_mock: respx.MockRouter, tmp_path: Path
) -> None:
    asked, stopped = asyncio.Event(), asyncio.Event()

    async def never(_: object) -> NoReturn:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError

    respx_mock.route().mock(side_effect=never)
    runtime = a_runtime_of(tmp_path, OWN, deadline_ms=30_000)
    app = create_app(runtime.settings, runtime=runtime)
    messages = [{"type": "http.request", "body": encoded(of(OWN, "labs")), "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asked.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    path = "/cds-services/cramp-care-patient-view"
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": []}
    async with running(app):
        await asyncio.wait_for(app(scope, receive, send), 5)
        assert stopped.is_set()
    assert sent == []
    assert logged(runtime) == ("a-hospital", 499, "abandoned")
    [sources] = rows(runtime.settings.log_path, "SELECT sources FROM call")
    assert msgspec.json.decode(sources)["states"]["labs"]["state"] == "absent"
