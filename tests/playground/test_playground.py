"""The playground over HTTP: real calls to this very service, drawn safely, for this site's own pages only, and only in dev."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import httpx2
import msgspec
import pytest

from cds_service.app import create_app
from cds_service.authoring.samples import load_samples
from cds_service.authoring.shorthand import request_from_case
from cds_service.evaluate import Evaluation
from cds_service.files.paths import fixtures_dir
from cds_service.playground.forms import read_form
from cds_service.playground.kept_calls import MOST_CALLS
from cds_service.playground.routes import HEADERS
from cds_service.review_site.json_view import MOST_SHOWN, coloured, pretty
from cds_service.wire.errors import PreconditionFailed
from tests.core import NOW, a_runtime, knowledge
from tests.exported_log import card_rows
from tests.http_side import running
from tests.playground.firing import fire

SAMPLES = load_samples(fixtures_dir())
BANNER = "Development profile: answers anybody; no patient data"
QUININE = "RXNORM#997010 quinine sulfate 324 MG Oral Capsule, for leg cramps"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    runtime = a_runtime(tmp_path)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        yield client


async def bodies(client: httpx2.AsyncClient, page: httpx2.Response) -> tuple[dict[str, Any], dict[str, Any]]:
    found = [await client.get(f"{page.url.path}/{name}.json") for name in ("request", "response")]
    return found[0].json(), found[1].json()


def words(page: httpx2.Response) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page.text)).split())


def drawn(page: httpx2.Response) -> list[str]:
    """The uuids of the cards that the page draws."""
    return re.findall(r'<article class="cds \w+" id="card-([^"]+)"', page.text)


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_sample_is_fired_at_this_service_and_the_page_shows_what_came_back(client: httpx2.AsyncClient, name: str) -> None:
    page = await fire(client, sample=name)
    request, response = await bodies(client, page)

    assert request["hook"] == SAMPLES[name].hook
    assert drawn(page) == [card["uuid"] for card in response["cards"]]
    text = words(page)
    for card in response["cards"]:
        assert " ".join(card["summary"].split()) in text
        for item in card.get("suggestions", []):
            assert item["label"] in text
    for card in knowledge().cards_at(request["hook"]):
        assert card.file.title in text
    patient = request["context"]["patientId"]
    of_another = json.dumps(request).replace(patient, f"{patient}-b")  # nothing was shown about this one yet
    direct = await client.post(f"/cds-services/cramp-care-{request['hook']}", content=of_another)
    assert [one["summary"] for one in direct.json()["cards"]] == [one["summary"] for one in response["cards"]]


async def test_every_page_says_that_this_is_for_development_and_lets_nothing_else_run(client: httpx2.AsyncClient) -> None:
    page = await fire(client, sample="quinine-for-cramps")
    for answered in (
        page,
        await client.get("/"),
        await client.get("/playground/calls/none"),
        await client.post("/", data={"what": "sample"}),
        await client.get("/playground/playground.css"),
        await client.get("/playground/playground.js"),
    ):
        assert {name: answered.headers[name] for name in HEADERS} == HEADERS
        if answered.headers["content-type"].startswith("text/html"):
            assert BANNER in answered.text
            assert not re.search(r"<script(?! src=\"/playground/playground.js\" defer></script>)|style=|\son\w+=", answered.text)
            assert not re.search(r"""(?:src|srcset|action|<link[^>]*href)=["']?(?:https?:)?//""", answered.text)


