"""The last calls of every program: what they show of repeats and of silence, their limits, and that production has none."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import msgspec
import pytest

from cds_service.app import create_app
from cds_service.authoring.samples import load_samples
from cds_service.authoring.shorthand import request_from_case
from cds_service.files.paths import fixtures_dir
from cds_service.playground.kept_calls import LARGEST_BODY, MOST_BYTES, MOST_CALLS, KeptCall, KeptCalls
from tests.core import NOW, a_runtime
from tests.http_side import running

SAMPLES = load_samples(fixtures_dir())
REPEATING = ["ICD10#R25.2 Cramp", "takes: hydrochlorothiazide 25 mg", "LOINC#2823-3 Potassium 4.2 mmol/L at today"]
CLIENT = {"user-agent": "an-ehr/7 (internal)"}


class Lines:
    """What a terminal would show, and the clock of the service."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.now = NOW

    def __call__(self, line: str, path: str) -> None:
        self.said.append((line, path))


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
async def client(tmp_path: Path, lines: Lines) -> AsyncIterator[httpx2.AsyncClient]:
    runtime = msgspec.structs.replace(a_runtime(tmp_path), clock=lambda: lines.now)
    async with running(create_app(runtime.settings, runtime=runtime, announce=lines)) as client:
        yield client


def call_of(given: list[str], hook: str = "patient-view", **members: Any) -> dict[str, Any]:
    return request_from_case(given, hook, NOW) | {"hookInstance": str(uuid4())} | members


async def post(client: httpx2.AsyncClient, request: dict[str, Any]) -> httpx2.Response:
    return await client.post(f"/cds-services/cramp-care-{request['hook']}", json=request, headers=CLIENT)


async def words(client: httpx2.AsyncClient, path: str) -> str:
    page = await client.get(path)
    assert page.status_code == 200
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page.text)).split())


async def test_the_call_of_any_program_has_a_line_and_a_page_with_its_reasons(client: httpx2.AsyncClient, lines: Lines) -> None:
    request = call_of(["order: quinine sulfate 324 mg"], "order-sign")
    answer = await post(client, request)
    ((line, path),) = lines.said
    assert line.startswith("09:00:00 cramp-care-order-sign  quinine-avoid (warning)  [an-ehr/7, ")
    page = await words(client, path)
    assert "Quinine should not be used for cramps" in page
    assert "from an-ehr/7" in page
    assert "It fired because" in page
    assert (await client.get(f"{path}/request.json")).json() == request
    assert (await client.get(f"{path}/response.json")).content == answer.content
    listed = await words(client, "/playground/calls")
    assert "09:00:00 cramp-care-order-sign an-ehr/7 200 warning Quinine should not be used" in listed


async def test_the_newest_call_stands_first(client: httpx2.AsyncClient, lines: Lines) -> None:
    for name in ("quinine-for-cramps", "normal-chart", "low-potassium"):
        await post(client, SAMPLES[name].request(NOW))
    page = (await client.get("/playground/calls")).text
    assert re.findall(r'href="(/playground/calls/\w+)"', page) == [path for _, path in reversed(lines.said)]


async def test_a_repeat_says_when_it_was_shown_and_when_it_comes_again(client: httpx2.AsyncClient, lines: Lines) -> None:
    await post(client, call_of(REPEATING))
    lines.now += timedelta(days=2, minutes=12)
    await post(client, call_of(REPEATING))
    line, path = lines.said[-1]
    assert "no card; held back as shown before: cramp-med-review (2025-12-01 09:00)" in line
    page = await words(client, path)
    assert "Held back, because shown before" in page
    assert "it was shown on 2025-12-01 at 09:00 UTC and there is nothing new (not shown again for 90 days" in page
    assert "again in 88 days, from 2026-03-01" in page


