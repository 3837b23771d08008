"""What can be pasted beside a request: curl commands, HAR files, Bundles, prefetch objects. Nothing of it is run or fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cds_service.authoring.shorthand import request_from_case
from cds_service.evaluate import Engine, evaluate_body
from cds_service.playground.imports import imported
from cds_service.present.cards import Presenter
from cds_service.wire.errors import BadRequest
from tests.core import NOW, knowledge

GIVEN = ["ICD10#R25.2 Cramp", "LOINC#2823-3 Potassium 2.4 mmol/L at today", "takes: furosemide 40 mg"]
REQUEST = request_from_case([*GIVEN, "order: quinine 300 mg, for leg cramps"], "order-sign", NOW)
CALL = json.dumps(REQUEST)


def made(pasted: str | bytes) -> tuple[Any, str]:
    found = imported(pasted.encode() if isinstance(pasted, str) else pasted)
    return json.loads(found.body), " ".join(found.notes)


async def cards_of(request: Any) -> list[str]:
    known = knowledge()
    evaluation = await evaluate_body(json.dumps(request).encode(), Engine(known, Presenter(known)), NOW)
    return [card["source"]["topic"]["code"] for card in json.loads(evaluation.body)["cards"]]


@pytest.mark.parametrize("pasted", [CALL, "{", "[1]", "no JSON", '{"hook": 3}', '{"something": "else"}', "\ufeff" + CALL])
def test_a_request_and_what_is_nothing_known_stay_as_they_are(pasted: str) -> None:
    assert imported(pasted.encode()) == (pasted.encode(), ())


@pytest.mark.parametrize(
    "command",
    [
        "curl -X POST https://cds.example/cds-services/x -H 'Authorization: Bearer SECRET' -H 'accept: text/json' -d '{}'",
        "$ curl 'https://x.example/cds-services/x' \\\n  -H 'Authorization: Bearer SECRET' \\\n --compressed --data-raw '{}'",
        'curl.exe "https://cds.example/cds-services/x" ^\r\n -H "Authorization: Bearer SECRET" ^\r\n --data-binary \'{}\'',
        "curl --url https://cds.example/cds-services/x --header=Authorization:SECRET -u me:SECRET --json={}",
        "curl -sS -H'Authorization: SECRET' -o out.json https://cds.example/cds-services/x --data @- <<'END'\n{}\nEND",
    ],
)
def test_the_body_of_a_curl_command_is_taken(command: str) -> None:
    body = CALL if "<<" in command or "json=" in command else CALL.replace("'", "")
    if "json=" in command:
        command = command.replace("--json={}", "--json='{}'")
    request, notes = made(command.replace("{}", body))
    assert request == REQUEST
    assert notes.startswith(
        "Imported from a curl command to /cds-services/x. Ignored: the address, and the headers authorization"
    )
    assert "SECRET" not in notes


def test_a_body_that_a_browser_wrote_with_escapes_is_read() -> None:
    request, _ = made(
        'curl \'http://x/cds-services/y\' --data-raw $\'{"hook":"patient-view","a":"it\\\'s\\u0041\\n"}\''.replace("\\n", "\\\\n")
    )
    assert request == {"hook": "patient-view", "a": "it's" + "A\n"}


def test_a_file_of_a_curl_command_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text(CALL)
    with pytest.raises(BadRequest, match="sends a file, which is not read from here"):
        imported(f"curl http://x --data-binary @{tmp_path / 'request.json'}".encode())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("curl http://x/cds-services", "has no body"),
        ("curl http://x -d 'open", "quotes"),
        ("curl http://x -d", "has no body"),
        ("curl -d @- http://x", "sends a file"),
        ("curl $(rm -rf /) -d '  '", "has no body"),
    ],
)
def test_a_command_without_a_readable_body_is_refused(command: str, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        imported(command.encode())


def entry(method: str, body: str | None) -> dict[str, Any]:
    posted = {} if body is None else {"postData": {"mimeType": "application/json", "text": body}}
    headers = [{"name": "Authorization", "value": "Bearer SECRET"}]
    return {"request": {"method": method, "url": "https://x/cds-services/y", "headers": headers, **posted}, "response": {}}


def test_the_last_call_of_a_har_file_is_taken() -> None:
    first = CALL.replace("quinine", "quinidine")
    har = {"log": {"entries": [entry("GET", None), entry("POST", first), entry("POST", CALL), entry("POST", "{}"), 3]}}
    request, notes = made(json.dumps(har))
    assert request == REQUEST
    assert notes == (
        "Imported from a HAR file: its call of a hook, the last of 2. Ignored: 4 other requests, all headers and responses."
    )


def test_a_har_file_without_a_call_is_refused() -> None:
    with pytest.raises(BadRequest, match="No call of a hook is among the 1 requests"):
        imported(json.dumps({"log": {"entries": [entry("GET", None)]}}).encode())


def chart() -> list[dict[str, Any]]:
    bundles = [value for key, value in REQUEST["prefetch"].items() if key != "patient" and value]
    return [REQUEST["prefetch"]["patient"], *(one["resource"] for bundle in bundles for one in bundle["entry"])]


async def test_a_bundle_becomes_a_call_about_its_patient() -> None:
    claim = {"resourceType": "Claim", "id": "c"}
    other = {"resourceType": "Condition", "subject": {"reference": "Patient/other"}, "code": {"text": "malaria"}}
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in (*chart(), claim, other)]}
    request, notes = made(json.dumps(bundle))
    assert (request["hook"], request["context"]["patientId"]) == ("patient-view", "patient-1")
    assert await cards_of(request) == await cards_of(request_from_case(GIVEN, "patient-view", NOW))
    assert notes == (
        "Imported from a Bundle of 6 resources: 1 Observation, 1 MedicationStatement, 1 Condition. None of it, taken as none on "
        "record: MedicationRequest, AllergyIntolerance. Ignored, because no card reads it: 1 Claim. Ignored, because it is about "
        "another patient than the first: 1 resources."
    )


async def test_draft_orders_in_a_bundle_are_signed_and_addresses_inside_it_are_followed() -> None:
    draft = REQUEST["context"]["draftOrders"]["entry"][0]["resource"] | {"status": "draft"}
    resources = [*chart(), draft]
    entries = [{"fullUrl": f"urn:uuid:{number}", "resource": dict(one)} for number, one in enumerate(resources)]
    for one in entries[1:]:
        one["resource"]["subject"] = {"reference": "urn:uuid:0"}  # type: ignore[index]
    request, _ = made(json.dumps({"resourceType": "Bundle", "entry": entries}))
    assert request["hook"] == "order-sign"
    assert await cards_of(request) == await cards_of(REQUEST)


async def test_a_prefetch_object_becomes_a_call() -> None:
    expected = await cards_of(request_from_case(GIVEN, "patient-view", NOW))
    request, notes = made(json.dumps(REQUEST["prefetch"]))
    assert (await cards_of(request), notes.startswith("Imported from a prefetch object with 6 keys: 1 Observation")) == (
        expected,
        True,
    )
    assert made(json.dumps({"prefetch": REQUEST["prefetch"]}))[0]["prefetch"] == request["prefetch"]
    renamed = {"patient" if key == "patient" else f"item{n}": value for n, (key, value) in enumerate(REQUEST["prefetch"].items())}
    request, notes = made(json.dumps(renamed))
    assert await cards_of(request) == expected
    assert "5 keys have names of their own" in notes


def test_a_single_resource_is_a_chart_of_one() -> None:
    request, _ = made(json.dumps(chart()[1]))
    assert request["context"]["patientId"] == "patient-1"


@pytest.mark.parametrize("bundle", [{"entry": []}, {"entry": "x"}, {"entry": [3, {"resource": 4}, {"resource": {"a": 1}}]}])
def test_a_chart_of_nobody_is_refused(bundle: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="No Patient is in it"):
        imported(json.dumps({"resourceType": "Bundle"} | bundle).encode())
