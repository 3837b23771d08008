"""Building a request on the page: another order, a longer chart, drugs that are known and drugs that are not, things pasted."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.playground.completions import Completions
from tests.core import NOW, a_runtime, knowledge
from tests.http_side import running
from tests.playground.firing import fire

KNOWN = Completions.of(knowledge().terminology)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    runtime = a_runtime(tmp_path)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        yield client


async def request_of(client: httpx2.AsyncClient, page: httpx2.Response) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"{page.url.path}/request.json")).json()
    return found


def words(page: httpx2.Response) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page.text)).split())


def call_id(page: httpx2.Response) -> str:
    return page.url.path.rpartition("/")[2]


async def test_only_the_order_of_a_call_is_changed(client: httpx2.AsyncClient) -> None:
    first = await fire(client, sample="quinine-for-cramps")
    page = await fire(client, what="order", call=call_id(first), order="baclofen 10 mg TID")
    before, after = await request_of(client, first), await request_of(client, page)
    (entry,) = after["context"].pop("draftOrders")["entry"]
    assert entry["resource"]["medicationCodeableConcept"]["text"] == "baclofen 10 mg TID"
    assert entry["resource"]["subject"] == {"reference": f"Patient/{before['context']['patientId']}"}
    del before["context"]["draftOrders"]
    assert before.pop("hookInstance") != after.pop("hookInstance")
    assert before == after
    assert "Only the order was changed: baclofen 10 mg TID" in words(page)


async def test_an_order_changed_at_patient_view_is_signed_and_at_order_select_selected(client: httpx2.AsyncClient) -> None:
    first = await fire(client, sample="low-potassium")
    signed = await fire(client, what="order", call=call_id(first), order="quinine 300 mg")
    assert (await request_of(client, signed))["hook"] == "order-sign"
    picked = await fire(client, sample="low-potassium", hook="order-select", order="quinine 300 mg")
    changed = await request_of(client, await fire(client, what="order", call=call_id(picked), order="baclofen 10 mg"))
    (entry,) = changed["context"]["draftOrders"]["entry"]
    assert changed["context"]["selections"] == [f"MedicationRequest/{entry['resource']['id']}"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"order": ""}, "Type the order to draft"),
        ({"order": "x, wobble"}, "The order could not be read at character 4: 'wobble' is not known here"),
        ({"order": "x" * 301}, "An order may have at most 300 characters"),
    ],
)
async def test_a_changed_order_that_cannot_be_read_is_said_beside_its_field(
    client: httpx2.AsyncClient, fields: dict[str, str], message: str
) -> None:
    first = await fire(client, sample="low-potassium")
    page = await client.post("/", data={"what": "order", "call": call_id(first)} | fields)
    assert page.status_code == 400
    said = re.search(r'<p id="order-said"[^>]*>(.*?)</p>', page.text, re.DOTALL)
    assert said is not None
    assert message in unescape(said[1])
    assert "aria-describedby=order-said" in page.text


async def test_an_order_of_a_call_that_is_no_longer_kept(client: httpx2.AsyncClient) -> None:
    page = await client.post("/", data={"what": "order", "call": "none", "order": "quinine"})
    assert (page.status_code, "This call is no longer kept" in words(page)) == (404, True)


async def test_a_request_without_a_patient_can_get_no_order(client: httpx2.AsyncClient) -> None:
    first = await fire(client, what="request", request='{"hook": "patient-view"}')
    page = await client.post("/", data={"what": "order", "call": call_id(first), "order": "quinine"})
    assert (page.status_code, "The request names no patient" in words(page)) == (400, True)


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (
            "baclofn 10 mg",
            "baclofn 10 mg is not recognised as a drug that a card looks for, so no card speaks about it; did you mean baclofen?",
        ),
        ("wobbleol 5 mg", "wobbleol 5 mg is not recognised as a drug that a card looks for, so no card speaks about it."),
        ("baclofen 10 mg", ""),
    ],
)
async def test_a_drug_that_is_not_recognised_is_said_beside_the_order(client: httpx2.AsyncClient, order: str, said: str) -> None:
    page = await fire(client, sample="low-potassium", order=order)
    found = re.search(r'<p id="order-said"[^>]*>(.*?)</p>', page.text, re.DOTALL)
    assert (" ".join(re.sub("<[^>]*>", "", unescape(found[1])).split()) if found is not None else "") == said
    assert page.text.index('id="changed-order"') < page.text.index('id="why"')


async def test_a_result_a_problem_and_a_drug_are_added_to_a_sample(client: httpx2.AsyncClient) -> None:
    added = {"lab": "potassium|mEq/L", "value": "2.3", "problem": "epilepsy", "taken": "furosemide 40 mg"}
    page = await fire(client, sample="normal-chart", **added)
    request = await request_of(client, page)
    labs = [entry["resource"] for entry in request["prefetch"]["labs"]["entry"]]
    assert [(one["valueQuantity"]["value"], one["valueQuantity"]["unit"]) for one in labs][-1] == (2.3, "mEq/L")
    assert request["prefetch"]["problems"]["entry"][-1]["resource"]["code"]["text"] == "epilepsy"
    assert "Severe low potassium 2.3" in words(page)
    assert "Added to the chart: LOINC#2823-3 potassium 2.3 mEq/L at" in words(page)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lab": "potassium|mEq/L"}, "A result needs its name and a number"),
        ({"value": "3"}, "A result needs its name and a number"),
        ({"lab": "potassium|mEq/L", "value": "low"}, "A result needs its name and a number"),
        ({"lab": "nothing|x", "value": "3"}, "A result needs its name and a number"),
        ({"problem": "cramp, wobble"}, "What is added to the chart could not be read: 'wobble' is not known here"),
    ],
)
async def test_what_cannot_be_added_is_said_and_kept(client: httpx2.AsyncClient, fields: dict[str, str], message: str) -> None:
    page = await client.post("/", data={"what": "sample", "sample": "normal-chart"} | fields)
    assert page.status_code == 400
    assert message in words(page)
    for name in ("value", "problem"):
        assert f'value="{fields.get(name, "")}"' in page.text


def test_every_drug_and_problem_that_is_offered_is_recognised() -> None:
    terminology = knowledge().terminology
    assert len(KNOWN.drugs) > 300
    assert [name for name in KNOWN.drugs if not terminology.drug((), (name,)).ingredients] == []
    assert len(KNOWN.problems) > 50
    assert [name for name in KNOWN.problems if not terminology.problem((), (name,)).sets] == []


@pytest.mark.parametrize("lab", KNOWN.labs, ids=lambda lab: lab.id)
async def test_every_result_that_is_offered_is_read(client: httpx2.AsyncClient, lab: Any) -> None:
    code = knowledge().terminology.lab("http://loinc.org", lab.code)
    assert code is not None
    assert (code.analyte, code.role) == (lab.id.partition("|")[0], "routine")
    assert knowledge().terminology.unit_for(code.analyte, lab.unit, None) == lab.unit


async def test_all_drugs_are_offered_without_a_script(client: httpx2.AsyncClient) -> None:
    page = (await client.get("/")).text
    for name in ("baclofen", "orphenadrine", "amphotericin B"):
        assert f'<option value="{name}"></option>' in page
    assert page.count('list="drugs"') == 2


async def test_a_pasted_command_is_fired_and_what_was_ignored_is_said(client: httpx2.AsyncClient) -> None:
    request = request_from_case(["order: quinine 300 mg"], "order-sign", NOW)
    command = f"curl -H 'Authorization: Bearer SECRET' https://x/cds-services/y -d '{json.dumps(request)}'"
    page = await fire(client, what="request", request=command)
    assert await request_of(client, page) == request
    assert "Imported from a curl command to /cds-services/y. Ignored: the address, and the headers authorization." in words(page)
    assert "SECRET" not in page.text


async def test_a_pasted_chart_is_sent_at_the_hook_that_is_chosen(client: httpx2.AsyncClient) -> None:
    prefetch = request_from_case(["LOINC#2823-3 Potassium 2.4 mmol/L at today"], "patient-view", NOW)["prefetch"]
    page = await fire(client, what="request", request=json.dumps(prefetch), hook="order-sign")
    assert "/cds-services/cramp-care-order-sign 200" in words(page)
    assert "Imported from a prefetch object with 6 keys" in words(page)
    refused = await client.post("/", data={"what": "request", "request": '{"resourceType": "Bundle"}'})
    assert (refused.status_code, "Nothing was fired. No Patient is in it" in words(refused)) == (400, True)


async def test_a_mark_before_a_pasted_request_does_not_hide_its_hook(client: httpx2.AsyncClient) -> None:
    body = "\ufeff" + json.dumps(request_from_case(["order: quinine 300 mg"], "order-sign", NOW))
    assert "/cds-services/cramp-care-order-sign 200" in words(await fire(client, what="request", request=body))