async def test_a_notice_that_is_not_given_again_says_when_the_user_was_told(client: httpx2.AsyncClient, lines: Lines) -> None:
    for hook in ("order-select", "order-sign"):
        request = call_of(["LOINC#2823-3 Potassium 4.2 mmol/L at today"], hook)
        del request["context"]["draftOrders"]
        await post(client, request)
        lines.now += timedelta(minutes=5)
    line, path = lines.said[-1]
    assert "no card; held back as shown before: not-checked (2025-12-01 09:00)" in line
    page = await words(client, path)
    assert "Notice of what was not checked (Avoid quinine for cramps; " in page
    assert page.count("this user was told for this patient on 2025-12-01 at 09:00 UTC") > 1, "there, and at each card"
    assert "so it is not said again before 2025-12-02 at 09:00 UTC" in page


async def test_what_was_shown_can_be_forgotten_and_the_call_fired_again(client: httpx2.AsyncClient, lines: Lines) -> None:
    first = await post(client, call_of(REPEATING))
    lines.now += timedelta(minutes=5)
    held_back = await post(client, call_of(REPEATING))
    assert len(held_back.json()["cards"]) < len(first.json()["cards"])
    lines.now += timedelta(minutes=5)
    again = await client.post(f"{lines.said[-1][1]}/again")
    shown = (await client.get(f"{again.headers['location']}/response.json")).json()["cards"]
    assert [card["summary"] for card in shown] == [card["summary"] for card in first.json()["cards"]]


async def test_a_client_gets_its_cards_again_after_forgetting(client: httpx2.AsyncClient, lines: Lines) -> None:
    first = await post(client, call_of(REPEATING))
    lines.now += timedelta(minutes=5)
    answered = await client.post("/playground/forget")
    assert "What was shown is forgotten" in await words(client, answered.headers["location"])
    assert len((await post(client, call_of(REPEATING))).json()["cards"]) == len(first.json()["cards"])
    lines.now += timedelta(minutes=5)
    assert len((await post(client, call_of(REPEATING))).json()["cards"]) < len(first.json()["cards"])


