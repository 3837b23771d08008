"""The whole way of a call: HTTP, the five states of each prefetch key, the log before the answer, the log that fails."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import respx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cds_service.alert_log import CallRecord
from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.evaluate import Evaluation
from cds_service.knowledge.services import ServiceDefinition
from cds_service.respond import respond
from cds_service.runtime import Runtime
from cds_service.telemetry.metrics import SECURITY_EVENTS, counts
from cds_service.wire.client_connection import ClientConnection
from cds_service.wire.hook_request import HookRequest
from tests.alert_log_samples import rows
from tests.core import NOW, Json, a_card, a_runtime, answer_to, knowledge, small
from tests.http_side import running
from tests.unwritable_log import make_unwritable, make_writable

KEYS = {service.hook: list(service.prefetch) for service in knowledge().services}
HOOKS = list(KEYS)
BASE = "https://ehr.example/fhir"


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return a_runtime(tmp_path)


def of(hook: str, *lines: str) -> Json:
    orders = [] if hook == "patient-view" or any(line.startswith("order:") for line in lines) else ["order: aspirin 100 mg"]
    return request_from_case([*lines, *orders], hook, NOW)


async def post(runtime: Runtime, request: Json) -> tuple[httpx2.Response, Json]:
    """(the answer, what /health says after it)."""
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        answer = await client.post(f"/cds-services/cramp-care-{request['hook']}", json=request)
        return answer, (await client.get("/health")).json()


def topics(answer: httpx2.Response) -> list[str]:
    return [card["source"]["topic"]["code"] for card in answer.json()["cards"]]


def last(runtime: Runtime, columns: str) -> Any:
    """These columns of the newest call in the log."""
    return rows(runtime.settings.log_path, f"SELECT {columns} FROM call ORDER BY seq DESC LIMIT 1")[0]  # noqa: S608 - written here


def states(runtime: Runtime) -> dict[str, str]:
    return {key: one["state"] for key, one in msgspec.json.decode(last(runtime, "sources"))["states"].items()}


@pytest.mark.parametrize(
    ("hook", "lines", "expected"),
    [
        ("patient-view", ["LOINC#2823-3 Potassium 2.4 mmol/L at 2023-11-28"], []),  # two years ago, by the clock of the service
        ("patient-view", ["prescribed: quinine 300 mg"], ["quinine-avoid"]),
        ("order-select", ["order: quinine 300 mg, for leg cramps"], ["quinine-avoid"]),
        ("order-sign", ["order: baclofen 10 mg", "ICD10#N18.6 End stage renal disease"], ["baclofen-safety"]),
    ],
)
async def test_each_hook_is_answered_with_its_cards(runtime: Runtime, hook: str, lines: list[str], expected: list[str]) -> None:
    answer, health = await post(runtime, of(hook, *lines))
    assert (answer.status_code, topics(answer)) == (200, expected)
    assert answer.headers["content-type"] == "application/json"
    assert health["status"] == "ok"
    assert last(runtime, "hook, status, outcome") == (hook, 200, "fired" if expected else "not_fired")


async def test_discovery_names_the_services_that_answer(runtime: Runtime) -> None:
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        services = (await client.get("/cds-services")).json()["services"]
        for service in services:
            request = of(service["hook"])
            assert request["prefetch"].keys() >= service["prefetch"].keys()
            assert (await client.post(f"/cds-services/{service['id']}", json=request)).status_code == 200


# The five states of a prefetch key


@pytest.mark.parametrize("hook", HOOKS)
async def test_a_key_that_is_absent_is_answered_with_412_that_names_it(runtime: Runtime, hook: str) -> None:
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        for key in KEYS[hook]:
            answer = await client.post(f"/cds-services/cramp-care-{hook}", json=of(hook, f"source {key}: absent"))
            assert answer.status_code == 412
            (issue,) = answer.json()["issue"]
            assert [other for other in KEYS[hook] if f"`{other}`" in issue["details"]["text"]] == [key]
            assert last(runtime, "status, outcome, evaluations") == (412, "could_not_check", "[]")
            assert states(runtime)[key] == "absent"


async def test_all_absent_keys_are_named_at_once(runtime: Runtime) -> None:
    request = of("order-sign")
    del request["prefetch"]
    answer, _ = await post(runtime, request)
    text = answer.json()["issue"][0]["details"]["text"]
    assert answer.status_code == 412
    assert all(f"`{key}`" in text for key in KEYS["order-sign"])


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize(
    ("state", "expected"), [("null", "empty"), ("empty", "empty"), ("error", "error"), ("partial", "partial")]
)
async def test_a_key_that_was_sent_is_known_to_be_empty_failed_or_partial(
    runtime: Runtime, hook: str, state: str, expected: str
) -> None:
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        for key in KEYS[hook]:
            if key == "patient" and state in ("empty", "partial"):
                continue  # it is no search
            answer = await client.post(f"/cds-services/cramp-care-{hook}", json=of(hook, f"source {key}: {state}"))
            assert answer.status_code == 200
            assert states(runtime)[key] == expected


@pytest.mark.parametrize(
    ("state", "cards", "outcome"),
    [
        ("null", [], "not_fired"),
        ("empty", [], "not_fired"),
        ("error", ["not-checked"], "could_not_check"),
        ("partial", ["not-checked"], "could_not_check"),
    ],
)
async def test_what_could_not_be_looked_up_is_said_and_what_is_not_there_is_not(
    runtime: Runtime, state: str, cards: list[str], outcome: str
) -> None:
    answer, _ = await post(runtime, of("patient-view", f"source labs: {state}"))
    assert topics(answer) == cards
    assert last(runtime, "outcome") == outcome


async def test_a_site_can_have_a_card_in_place_of_412(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path, on_unavailable="card")
    answer, _ = await post(runtime, of("patient-view", "source labs: absent"))
    assert (answer.status_code, topics(answer)) == (200, ["not-checked"])


@respx.mock(base_url=BASE)
async def test_a_key_that_is_absent_is_asked_for_where_there_is_a_server(respx_mock: respx.MockRouter, runtime: Runtime) -> None:
    low = request_from_case(["prescribed: quinine 300 mg"], "patient-view", NOW)["prefetch"]["prescriptions"]
    route = respx_mock.get("/MedicationRequest").respond(json=low)
    request = of("patient-view", "source prescriptions: absent")
    request |= {"fhirServer": BASE, "fhirAuthorization": {"access_token": "secret-token"}}
    answer, _ = await post(runtime, request)
    assert topics(answer) == ["quinine-avoid"]
    assert route.calls.last.request.headers["authorization"] == "Bearer secret-token"
    assert states(runtime)["prescriptions"] == "present"
    assert msgspec.json.decode(last(runtime, "sources"))["states"]["prescriptions"]["origin"] == "fhir"


@respx.mock(base_url=BASE)
async def test_a_server_that_fails_is_said_on_a_card_and_not_taken_for_an_empty_chart(
    respx_mock: respx.MockRouter, runtime: Runtime
) -> None:
    respx_mock.get("/Observation").respond(status_code=500)
    answer, _ = await post(runtime, of("patient-view", "source labs: absent") | {"fhirServer": BASE})
    assert (answer.status_code, topics(answer)) == (200, ["not-checked"])
    assert states(runtime)["labs"] == "error"


# The log


async def test_the_record_is_in_the_file_before_the_answer_leaves(runtime: Runtime) -> None:
    app = create_app(runtime.settings, runtime=runtime)
    seen: list[int] = []

    def watched(inner: ASGIApp) -> ASGIApp:
        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            async def look(message: Message) -> None:
                if message["type"] == "http.response.start":
                    seen.extend(rows(runtime.settings.log_path, "SELECT count(*) FROM call"))
                await send(message)

            await inner(scope, receive, look)

        return call

    transport = httpx2.ASGITransport(app=watched(app))
    async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport, base_url="http://cds.example") as client:
        for lines in (["source labs: null"], ["source labs: absent"], ["prescribed: quinine 300 mg"]):
            await client.post("/cds-services/cramp-care-patient-view", json=of("patient-view", *lines))
    assert seen == [1, 2, 3]
    assert rows(runtime.settings.log_path, "SELECT status FROM call ORDER BY seq") == [200, 412, 200]


async def test_cards_go_out_while_the_log_cannot_be_written_and_health_says_so_and_nothing_is_lost(runtime: Runtime) -> None:
    path = runtime.settings.log_path
    path.parent.mkdir(parents=True, exist_ok=True)
    make_unwritable(path)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        answer = await client.post("/cds-services/cramp-care-patient-view", json=of("patient-view", "prescribed: quinine 300 mg"))
        assert (answer.status_code, topics(answer)) == (200, ["quinine-avoid"])
        health = (await client.get("/health")).json()
        assert (health["status"], health["log"]["state"], health["log"]["waiting"]) == ("degraded", "degraded", 1)
        make_writable(path)
    assert rows(path, "SELECT outcome FROM call") == ["fired"]


async def test_the_card_that_was_returned_is_the_card_in_the_log(runtime: Runtime) -> None:
    answer, _ = await post(runtime, of("order-sign", "order: quinine 300 mg, for leg cramps"))
    (returned,) = answer.json()["cards"]
    ((uuid, card, body),) = rows(runtime.settings.log_path, "SELECT uuid, card, body FROM card")
    kept = msgspec.json.decode(body)
    assert (uuid, card) == (returned["uuid"], "quinine-avoid")
    assert (kept["summary"], kept["detail"]) == (returned["summary"], returned["detail"])


async def test_a_repeated_call_gets_the_same_answer_and_is_logged_once(runtime: Runtime) -> None:
    request = of("patient-view", "prescribed: quinine 300 mg")
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        answers = [(await client.post("/cds-services/cramp-care-patient-view", json=request)).content for _ in range(2)]
    assert answers[0] == answers[1]
    assert rows(runtime.settings.log_path, "SELECT count(*) FROM card") == [1]
    assert rows(runtime.settings.log_path, "SELECT repeat_of IS NULL FROM call ORDER BY seq") == [1, 0]


# Failures


async def test_a_card_that_breaks_is_counted_on_health_and_the_others_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = small({}, a_card("one"), a_card("two"))
    runtime = a_runtime(tmp_path, known)
    monkeypatch.setattr(known.cards[0], "summaries", [])
    answer, health = await post(runtime, of("patient-view"))
    assert topics(answer) == ["two", "not-checked"]
    assert health["status"] == "degraded"
    assert health["evaluation_failures"] == {"one": 1}
    kept = {one["card"]: one for one in msgspec.json.decode(last(runtime, "evaluations"))}
    assert (kept["one"]["outcome"], kept["one"]["error"], kept["two"]["outcome"]) == ("failed", "IndexError", "fired")


async def test_a_draft_card_that_cannot_be_drawn_costs_nobody_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = small({}, a_card("shadow", status="draft"), a_card("live"))
    runtime = a_runtime(tmp_path, known)
    shadow = known.card("shadow")
    assert shadow is not None
    monkeypatch.setattr(shadow, "summaries", [])
    answer, health = await post(runtime, of("patient-view"))
    assert topics(answer) == ["live"]
    assert health["evaluation_failures"] == {"shadow": 1}


@pytest.mark.parametrize(
    "subject",
    [
        "Patient/somebody-else",
        "https://ehr.example/fhir/Patient/somebody-else",
        "Patient/somebody-else/_history/2",
        "somebody-else",
    ],
)
def test_data_of_another_patient_is_not_used_and_said(subject: str) -> None:
    request = request_from_case(["LOINC#2823-3 Potassium 2.2 mmol/L"], "patient-view", NOW)
    request["prefetch"]["labs"]["entry"][0]["resource"]["subject"] = {"reference": subject}
    (shown,) = answer_to(request).shown
    assert shown.is_notice
    assert b"it holds data of another patient" in shown.body


@pytest.mark.parametrize("subject", ["Patient/patient-1", "https://ehr.example/fhir/Patient/patient-1/_history/3", "patient-1"])
def test_data_of_the_patient_is_used_however_the_patient_is_named(subject: str) -> None:
    request = request_from_case(["LOINC#2823-3 Potassium 2.2 mmol/L"], "patient-view", NOW)
    request["prefetch"]["labs"]["entry"][0]["resource"]["subject"] = {"reference": subject}
    (shown,) = answer_to(request).shown
    assert shown.indicator == "critical"


def test_a_patient_resource_of_somebody_else_does_not_lend_its_age() -> None:
    request = request_from_case(["patient: 9 years", "LOINC#2823-3 Potassium 2.8 mmol/L"], "patient-view", NOW)
    request["prefetch"]["patient"]["id"] = "somebody-else"
    assert answer_to(request).facts.age_years is None


def _foreign_order(request: Json) -> None:
    request["context"]["draftOrders"]["entry"][0]["resource"]["subject"] = {"reference": "Patient/somebody-else"}


def _foreign_data(request: Json) -> None:
    request["prefetch"]["labs"]["entry"][0]["resource"]["subject"] = {"reference": "Patient/somebody-else"}


def _foreign_token(request: Json) -> None:
    request["fhirAuthorization"] = {"access_token": "s3cret", "patient": "somebody-else"}


def _foreign_number(request: Json) -> None:
    request["fhirAuthorization"] = {"access_token": "s3cret", "patient": 5}


@pytest.mark.parametrize(
    ("change", "kind", "status"),
    [
        (_foreign_order, "wrong_patient_order", 400),
        (_foreign_token, "wrong_patient_token", 400),
        (_foreign_number, "wrong_patient_token", 400),
        (_foreign_data, "wrong_patient_data", 200),
    ],
)
async def test_another_patient_is_a_security_event_that_is_counted_logged_and_names_nobody(
    runtime: Runtime, caplog: pytest.LogCaptureFixture, change: Callable[[Json], None], kind: str, status: int
) -> None:
    request = of("order-sign", "order: quinine 300 mg", "LOINC#2823-3 Potassium 2.4 mmol/L")
    change(request)
    before = counts(SECURITY_EVENTS).get(kind, 0)
    answer, health = await post(runtime, request)
    assert answer.status_code == last(runtime, "status") == status
    assert health["security_events"][kind] == before + 1
    (line,) = [record for record in caplog.records if record.getMessage().startswith("security ")]
    assert line.levelname == "WARNING"
    assert f"kind={kind}" in line.getMessage()
    assert not any(secret in caplog.text + answer.text for secret in ("somebody-else", "s3cret"))
    assert "patient-1" not in caplog.text
    if status == 400:
        assert last(runtime, "outcome") == "wrong_patient"
        assert answer.json()["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize("patient", ["patient-1", "Patient/patient-1", f"{BASE}/Patient/patient-1", "", None])
async def test_a_token_of_the_patient_or_of_nobody_is_no_event(runtime: Runtime, patient: object) -> None:
    request = of("patient-view") | {"fhirAuthorization": {"access_token": "t", "patient": patient}}
    assert (await post(runtime, request))[0].status_code == 200


async def test_a_hook_instance_that_an_ehr_uses_for_two_patients_gives_each_cards_of_their_own(runtime: Runtime) -> None:
    one = of("patient-view", "LOINC#2823-3 Potassium 2.4 mmol/L")
    text = msgspec.json.encode(one).decode()
    patient = one["context"]["patientId"]
    other = msgspec.json.decode(text.replace(f'"{patient}"', '"another"').replace(f"Patient/{patient}", "Patient/another"))
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        answers = [await client.post("/cds-services/cramp-care-patient-view", json=request) for request in (one, other, one)]
    uuids = [answer.json()["cards"][0]["uuid"] for answer in answers]
    assert uuids[0] == uuids[2] != uuids[1]


async def test_a_request_is_not_held_while_its_record_is_written(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large requests that wait for the log together would take tens of megabytes, which the process keeps."""
    decoded: list[HookRequest] = []
    references: list[int] = []
    append = runtime.alert_log.append

    async def watched(record: CallRecord) -> bool:
        references.append(sys.getrefcount(decoded[0]))
        return await append(record)

    def responding(
        call: HookRequest, service: ServiceDefinition, runtime: Runtime, connection: ClientConnection
    ) -> Awaitable[Evaluation]:
        decoded.append(call)
        return respond(call, service, runtime, connection)

    monkeypatch.setattr(runtime.alert_log, "append", watched)
    async with running(create_app(runtime.settings, runtime=runtime, respond=responding)) as client:
        request = of("order-sign", "order: quinine 300 mg, for leg cramps")
        answer = await client.post("/cds-services/cramp-care-order-sign", json=request)

    assert topics(answer) == ["quinine-avoid"]
    assert references == [2], "the list above and the argument of getrefcount"