async def test_a_call_is_in_the_log_like_any_other(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    page = await fire(client, sample="quinine-for-cramps")
    request, _ = await bodies(client, page)
    assert exported(tmp_path)[-1]["hookInstance"] == request["hookInstance"]


def exported(folder: Path) -> list[dict[str, Any]]:
    return card_rows(folder / "alerts.sqlite3")


async def test_an_order_in_plain_words_is_drafted_and_signed(client: httpx2.AsyncClient) -> None:
    page = await fire(client, sample="low-potassium", order="baclofen 10 mg TID")
    request, _ = await bodies(client, page)
    assert request["hook"] == "order-sign"
    (entry,) = request["context"]["draftOrders"]["entry"]
    assert entry["resource"]["medicationCodeableConcept"]["text"] == "baclofen 10 mg TID"
    assert "Baclofen 30 mg/day is a high starting dose" in words(page)


@pytest.mark.parametrize("order", [QUININE, f"order: {QUININE}", f"ORDER: {QUININE}"])
async def test_an_order_in_shorthand_is_drafted_at_the_hook_that_is_chosen(client: httpx2.AsyncClient, order: str) -> None:
    request, response = await bodies(client, await fire(client, sample="low-potassium", hook="order-select", order=order))
    assert (request["hook"], len(request["context"]["selections"])) == ("order-select", 1)
    assert "quinine-avoid" in [one["source"]["topic"]["code"] for one in response["cards"]]


async def test_each_firing_is_about_somebody_new_unless_repeats_are_wanted(client: httpx2.AsyncClient) -> None:
    fresh = [(await bodies(client, await fire(client, sample="low-potassium")))[0]["context"]["patientId"] for _ in range(2)]
    kept = [(await bodies(client, await fire(client, sample="low-potassium", same="yes")))[0] for _ in range(2)]
    assert len({*fresh, kept[0]["context"]["patientId"]}) == 3
    assert kept[0]["context"]["patientId"] == kept[1]["context"]["patientId"]


async def test_a_new_patient_is_the_subject_of_everything(client: httpx2.AsyncClient) -> None:
    request, _ = await bodies(client, await fire(client, sample="quinine-for-cramps"))
    patient = request["context"]["patientId"]
    assert request["prefetch"]["patient"]["id"] == patient
    assert set(re.findall(r'"Patient/([^"]+)"', json.dumps(request))) == {patient}


async def test_a_card_that_was_shown_before_is_explained_as_a_repeat(client: httpx2.AsyncClient) -> None:
    lines = ["ICD10#R25.2 Cramp", "takes: hydrochlorothiazide 25 mg", "LOINC#2823-3 Potassium 4.2 mmol/L at today"]
    request = request_from_case(lines, "patient-view", NOW)
    bodies = [json.dumps(request | {"hookInstance": str(uuid4())}) for _ in range(2)]  # the same one is the same call, sent again
    first, again = [await fire(client, what="request", request=body) for body in bodies]
    assert len(drawn(again)) < len(drawn(first))
    assert "fired, held back: shown before" in words(again)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"what": "sample"}, "Choose a sample patient first"),
        ({"what": "sample", "sample": "nobody"}, "Choose a sample patient first"),
        ({"what": "sample", "sample": "low-potassium", "hook": "order-dispatch"}, "Choose one of the hooks patient-view"),
        (
            {"what": "sample", "sample": "low-potassium", "hook": "patient-view", "order": "x"},
            "There are no orders at patient-view",
        ),
        ({"what": "sample", "sample": "low-potassium", "hook": "order-select"}, "order-select is about an order"),
        (
            {"what": "sample", "sample": "low-potassium", "order": "x, wobble"},
            "The order could not be read at character 4: 'wobble' is not known here; allowed: active",
        ),
        (
            {"what": "sample", "sample": "low-potassium", "order": "order: x, wobble"},
            "The order could not be read at character 11: 'wobble' is not known here",
        ),
        ({"what": "sample", "sample": "low-potassium", "order": "x" * 301}, "An order may have at most 300 characters"),
        ({"what": "request", "request": "  "}, "Paste a request, or choose a file"),
    ],
)
async def test_what_cannot_be_fired_is_said_and_what_was_typed_is_kept(
    client: httpx2.AsyncClient, fields: dict[str, str], message: str
) -> None:
    page = await client.post("/", data=fields)
    assert page.status_code == 400
    assert f"Nothing was fired. {message}" in words(page)
    if len(order := fields.get("order", "")) < 100:
        assert f'value="{order}"' in page.text