async def test_forgetting_is_for_the_pages_own_forms_only(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/playground/forget", headers={"origin": "http://evil.example"})).status_code == 403
    assert (await client.get("/playground/forget")).status_code == 405
    assert (await client.post("/playground/calls/none/again")).status_code == 404


async def test_silence_says_which_card_came_nearest_and_what_it_missed(client: httpx2.AsyncClient, lines: Lines) -> None:
    await post(client, call_of(["LOINC#2823-3 Potassium 3.3 mmol/L at today", "LOINC#19123-9 Magnesium 2.0 mg/dL at today"]))
    line, path = lines.said[-1]
    assert "no card; nearest electrolyte-hypokalaemia: not met:" in line
    page = await words(client, path)
    assert "What came nearest" in page
    assert page.index("What came nearest") < page.index("Cards that are not evaluated at")


async def test_a_refusal_is_a_line_with_its_reason_and_a_page(client: httpx2.AsyncClient, lines: Lines) -> None:
    await client.post("/cds-services/cramp-care-order-sign", content=b'{"hook": "order-sign", "secret": }')
    line, path = lines.said[-1]
    assert "refused, 400: The body is not JSON: invalid character (line 1, column 34)" in line
    assert "The service refused the call: status 400." in await words(client, path)


async def test_feedback_of_a_client_stands_with_its_card(client: httpx2.AsyncClient, lines: Lines) -> None:
    request = call_of(["order: quinine sulfate 324 mg"], "order-sign")
    card = (await post(client, request)).json()["cards"][0]
    suggestion, reason = card["suggestions"][0], card["overrideReasons"][0]
    at = NOW.isoformat()
    for item in (
        {"outcome": "accepted", "acceptedSuggestions": [{"id": suggestion["uuid"]}]},
        {"outcome": "overridden", "overrideReason": {"reason": {"code": reason["code"], "system": reason["system"]}}},
    ):
        body = {"feedback": [{"card": card["uuid"].upper(), "outcomeTimestamp": at} | item]}
        answer = await client.post("/cds-services/cramp-care-order-sign/feedback", json=body, headers=CLIENT)
        assert answer.status_code == 200
    (_, path), *feedback = lines.said
    assert [found for _, found in feedback] == [path, path]
    assert f"feedback: quinine-avoid accepted: {suggestion['label']}  [200]" in feedback[0][0]
    assert f"quinine-avoid dismissed: {reason['display']}" in await words(client, path)
    unknown = {"feedback": [{"card": str(uuid4()), "outcome": "accepted", "outcomeTimestamp": at}]}
    await client.post("/cds-services/cramp-care-order-sign/feedback", json=unknown)
    assert lines.said[-1][0].endswith("feedback: about a card that is not among the kept calls  [200]")


async def test_a_token_is_never_kept(client: httpx2.AsyncClient, lines: Lines) -> None:
    access = {"access_token": 'SECRET"TOKEN', "token_type": "Bearer", "expires_in": 300, "scope": "x", "subject": "y"}
    await post(client, call_of(REPEATING, fhirServer="https://ehr.example/fhir", fhirAuthorization=access))
    lines.now += timedelta(minutes=5)
    await post(client, call_of(REPEATING, fhirAuthorization=access))
    path = lines.said[-1][1]
    kept = (await client.get(f"{path}/request.json")).json()
    assert kept["fhirAuthorization"] == access | {"access_token": "(not kept)"}
    assert "SECRET" not in (await client.get(path)).text
    assert f'action="{path}/again"' not in (await client.get(path)).text  # it would be sent without its token
    assert (await client.post(f"{path}/again")).status_code == 404


async def test_the_bytes_of_a_client_are_shown_and_change_nothing_on_the_terminal(
    client: httpx2.AsyncClient, lines: Lines
) -> None:
    request = call_of(["order: quinine sulfate 324 mg"], "order-sign")
    headers = {"user-agent": "\x1b[31m<img/src=x>\x07"}
    await client.post("/cds-services/cramp-care-order-sign", json=request, headers=headers)
    line, path = lines.said[-1]
    assert line.isprintable()
    assert "<img" not in (await client.get(path)).text
    assert "<img" not in (await client.get("/playground/calls")).text


async def test_other_calls_are_not_kept_without_a_terminal_to_tell(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        assert (await post(client, SAMPLES["normal-chart"].request(NOW))).status_code == 200
        assert "No call yet." in await words(client, "/playground/calls")


async def test_production_keeps_no_call_and_announces_none(tmp_path: Path, lines: Lines) -> None:
    runtime = a_runtime(tmp_path, profile="production", hash_secret="x" * 32)
    app = create_app(runtime.settings, runtime=runtime, announce=lines)
    assert "CallRecorder" not in [middleware.cls.__name__ for middleware in app.user_middleware]  # type: ignore[attr-defined]
    async with running(app) as client:
        await post(client, SAMPLES["normal-chart"].request(NOW))
        for method, path in (("GET", "/playground/calls"), ("POST", "/playground/forget"), ("POST", "/playground/calls/a/again")):
            assert (await client.request(method, path)).status_code == 404
    assert lines.said == []


def a_call(number: int, request: bytes = b"{}", response: bytes = b'{"cards":[]}') -> KeptCall:
    at = datetime(2025, 12, 1, tzinfo=UTC)
    return KeptCall(f"call-{number}", "t", at, "s", "c", "http://cds.example", request, 200, response, 1.0)


def test_calls_are_bounded_in_number() -> None:
    calls = KeptCalls()
    for number in range(MOST_CALLS + 5):
        calls.add(a_call(number))
    assert [call.id for call in calls] == [f"call-{number}" for number in range(MOST_CALLS + 4, 4, -1)]


def test_calls_are_bounded_in_bytes() -> None:
    calls = KeptCalls()
    for number in range(MOST_CALLS):
        calls.add(a_call(number, json.dumps("x" * (LARGEST_BODY - 1000)).encode()))
    assert len(list(calls)) == MOST_BYTES // LARGEST_BODY
    assert sum(call.size for call in calls) <= MOST_BYTES


def test_a_body_that_is_too_long_is_left_out_and_that_is_said() -> None:
    calls = KeptCalls()
    calls.add(a_call(1, b"x" * (LARGEST_BODY + 1)))
    (call,) = calls
    assert (call.request, call.complete) == (b"", False)
    assert call.notes == ["The request of 2,097,153 bytes is too long to be kept here."]
