"""What the public CDS Hooks sandbox sends, valid or not: a sound answer or a clear refusal, never a server error.

The requests in fixtures/requests/sandbox were written for these tests in the shapes that the sandbox sends.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from cds_service.app import create_app
from cds_service.files.paths import fixtures_dir
from cds_service.runtime import Runtime
from tests.alert_log_samples import rows
from tests.case_runs import responses
from tests.core import a_runtime, knowledge
from tests.http_side import Stub, TransportClient, call_body, new_test_app, running

Json = dict[str, Any]
REQUESTS = {path.stem: json.loads(path.read_text()) for path in sorted((fixtures_dir() / "requests" / "sandbox").glob("*.json"))}
BROWSER = {
    "origin": "https://sandbox.example",
    "accept": "application/json",
    "authorization": "Bearer header.claims.signature",  # the sandbox signs each call; the dev profile needs no token
}


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return a_runtime(tmp_path)


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[httpx2.AsyncClient]:
    """The service, and as its EHR the service itself: every address that it asks leads back to it."""
    itself = create_app(runtime.settings, runtime=runtime)
    http = TransportClient(httpx2.ASGITransport(app=itself))
    async with running(create_app(runtime.settings, runtime=msgspec.structs.replace(runtime, http=http))) as one:
        yield one


@pytest.mark.parametrize("name", REQUESTS)
async def test_each_request_gets_a_sound_answer_or_a_clear_refusal(client: httpx2.AsyncClient, name: str) -> None:
    request = REQUESTS[name]
    answer = await client.post(request["path"], json=request["body"], headers=BROWSER)
    assert answer.status_code == request["status"], answer.text
    assert answer.headers["access-control-allow-origin"] == "*"
    body = answer.json()
    if "cards" in request:
        assert [card["source"]["topic"]["code"] for card in body["cards"]] == request["cards"]
    elif "received" in request:
        assert body == {"received": request["received"]}
    else:
        assert body["resourceType"] == "OperationOutcome"
        assert request["says"] in body["issue"][0]["details"]["text"]


async def test_a_browser_may_ask_before_each_request(client: httpx2.AsyncClient) -> None:
    preflight = {
        "origin": "https://sandbox.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
        "access-control-request-private-network": "true",
    }
    for path in sorted({request["path"] for request in REQUESTS.values()}):
        answer = await client.options(path, headers=preflight)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
        assert answer.headers["access-control-allow-private-network"] == "true"
        assert {"Authorization", "Content-Type"} <= set(answer.headers["access-control-allow-headers"].split(", "))


async def test_a_failure_of_the_service_itself_can_be_read_by_a_browser_too(tmp_path: Path) -> None:
    app, _ = new_test_app(tmp_path, Stub(RuntimeError("unforeseen")))
    async with running(app) as client:
        answer = await client.post("/cds-services/cramps-patient-view", json=call_body(), headers=BROWSER)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (500, "*")
    assert answer.json()["resourceType"] == "OperationOutcome"


# Suggestions: the sandbox looks at the first action only, and takes from it what a medication box can show


def taken(action: Json) -> Json | None:
    """The medication of the draft after the sandbox has done `action`, {} where it is cleared; None where nothing happens."""
    if action["type"] == "delete":
        return {}
    concept: Json = action.get("resource", {}).get("medicationCodeableConcept", {})
    named = concept.get("text") and concept.get("coding") and concept["coding"][0].get("code")
    return concept if named else None


def suggestions() -> Iterator[tuple[Json, Json, Json]]:
    """(request, card, suggestion) for the patients of the tests and of all cards' cases, where orders are drafted."""
    for _, request, response in responses():
        if request["hook"] != "patient-view":
            for card in response["cards"]:
                for suggestion in card.get("suggestions", ()):
                    yield request, card, suggestion