async def test_what_turns_or_hides_text_is_seen_on_the_page_and_sent_as_it_is(client: httpx2.AsyncClient) -> None:
    request = request_from_case(["order: quinine 324 mg"], "order-sign", NOW)
    request["prefetch"]["patient"]["name"] = [{"text": "Ann\u202e<b>Other\u200b"}]
    body = json.dumps(request, ensure_ascii=False)
    page = await fire(client, what="request", request=body)
    assert not re.search("[\u202e\u200b]", page.text)
    assert "<b>Ann\u2039b&gt;Other</b>" in page.text
    assert page.text.count("Ann\\u202e&lt;b&gt;Other\\u200b") == 3  # the request, the form to change it, and the curl command
    assert (await client.get(f"{page.url.path}/request.json")).text == body


async def test_a_form_that_is_too_long_is_answered_with_the_page(client: httpx2.AsyncClient) -> None:
    page = await client.post("/", data={"what": "request", "request": "x" * 3_000_000})
    assert page.status_code == 413
    assert "Nothing was fired. The body may have at most 2097152 bytes" in words(page)


async def test_a_pasted_request_is_fired_as_it_is(client: httpx2.AsyncClient) -> None:
    body = json.dumps(request_from_case(["LOINC#2823-3 Potassium 2.4 mmol/L at today"], "patient-view", NOW))
    page = await fire(client, what="request", request=body)
    assert (await client.get(f"{page.url.path}/request.json")).text == body
    assert "/cds-services/cramp-care-patient-view 200" in words(page)


async def test_a_file_wins_over_what_stands_in_the_text(client: httpx2.AsyncClient) -> None:
    body = json.dumps(request_from_case([], "order-sign", NOW), indent=1)
    answered = await client.post("/", data={"what": "request", "request": "{}"}, files={"file": ("a.json", body.encode())})
    page = await client.get(answered.headers["location"])
    assert (await client.get(f"{page.url.path}/request.json")).json() == json.loads(body)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("{", 400, "The body is not JSON"),
        ('{"hook": "patient-view", "hookInstance": "x"}', 400, "`context.patientId` is required"),
        ('{"hook": "patient-view", "hookInstance": "x", "context": {"patientId": "1"}}', 412, "Not sent in `prefetch`"),
        ('{"hook": "order-dispatch"}', 400, "`hook` must be `patient-view`"),
        ('{"hook": 3, "prefetch": {"patient": 7}}', 400, "`hook` is required"),
        ("\ud7ff{", 400, "The body is not JSON"),
        ("[1]", 400, "The body must be a JSON object"),
    ],
)
async def test_a_refusal_is_shown_plainly(client: httpx2.AsyncClient, body: str, status: int, message: str) -> None:
    page = await fire(client, what="request", request=body)
    assert page.status_code == 200
    assert f"The service refused the call: status {status}." in words(page)
    assert message in words(page)
    assert "No card was evaluated, because the call was refused" in words(page)


async def test_a_request_can_be_sent_to_the_service_of_another_hook(client: httpx2.AsyncClient) -> None:
    body = json.dumps(request_from_case([], "patient-view", NOW))
    page = await fire(client, what="request", request=body, hook="order-sign")
    assert "`hook` must be `order-sign` for this service" in words(page)


async def test_a_call_that_needs_a_token_is_shown_as_such(tmp_path: Path) -> None:
    class Unauthorized(PreconditionFailed):
        status = 401

    async def refuse(*_: object) -> Evaluation:
        raise Unauthorized("no")

    runtime = a_runtime(tmp_path)
    async with running(create_app(runtime.settings, runtime=runtime, respond=refuse)) as client:
        assert "The service refused the call: status 401." in words(await fire(client, sample="low-potassium"))


