"""This service against a FHIR server that others wrote: Medplum's, in memory, run by Node (20.19 or newer).

Each patient is sent twice: with everything prefetched, and with nothing, so that all of it is asked for. Both must get the same
cards. The server is installed from its lock file into .cache/ (npm takes some 100 MB from its registry), once.
"""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import pytest_asyncio

from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.gather.fhir_outcome import Outcome
from cds_service.runtime import Runtime
from cds_service.telemetry.metrics import FHIR_FETCHES
from tests.alert_log_samples import rows
from tests.bench.generate import SIZES
from tests.bench.generate import request as generated
from tests.core import NOW, PATIENTS, Json, a_runtime
from tests.http_side import running
from tests.node_folder import installed

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

SOURCES = Path(__file__).with_name("fhir_server")
TOKEN = {"access_token": "let-me-in", "token_type": "Bearer"}


@contextmanager
def fhir_server() -> Iterator[str]:
    """Base URL of a FHIR server without data."""
    command = ("node", "server.mjs")
    with subprocess.Popen(command, cwd=installed(SOURCES), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/fhir/R4"
        finally:
            process.stdin.close()
            process.wait(10)


@pytest.fixture(scope="module")
def fhir_base() -> Iterator[str]:
    with fhir_server() as base:
        yield base


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    monkeypatch.setattr("cds_service.gather.gather.FHIR_SHARE_MS", 60_000)  # what is compared is content, on whatever machine
    return a_runtime(tmp_path, on_unavailable="card", deadline_ms=60_000)


@pytest_asyncio.fixture
async def service(runtime: Runtime) -> AsyncIterator[httpx2.AsyncClient]:
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        yield client


@pytest_asyncio.fixture
async def elsewhere(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """Another service with a log of its own, so that neither holds back a card because the other has shown it."""
    runtime = a_runtime(tmp_path / "elsewhere", on_unavailable="card")
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        yield client


def resources_of(request: Json) -> list[Json]:
    """All resources of a prefetch."""
    values = [value for value in request["prefetch"].values() if value is not None]
    return [
        resource
        for value in values
        for resource in ([entry["resource"] for entry in value["entry"]] if value["resourceType"] == "Bundle" else [value])
    ]


def renamed(request: Json, patient: str) -> Json:
    """The request with ids of its own for the patient and all resources."""
    old = request["context"]["patientId"]
    text = msgspec.json.encode(request).decode().replace(old, patient)
    renewed: Json = msgspec.json.decode(text)
    for resource in resources_of(renewed):
        if resource["resourceType"] != "Patient":
            resource["id"] = f"{patient}-{resource['id']}"[:64]
    return renewed


async def stored(fhir_base: str, request: Json) -> Json:
    """The request after what it prefetched was put into the FHIR server; it may ask that server."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        for resource in resources_of(request):
            answer = await client.put(f"{fhir_base}/{resource['resourceType']}/{resource['id']}", json=resource)
            assert answer.status_code in (200, 201), answer.text
    return request | {"fhirServer": fhir_base, "fhirAuthorization": TOKEN}


async def post(service: httpx2.AsyncClient, request: Json) -> Any:
    answer = await service.post(f"/cds-services/cramp-care-{request['hook']}", json=request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def source_states(runtime: Runtime) -> dict[str, tuple[str, str]]:
    newest = rows(runtime.settings.log_path, "SELECT sources FROM call ORDER BY seq DESC LIMIT 1")[0]
    return {key: (one["state"], one["note"]) for key, one in msgspec.json.decode(newest)["states"].items()}


@pytest.mark.parametrize("name", sorted(set(PATIENTS) - {"nothing arrived"}))
async def test_a_patient_gets_the_same_cards_whether_data_was_sent_or_asked_for(
    fhir_base: str, service: httpx2.AsyncClient, elsewhere: httpx2.AsyncClient, runtime: Runtime, name: str
) -> None:
    hook, given = PATIENTS[name]
    patient = hashlib.sha256(name.encode()).hexdigest()[:12]
    request = await stored(fhir_base, renamed(request_from_case(given, hook, NOW), patient))
    from_prefetch = await post(elsewhere, request)
    from_server = await post(service, request | {"prefetch": {}})
    assert {state for state, _ in source_states(runtime).values()} <= {"present", "empty"}
    assert from_server == from_prefetch
    assert from_server["cards"]


@pytest.mark.parametrize(("size", "further_pages"), [("S", 0), ("M", 1)])
async def test_a_long_history_is_read_page_by_page(
    service: httpx2.AsyncClient, elsewhere: httpx2.AsyncClient, runtime: Runtime, size: str, further_pages: int
) -> None:
    request = renamed(msgspec.json.decode(generated(SIZES[size], "order-sign", NOW)), f"history-{size.lower()}")
    with fhir_server() as base:  # one of its own: searches get slower with all that the server holds
        request = await stored(base, request)
        before = FHIR_FETCHES.labels(Outcome.OK)._value.get()
        from_server = await post(service, request | {"prefetch": {}})
        assert FHIR_FETCHES.labels(Outcome.OK)._value.get() - before == len(source_states(runtime)) - 1 + further_pages
    from_prefetch = await post(elsewhere, request)
    assert source_states(runtime)["labs"] == ("present", "")
    assert [card["summary"] for card in from_server["cards"]] == [card["summary"] for card in from_prefetch["cards"]]
    assert from_server["cards"]


async def test_a_patient_that_the_server_does_not_know_is_said(
    fhir_base: str, service: httpx2.AsyncClient, runtime: Runtime
) -> None:
    request = renamed(request_from_case(PATIENTS["liver"][1], "patient-view", NOW), "unknown")
    await post(service, request | {"prefetch": {}, "fhirServer": fhir_base, "fhirAuthorization": TOKEN})
    states = source_states(runtime)
    assert states["patient"] == ("error", "the FHIR server does not have it (status 404)")
    assert states["labs"] == ("empty", "")


async def test_a_token_that_the_server_does_not_take_is_said(
    fhir_base: str, service: httpx2.AsyncClient, runtime: Runtime
) -> None:
    request = renamed(request_from_case(PATIENTS["liver"][1], "patient-view", NOW), "refused")
    asked = {"prefetch": {}, "fhirServer": fhir_base, "fhirAuthorization": {"access_token": "wrong"}}
    answer = await post(service, request | asked)
    assert {note for _, note in source_states(runtime).values()} >= {
        "the FHIR server did not accept the access that this call was given (status 401)"
    }
    assert "Not checked" in answer["cards"][-1]["summary"]


async def test_calls_one_after_the_other_are_all_answered_from_the_server(service: httpx2.AsyncClient, runtime: Runtime) -> None:
    """How long 100 calls took is printed (`-rP`) and never fails the test."""
    hook, given = PATIENTS["liver"]
    taken: list[float] = []
    with fhir_server() as base:
        asked = await stored(base, renamed(request_from_case(given, hook, NOW), "many")) | {"prefetch": {}}
        for _ in range(100):
            started = time.perf_counter()
            await post(service, asked)
            taken.append((time.perf_counter() - started) * 1000)
    taken.sort()
    print(f"100 calls with 6 questions each: p50 {taken[49]:.0f} ms, p95 {taken[94]:.0f} ms, longest {taken[-1]:.0f} ms")
    for one in rows(runtime.settings.log_path, "SELECT sources FROM call WHERE repeat_of IS NULL"):
        assert {source["state"] for source in msgspec.json.decode(one)["states"].values()} <= {"present", "empty"}