def test_each_suggestion_about_a_medication_can_be_applied() -> None:
    applied, only_sent = set(), set()
    for request, _, suggestion in suggestions():
        first, *others = suggestion["actions"]
        if taken(first) is not None:
            applied.add(suggestion["label"])
            continue
        if first["type"] == "update":  # then the order that was sent lacks the code too, and the sandbox always sends one
            drafts = (entry["resource"] for entry in request["context"]["draftOrders"]["entry"])
            (draft,) = (one for one in drafts if one["id"] == first["resource"]["id"])
            assert not draft["medicationCodeableConcept"].get("coding"), suggestion["label"]
            continue
        only_sent.add(suggestion["label"])
        assert first["resource"]["resourceType"] in {"ServiceRequest", "CommunicationRequest"}, suggestion["label"]
        assert all(taken(other) is None for other in others), f"{suggestion['label']}: the medication must come first"
    # Clicking one of these sends feedback and changes nothing on the sandbox's screen: it has no laboratory or advice orders.
    assert not applied & only_sent
    assert {"Remove the quinine order", "Change to 10 mg once daily", "Order baclofen 10 mg once daily"} <= applied
    assert {"Give stretching instructions instead", "Repeat potassium"} <= only_sent


def test_every_card_and_suggestion_can_be_told_of_in_feedback() -> None:
    seen = 0
    for _, card, suggestion in suggestions():
        assert len(card["uuid"]) == len(suggestion["uuid"]) == 36
        assert all(action["description"] for action in suggestion["actions"])
        seen += 1
    assert seen > 100


async def test_an_accepted_suggestion_clears_the_order_and_the_card_is_gone(client: httpx2.AsyncClient, runtime: Runtime) -> None:
    request = json.loads(json.dumps(REQUESTS["rx-view-choose-medication"]))
    (card,) = (await client.post(request["path"], json=request["body"], headers=BROWSER)).json()["cards"]
    suggestion = next(one for one in card["suggestions"] if one["actions"][0]["type"] == "delete")
    feedback = {"card": card["uuid"], "outcome": "accepted", "outcomeTimestamp": "2026-03-02T09:00:00.000Z"}
    feedback["acceptedSuggestions"] = [{"id": suggestion["uuid"]}]
    answer = await client.post(f"{request['path']}/feedback", json={"feedback": [feedback]}, headers=BROWSER)
    assert (answer.status_code, answer.json()) == (200, {"received": 1})
    query = "SELECT uuid, outcome, accepted FROM feedback JOIN card ON uuid = card_uuid"
    assert rows(runtime.settings.log_path, query) == [(card["uuid"], "accepted", json.dumps([suggestion["uuid"]]))]

    assert taken(suggestion["actions"][0]) == {}
    (entry,) = request["body"]["context"]["draftOrders"]["entry"]
    for field in ("medicationCodeableConcept", "dosageInstruction"):
        del entry["resource"][field]
    request["body"]["hookInstance"] = "00000000-0000-4000-8000-000000000099"
    assert (await client.post(request["path"], json=request["body"], headers=BROWSER)).json() == {"cards": []}


# Discovery


async def test_each_hook_that_the_sandbox_calls_has_a_service_of_its_own(client: httpx2.AsyncClient) -> None:
    """The sandbox keeps services by their address, so that one id for two hooks would overwrite the first."""
    for path in ("/cds-services", "/cds-services/"):
        answer = await client.get(path, headers=BROWSER)
        assert answer.headers["access-control-allow-origin"] == "*"
        services = answer.json()["services"]
        assert {one["hook"] for one in services} == {"patient-view", "order-select", "order-sign"}
        assert len({one["id"] for one in services}) == len(services)


def test_no_prefetch_template_repeats_a_parameter() -> None:
    """The sandbox would join both values with a comma, which turns AND into OR."""
    for service in knowledge().services:
        for template in service.prefetch.values():
            names = [pair.partition("=")[0] for pair in template.partition("?")[2].split("&")]
            assert len(set(names)) == len(names)