@pytest.mark.parametrize(
    ("field", "outcome", "said"),
    [("suggestion", "accepted", "accepted:"), ("", "overridden", "dismissed"), ("reason", "overridden", "dismissed:")],
)
async def test_feedback_is_really_sent_and_its_answer_shown(
    client: httpx2.AsyncClient, tmp_path: Path, field: str, outcome: str, said: str
) -> None:
    page = await fire(client, sample="quinine-for-cramps")
    _, response = await bodies(client, page)
    card = response["cards"][0]
    value = {"suggestion": card["suggestions"][0]["uuid"], "reason": card["overrideReasons"][1]["code"], "": ""}[field]
    answered = await client.post(f"{page.url.path}/feedback", data={"card": card["uuid"]} | ({field: value} if field else {}))
    assert (answered.status_code, answered.headers["location"]) == (303, f"{page.url.path}#card-{card['uuid']}")
    assert f"Feedback sent: quinine-avoid {said}" in words(await client.get(page.url.path))
    assert '200 {"received":1}' in words(await client.get(page.url.path))
    (row,) = [one for one in exported(tmp_path) if one["cardUuid"] == card["uuid"]]
    (feedback,) = row["feedback"]
    assert feedback["outcome"] == outcome
    assert (value in json.dumps(feedback)) is True


async def test_feedback_on_a_card_that_is_not_in_the_answer_is_refused(client: httpx2.AsyncClient) -> None:
    page = await fire(client, sample="normal-chart")
    assert (await client.post(f"{page.url.path}/feedback", data={"card": "x"})).status_code == 400
    assert (await client.post("/playground/calls/none/feedback", data={"card": "x"})).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 303),
        ({"origin": "http://cds.example"}, 303),
        ({"sec-fetch-site": "same-origin", "origin": "http://cds.example"}, 303),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "http://cds.example"}, 403),
        ({"sec-fetch-site": "none"}, 403),
    ],
)
async def test_forms_are_taken_from_pages_of_this_service_only(
    client: httpx2.AsyncClient, headers: dict[str, str], status: int
) -> None:
    run = (await fire(client, sample="quinine-for-cramps")).url.path
    card = (await client.get(f"{run}/response.json")).json()["cards"][0]["uuid"]
    for path, data in (("/", {"what": "sample", "sample": "normal-chart"}), (f"{run}/feedback", {"card": card})):
        assert (await client.post(path, data=data, headers=headers)).status_code == status


async def test_a_form_has_a_limit(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path, max_body_bytes=2000)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        assert (await client.post("/", data={"what": "request", "request": "x" * 2000})).status_code == 413


async def test_only_the_last_calls_are_remembered(client: httpx2.AsyncClient) -> None:
    pages = [await fire(client, sample="normal-chart") for _ in range(MOST_CALLS + 1)]
    assert [(await client.get(page.url.path)).status_code for page in (pages[0], pages[1])] == [404, 200]
    assert (await client.get(f"{pages[0].url.path}/request.json")).status_code == 404
    assert (await client.get(f"{pages[1].url.path}/other.json")).status_code == 404


async def test_markup_in_a_request_is_shown_and_never_run(client: httpx2.AsyncClient) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    request = request_from_case(["ICD10#R25.2 Cramp", "LOINC#2823-3 Potassium 2.4 mmol/L at today"], "patient-view", NOW)
    request["prefetch"]["patient"]["name"] = [{"text": evil}]
    request["prefetch"]["problems"]["entry"][0]["resource"]["code"]["text"] = evil
    page = await fire(client, what="request", request=json.dumps(request))
    assert "<img" not in page.text
    assert page.text.count("<script") == 1
    assert "&lt;script&gt;" in page.text


async def test_the_timings_add_up(client: httpx2.AsyncClient) -> None:
    page = await fire(client, sample="low-potassium")
    table = page.text.partition('<table class="times">')[2].partition("</table>")[0]
    numbers = [float(one) for one in re.findall(r'data-label="ms">([\d.]+)<', table)]
    assert {"gather", "everything else", "total"} <= set(re.findall(r'data-label="Phase">([^<]+)<', table))
    assert len(numbers) > 3
    assert abs(sum(numbers[:-1]) - numbers[-1]) < 0.05


