"""The sample patients as a FHIR server: what the public sandbox and our own `gather` ask it, and what it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import msgspec
import pytest

from cds_service.app import create_app
from cds_service.fhir.validation import problems_r4b
from cds_service.gather.gather import resolve
from cds_service.playground.fhir_search import fits
from cds_service.playground.fhir_server import (
    LARGEST_PAGE,
    MAX_FORM_BYTES,
    MAX_PARAMETERS,
    PAGE,
    SEARCHES,
    capability_statement,
    charts,
    search,
)
from cds_service.trust.callers import UnverifiedCallers
from cds_service.wire.hook_request import Context
from tests.authoring.test_samples import SAMPLES
from tests.core import NOW, a_runtime, knowledge
from tests.http_side import Stub, TransportClient, new_test_app, running

BASE = "http://cds.example/fhir"
CHARTS = charts(NOW.date())
LOINC = "http://loinc.org"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with running(new_test_app(tmp_path, Stub())[0]) as one:
        yield one


def ids(bundle: Any) -> list[str]:
    return [entry["resource"]["id"] for entry in bundle.get("entry", [])]


def found(kind: str, **query: str) -> list[str]:
    pairs = [(name.replace("_", "-").lstrip("-"), value) for name, value in query.items()]
    return ids(search(CHARTS, kind, pairs, BASE))


# Reads


async def test_it_says_what_it_is_and_can_do(client: httpx2.AsyncClient) -> None:
    for path in ("/fhir/metadata", "/fhir"):
        answer = await client.get(path, headers={"accept": "application/json+fhir"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/fhir+json")
        statement = answer.json()
        assert (statement["resourceType"], statement["fhirVersion"], statement["kind"]) == (
            "CapabilityStatement",
            "4.0.1",
            "instance",
        )
        assert statement["implementation"]["url"] == BASE
        assert [one["type"] for one in statement["rest"][0]["resource"]] == list(SEARCHES)
    assert problems_r4b(statement) == []


async def test_every_resource_can_be_read_and_is_valid(client: httpx2.AsyncClient) -> None:
    assert sum(len(some) for some in CHARTS.values()) > 80
    for kind, resources in CHARTS.items():
        for identity, resource in resources.items():
            answer = await client.get(f"/fhir/{kind}/{identity}")
            assert (answer.status_code, answer.json()) == (200, msgspec.to_builtins(resource))
            concepts = [one for one in answer.json().values() if isinstance(one, dict) and "coding" in one]
            assert all(coding.get("display") for one in concepts if "text" in one for coding in one["coding"])
            assert problems_r4b(answer.json()) == []


async def test_the_list_of_patients_is_all_on_one_page_with_names(client: httpx2.AsyncClient) -> None:
    bundle = (await client.get("/fhir/Patient", headers={"accept": "application/json+fhir"})).json()
    assert bundle["total"] == len(bundle["entry"]) == len(SAMPLES) <= PAGE
    assert ids(bundle) == list(SAMPLES)
    assert all(entry["resource"]["name"][0]["given"] for entry in bundle["entry"])
    assert all(entry["fullUrl"] == f"{BASE}/Patient/{entry['resource']['id']}" for entry in bundle["entry"])
    assert (await client.get("/fhir/Patient/")).json()["total"] == bundle["total"]


async def test_the_public_address_stands_in_links_where_there_is_one(tmp_path: Path) -> None:
    async with running(new_test_app(tmp_path, Stub(), public_url="https://cds.example")[0]) as client:
        bundle = (await client.get("/fhir/Patient?_count=1")).json()
        statement = (await client.get("/fhir/metadata")).json()
    assert {link["url"].partition("?")[0] for link in bundle["link"]} == {"https://cds.example/fhir/Patient"}
    assert statement["implementation"]["url"] == "https://cds.example/fhir"


async def test_clients_that_list_patients_before_anything_else_are_served(client: httpx2.AsyncClient) -> None:
    """The questions of request generators: how many are there, the first twelve in order, then all orders of one."""
    assert (await client.get("/fhir//metadata")).json()["resourceType"] == "CapabilityStatement"
    count = (await client.get("/fhir/Patient?_summary=count")).json()
    assert (count["total"], "entry" in count) == (len(SAMPLES), False)
    assert len(ids((await client.get("/fhir//Patient?_sort=identifier&_count=12")).json())) == 12
    assert len(ids((await client.get("/fhir/Patient?_sort=-_lastUpdated&_fields=id,name&_count=12")).json())) == 12  # Medplum
    first_page = ids((await client.get("/fhir/Patient?_sort=identifier&_count=12")).json())
    orders = [(await client.get(f"/fhir/MedicationRequest?subject=Patient/{one}&status=draft")).json() for one in first_page]
    assert sum(one["total"] for one in orders) >= 2, "there is something to sign on the page that is seen"
    drafts = (await client.get("/fhir/MedicationRequest?subject=Patient/quinine-for-cramps")).json()
    assert [one["resource"]["status"] for one in drafts["entry"]] == ["draft"]
    (draft,) = ids(drafts)
    query = f"_id={draft}&_include=MedicationRequest:patient&_include=MedicationRequest:requester:PractitionerRole"
    found = (await client.get(f"/fhir/MedicationRequest?{query}&_include:iterate=PractitionerRole:organization")).json()
    assert [(one["resource"]["id"], one["search"]["mode"]) for one in found["entry"]] == [
        (draft, "match"),
        ("quinine-for-cramps", "include"),
    ]
    assert (found["total"], problems_r4b(found)) == (1, [])
    for kind in ("DeviceRequest", "ServiceRequest", "MedicationDispense", "QuestionnaireResponse", "Coverage"):
        nothing = (await client.get(f"/fhir/{kind}?subject=Patient/quinine-for-cramps&_lastUpdated=gt2025-01-01")).json()
        assert (nothing["total"], "entry" in nothing, problems_r4b(nothing)) == (0, False, [])


@pytest.mark.parametrize(
    ("query", "kept", "left_out"),
    [
        ("_elements=name", {"id", "name"}, {"birthDate", "gender"}),
        ("_elements=birthDate,gender", {"birthDate", "gender"}, {"name"}),
        ("_summary=text", {"id"}, {"name", "birthDate"}),
        ("_summary=true", {"name", "birthDate", "gender"}, set()),
        ("_summary=data", {"name", "birthDate", "gender"}, set()),
        ("_summary=false", {"name", "birthDate", "gender"}, set()),
    ],
)
async def test_parts_of_resources_can_be_asked_for(
    client: httpx2.AsyncClient, query: str, kept: set[str], left_out: set[str]
) -> None:
    bundle = (await client.get(f"/fhir/Patient?{query}")).json()
    read = (await client.get(f"/fhir/Patient/dialysis?{query}")).json()
    for patient in (*(entry["resource"] for entry in bundle["entry"]), read):
        assert kept <= set(patient)
        assert not left_out & set(patient)
        assert bool(left_out) == ("SUBSETTED" in str(patient.get("meta")))
        assert problems_r4b(patient) == []


def test_a_part_of_any_resource_is_valid() -> None:
    for kind in SEARCHES:
        for entry in search(CHARTS, kind, [("_elements", "note")], BASE).get("entry", []):
            assert problems_r4b(entry["resource"]) == []
            assert "effectiveDateTime" not in entry["resource"]


@pytest.mark.parametrize(
    ("query", "people"),
    [
        ({"name": "SAMPLE"}, ["a"]),
        ({"name": "an"}, ["a", "b"]),
        ({"family": "an"}, ["b"]),
        ({"given": "an"}, ["a"]),
        ({"name:contains": "amp"}, ["a"]),
        ({"name:exact": "Ann"}, ["a"]),
        ({"name:exact": "ann"}, []),
        ({"name": "zoe,bob"}, ["b"]),
        ({"name": "nobody"}, []),
    ],
)
def test_people_are_found_by_their_names(query: dict[str, str], people: list[str]) -> None:
    names = {"a": {"given": ["Ann"], "family": "Sample"}, "b": {"given": ["Bob"], "family": "Anders"}, "c": None}
    charts = {
        "Patient": {
            one: {"resourceType": "Patient", "id": one, **({"name": [name]} if name else {})} for one, name in names.items()
        }
    }
    assert ids(search(charts, "Patient", [*query.items()], BASE)) == people


def test_the_charts_are_of_today_and_never_of_the_future() -> None:
    today = NOW.date().isoformat()
    dates = [one["effectiveDateTime"] for one in CHARTS["Observation"].values()]
    assert max(date[:10] for date in dates) <= today
    assert charts(NOW.date()) is CHARTS


# Searches


@pytest.mark.parametrize("method", ["GET", "POST", "POST with both"])
async def test_every_search_of_our_own_prefetch_templates_finds_the_chart(client: httpx2.AsyncClient, method: str) -> None:
    for service in knowledge().services:
        for name, sample in SAMPLES.items():
            expected = sample.request(NOW)["prefetch"]
            for key, template in service.prefetch.items():
                if key == "patient":
                    continue
                path, _, query = (resolve(template, Context(patientId=name)) or "").partition("?")
                if method == "GET":
                    answer = await client.get(f"/fhir/{path}?{query}")
                elif method == "POST":
                    answer = await client.post(f"/fhir/{path}/_search", content=query, headers=FORM)
                else:
                    first, _, rest = query.partition("&")
                    answer = await client.post(f"/fhir/{path}/_search?{first}", content=rest, headers=FORM)
                assert answer.status_code == 200, answer.text
                bundle = answer.json()
                assert problems_r4b(bundle) == []
                there = [entry["resource"] for entry in (expected[key] or {}).get("entry", [])]
                if key == "labs":  # some analytes only
                    there = [one for one in there if one["code"]["coding"][0]["code"] in template]
                wanted = [one["id"] for one in there if one.get("status") in (None, "active", "final")]
                assert sorted(ids(bundle)) == sorted(wanted), (name, key)


async def test_conditions_as_the_sandbox_asks_for_them(client: httpx2.AsyncClient) -> None:
    bundle = (await client.get("/fhir/Condition?patient=dialysis", headers={"accept": "application/json+fhir"})).json()
    assert bundle["total"] == 2
    assert [entry["resource"]["code"]["coding"][0]["code"] for entry in bundle["entry"]] == ["N18.6", "Z99.2"]
    nothing = (await client.get("/fhir/AllergyIntolerance?patient=dialysis")).json()
    assert (nothing["total"], "entry" in nothing) == (0, False)


def test_a_patient_can_be_named_in_every_form_of_a_reference() -> None:
    for name in ("dialysis", "Patient/dialysis", "https://ehr.example/fhir/Patient/dialysis"):
        assert (
            found("Condition", patient=name)
            == found("Condition", subject=name)
            == ["dialysis-condition-1", "dialysis-condition-2"]
        )
    assert (
        found("Condition", patient="") == found("Condition", patient="Group/dialysis") == found("Condition", patient="dia") == []
    )
    assert len(found("Condition", patient="dialysis,child")) == 3


def test_tokens_name_codes_with_and_without_their_system() -> None:
    labs = {"patient": "mild-potassium"}
    (potassium,) = found("Observation", **labs, code="2823-3")
    assert found("Observation", **labs, code=f"{LOINC}|2823-3") == [potassium]
    assert len(found("Observation", **labs, code=f"{LOINC}|2823-3,{LOINC}|19123-9")) == 2
    assert len(found("Observation", **labs, code=f"{LOINC}|")) == 3
    assert (
        found("Observation", **labs, code="|2823-3") == found("Observation", **labs, code="http://snomed.info/sct|2823-3") == []
    )
    assert (
        found("Observation", **labs, code="2823")
        == found("Observation", **labs, code="")
        == found("Observation", **labs, code="|")
        == []
    )
    assert len(found("Observation", **labs, category="laboratory", status="final")) == 3
    assert found("Observation", **labs, status="") == []
    assert found("Condition", patient="child", clinical_status="active,recurrence") == ["child-condition-1"]


def test_a_parameter_that_stands_twice_must_hold_twice() -> None:
    query = [("patient", "mild-potassium"), ("code", "2823-3"), ("code", "19123-9")]
    assert search(CHARTS, "Observation", query, BASE)["total"] == 0


@pytest.mark.parametrize(
    ("wanted", "fitting"),
    [
        ("2025-11-28", ["2025-11-28", "2025-11-28T08:00:00Z"]),
        ("eq2025-11-28", ["2025-11-28", "2025-11-28T08:00:00Z"]),
        ("2025-11", ["2025-11", "2025-11-28", "2025-11-28T08:00:00Z"]),
        ("2025", ["2025", "2025-11", "2025-11-28", "2025-11-28T08:00:00Z"]),
        ("2025-11-28T08:00:00Z", ["2025-11-28T08:00:00Z"]),
        ("ne2025-11-28", ["2024-12-31", "2025", "2025-11", "2026-01-01"]),
        ("gt2025-11-28", ["2025", "2025-11", "2026-01-01"]),
        ("ge2025-11-28", ["2025", "2025-11", "2025-11-28", "2025-11-28T08:00:00Z", "2026-01-01"]),
        ("lt2025-11-28", ["2024-12-31", "2025", "2025-11"]),
        ("le2025-11-28", ["2024-12-31", "2025", "2025-11", "2025-11-28", "2025-11-28T08:00:00Z"]),
        ("lt2025", ["2024-12-31"]),
        ("ge2026,lt2025", ["2024-12-31", "2026-01-01"]),
    ],
)
def test_dates_are_compared_as_the_spans_that_they_leave_open(wanted: str, fitting: list[str]) -> None:
    dates = ["2024-12-31", "2025", "2025-11", "2025-11-28", "2025-11-28T08:00:00Z", "2026-01-01"]
    assert [one for one in dates if fits(one, "date", wanted.split(","))] == fitting
    assert not fits(None, "date", wanted.split(","))


async def test_results_come_sorted_and_in_pages_that_lead_to_all_of_them(client: httpx2.AsyncClient) -> None:
    url: str | None = f"{BASE}/Observation?_sort=-date,_id&_count=7"
    seen: list[str] = []
    dates: list[str] = []
    pages = 0
    while url:
        bundle = (await client.get(url)).json()
        assert bundle["total"] == len(CHARTS["Observation"])
        seen += ids(bundle)
        dates += [entry["resource"]["effectiveDateTime"] for entry in bundle["entry"]]
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
        assert url is None or url.startswith(BASE)
        pages += 1
    assert (len(set(seen)), pages) == (bundle["total"], -(-bundle["total"] // 7))
    assert dates == sorted(dates, reverse=True)


async def test_a_search_by_form_leads_to_a_next_page_that_can_be_got(client: httpx2.AsyncClient) -> None:
    bundle = (await client.post("/fhir/Patient/_search", content="_count=20", headers=FORM)).json()
    (link,) = (link["url"] for link in bundle["link"] if link["relation"] == "next")
    assert ids(bundle) + ids((await client.get(link)).json()) == list(SAMPLES)


def test_a_count_of_nothing_gives_the_total() -> None:
    bundle = search(CHARTS, "Patient", [("_count", "0")], BASE)
    assert (bundle["total"], "entry" in bundle, len(bundle["link"])) == (len(SAMPLES), False, 1)
    assert len(ids(search(CHARTS, "Patient", [("_count", str(LARGEST_PAGE + 1))], BASE))) == len(SAMPLES)
    assert ids(search(CHARTS, "Patient", [("_offset", "1000")], BASE)) == []


# What is refused


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/fhir/Practitioners", 404, "no resource of this type"),
        ("/fhir/Element", 404, "no resource of this type"),
        ("/fhir/Practitioner/COREPRACTITIONER1", 404, "no such resource"),
        ("/fhir/Patient/nobody", 404, "no such resource"),
        ("/fhir/Patient/nobody/_history/1", 404, "nothing at this path"),
        ("/fhir/Condition?patient:exact=dialysis", 400, "supported are _count,"),
        ("/fhir/Condition?encounter=1", 400, "clinical-status"),
        ("/fhir/Observation?date=yesterday", 400, "A date must look like"),
        ("/fhir/Observation?date=xx2025", 400, "eq, ne, gt"),
        ("/fhir/Observation?date=", 400, "A date must look like"),
        ("/fhir/Observation?_count=many", 400, "`_count`"),
        ("/fhir/Observation?_count=-1", 400, "`_count`"),
        ("/fhir/Observation?_offset=" + "9" * 5000, 400, "`_offset`"),
        ("/fhir/Observation?_sort=value", 400, "`_sort`"),
        ("/fhir/Patient?_summary=some", 400, "`_summary`"),
        ("/fhir/metadata?_format=xml", 400, "`_format`"),
        ("/fhir/Patient?_format=application/fhir%2Bxml", 400, "`_format`"),
        ("/fhir/Patient/child?_format=xml", 400, "`_format`"),
        ("/fhir/Patient?" + "&".join(["_id=x"] * (MAX_PARAMETERS + 1)), 400, "at most"),
    ],
)
async def test_what_can_not_be_answered_says_why(client: httpx2.AsyncClient, path: str, status: int, says: str) -> None:
    answer = await client.get(path, headers={"origin": "https://sandbox.example"})
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == "*"
    outcome = answer.json()
    assert problems_r4b(outcome) == []
    assert (outcome["resourceType"], says in outcome["issue"][0]["details"]["text"]) == ("OperationOutcome", True)


@pytest.mark.parametrize(
    "query",
    [
        "_format=json",
        "_format=application/fhir+json",
        "_format=application%2Ffhir%2Bjson",
        "_format=application/json;fhirVersion=4.0",
    ],
)
async def test_json_can_be_asked_for_by_all_its_names(client: httpx2.AsyncClient, query: str) -> None:
    assert (await client.get(f"/fhir/Patient?{query}&_pretty=true")).status_code == 200


async def test_it_can_not_be_written_to(client: httpx2.AsyncClient) -> None:
    before = msgspec.json.encode(CHARTS)
    for method, path in (
        ("POST", "/fhir/Patient"),
        ("PUT", "/fhir/Patient/child"),
        ("PATCH", "/fhir/Patient/child"),
        ("DELETE", "/fhir/Patient/child"),
    ):
        answer = await client.request(method, path, json={"resourceType": "Patient", "id": "child"})
        assert (answer.status_code, answer.json()["resourceType"]) == (405, "OperationOutcome")
    assert (await client.post("/fhir", json={"resourceType": "Bundle"})).status_code == 405
    assert msgspec.json.encode(CHARTS) == before


async def test_a_search_by_post_takes_a_form_of_limited_length(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/fhir/Patient/_search", json={"_id": "child"})).status_code == 415
    assert (await client.post("/fhir/Patient/_search")).status_code == 415
    assert (await client.post("/fhir/Patient/_search", content=b"", headers=FORM)).json()["total"] == len(SAMPLES)
    long = urlencode({"_id": "x" * MAX_FORM_BYTES})
    assert (await client.post("/fhir/Patient/_search", content=long, headers=FORM)).status_code == 413
    assert (await client.post("/fhir/Patient/_search", content=b"\xff=%ff", headers=FORM)).status_code == 400


async def test_browsers_may_ask_it_from_everywhere(client: httpx2.AsyncClient) -> None:
    headers = {
        "origin": "https://sandbox.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
        "access-control-request-private-network": "true",
    }
    for path in ("/fhir/metadata", "/fhir/Patient", "/fhir/Patient/child", "/fhir/Condition/_search"):
        answer = await client.options(path, headers=headers)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
        assert answer.headers["access-control-allow-private-network"] == "true"
        assert {"Authorization", "Content-Type"} <= set(answer.headers["access-control-allow-headers"].split(", "))
    read = await client.get("/fhir/Patient/child", headers={"origin": "https://sandbox.example", "authorization": "Bearer x"})
    assert (read.status_code, read.headers["access-control-allow-origin"]) == (200, "*")


async def test_there_are_no_sample_patients_in_production(tmp_path: Path) -> None:
    app, _ = new_test_app(tmp_path, Stub(), callers=UnverifiedCallers(), profile="production", hash_secret="x" * 32)
    async with running(app) as client:
        for path in ("/fhir", "/fhir/metadata", "/fhir/Patient", "/fhir/Patient/child"):
            assert (await client.get(path)).status_code == 404
        assert (await client.post("/fhir/Patient/_search", content=b"", headers=FORM)).status_code == 404


def test_the_statement_names_every_parameter_that_is_understood() -> None:
    for resource in capability_statement(BASE, NOW.date())["rest"][0]["resource"]:
        for parameter in resource["searchParam"]:
            value = {"date": "ge2025", "reference": "child", "token": "x", "string": "x"}[parameter["type"]]
            search(CHARTS, resource["type"], [(parameter["name"], value)], BASE)


# The service as its own EHR


async def test_data_that_is_fetched_gives_the_same_cards_as_data_that_was_sent(tmp_path: Path) -> None:
    answers: dict[str, list[Any]] = {name: [] for name in SAMPLES}
    requests = {name: sample.request(NOW) for name, sample in SAMPLES.items()}
    for way in ("sent", "fetched"):
        (tmp_path / way).mkdir()
        runtime = a_runtime(tmp_path / way)  # with a log of its own, because some cards are shown once
        itself = create_app(runtime.settings, runtime=runtime)
        runtime = msgspec.structs.replace(runtime, http=TransportClient(httpx2.ASGITransport(app=itself)))
        async with running(create_app(runtime.settings, runtime=runtime)) as client:
            for name, request in requests.items():
                bare = {key: value for key, value in request.items() if key != "prefetch"} | {"fhirServer": BASE}
                body = request if way == "sent" else bare
                answer = await client.post(f"/cds-services/cramp-care-{body['hook']}", json=body)
                assert answer.status_code == 200, answer.text
                answers[name].append(answer.json())
    for name, (sent, fetched) in answers.items():
        assert sent == fetched
        assert bool(sent["cards"]) == (not SAMPLES[name].story.startswith("Silent"))