async def test_the_command_to_repeat_a_call_holds_it(client: httpx2.AsyncClient) -> None:
    page = await fire(client, sample="low-potassium")
    request, _ = await bodies(client, page)
    whole = unescape(re.sub(r"<[^>]*>", "", page.text[page.text.index('id="curl-whole"') :].split(">", 1)[1].split("</pre>")[0]))
    command, _, rest = whole.partition("\n")
    assert shlex.split(command.removesuffix(" <<'END_OF_REQUEST'"))[-3:] == [
        "http://cds.example/cds-services/cramp-care-patient-view",
        "--data-binary",
        "@-",
    ]
    assert json.loads(rest.removesuffix("END_OF_REQUEST")) == request


async def test_a_host_cannot_break_out_of_the_command(client: httpx2.AsyncClient) -> None:
    page = await fire(client, what="request", request='{"hook"\nEND_OF_REQUEST\nrm -rf x')
    assert "curl-whole" not in page.text  # no JSON, so only the form with a file


async def test_the_review_pages_are_served_with_the_banner(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cds_service.playground.reviews.load_cases", lambda *_: [])
    assert (await client.get("/cards")).headers["location"] == "/cards/index.html"
    pages = [await client.get(f"/cards/{name}") for name in ("index.html", "quinine-avoid.html", "recommendations.html")]
    assert all(BANNER in page.text and page.headers["content-type"].startswith("text/html") for page in pages)
    assert (await client.get("/cards/style.css")).headers["content-type"].startswith("text/css")
    assert (await client.get("/cards/none.html")).status_code == 404


async def test_there_is_no_playground_in_production(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path, profile="production", hash_secret="x" * 32)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        for path in (
            "/",
            "/playground/playground.css",
            "/playground/calls",
            "/playground/calls/x",
            "/cards",
            "/cards/index.html",
        ):
            assert (await client.get(path)).status_code == 404
        assert (await client.post("/", data={"what": "sample", "sample": "low-potassium"})).status_code == 404


async def test_two_calls_at_once_get_their_own_explanations(client: httpx2.AsyncClient) -> None:
    pages = await asyncio.gather(*(fire(client, sample=name) for name in ("low-potassium", "normal-chart")))
    assert "Low potassium 2.8 mmol/L" in words(pages[0])
    assert drawn(pages[1]) == []
    assert "potassium 4.2 mmol/L" in words(pages[1])


# Bodies and forms


def test_a_body_is_coloured_and_nothing_in_it_is_lost() -> None:
    body = msgspec.json.encode({"a<b": ['x"y', 1.5e-7, True, None, -3], "&": {}})
    shown = coloured(body)
    assert unescape(re.sub(r"<[^>]*>", "", shown)) == pretty(body)
    assert '<span class="k">&#34;a&lt;b&#34;:</span>' in shown
    assert coloured(b"\xff<b>") == "\ufffd&lt;b&gt;"


def test_a_long_body_is_cut_and_says_so() -> None:
    shown = coloured(msgspec.json.encode({"a": ["x" * 100] * 3000}))
    assert "more characters; the file holds all" in shown
    assert len(re.sub(r"<[^>]*>", "", shown)) < MOST_SHOWN * 1.2


def test_a_multipart_form_is_read_with_its_file() -> None:
    content = 'é{"a":\r\n1}'.encode()
    part = b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    body = (
        part % (b"request", b"", b"{}")
        + part % (b"file", b'; filename="a.json"\r\nContent-Type: application/json', content)
        + b"--x--\r\n"
    )
    assert read_form("multipart/form-data; boundary=x", body) == {"request": b"{}", "file": content}


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=y", "text/plain", "", "\u00e9"])
def test_a_form_that_is_none_has_no_fields(content_type: str) -> None:
    assert cast("dict[str, bytes]", read_form(content_type, b"\xff--x\r\n")) == {}
