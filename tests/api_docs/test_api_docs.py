"""The OpenAPI document describes what is taken and given, and /docs shows it without help from elsewhere."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import msgspec
import pytest
import schemathesis

from cds_service.api_docs.schemas import HOOKS
from cds_service.app import create_app
from cds_service.respond import respond
from cds_service.settings import DEV_BANNER
from cds_service.trust.callers import UnverifiedCallers
from tests.core import Json, a_runtime, knowledge
from tests.golden import kept
from tests.http_side import Stub, new_test_app, running


@pytest.fixture
async def document(tmp_path: Path) -> Json:
    found: Json = await fetched(tmp_path, "/openapi.json")
    return found


async def fetched(folder: Path, path: str) -> Any:
    async with client_of(folder) as client:
        answer = await client.get(path)
    assert answer.status_code == 200
    return answer.json() if path.endswith(".json") else answer


def client_of(folder: Path) -> Any:
    runtime = a_runtime(folder)
    return running(create_app(runtime.settings, runtime=runtime, respond=respond))


def test_the_document_is_valid_openapi(document: Json) -> None:
    schemathesis.openapi.from_dict(document).validate()
    for name, schema in document["components"]["schemas"].items():
        jsonschema_rs.meta.validate(schema)
        assert schema.get("description"), name


def test_every_service_is_described_with_its_own_model_and_an_example(document: Json) -> None:
    for service in knowledge().services:
        operation = document["paths"][f"/cds-services/{service.id}"]["post"]
        content = operation["requestBody"]["content"]["application/json"]
        model = content["schema"]["$ref"].rpartition("/")[2]
        assert model == HOOKS[service.hook]
        (example,) = content["examples"].values()
        assert example["value"]["hook"] == service.hook
        assert {"200", "400", "401", "405", "408", "412", "413", "415", "429", "500", "503"} == operation["responses"].keys()
        answers = operation["responses"]["200"]["content"]["application/json"]["examples"].values()
        assert any(answer["value"]["cards"] for answer in answers)
        assert {"cards": []} in [answer["value"] for answer in answers]


def test_refusals_are_operation_outcomes_and_nothing_answers_422(document: Json) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"]
            for status, answer in operation["responses"].items():
                if path.startswith("/cds-services") and status[0] in "45" and status != "401":
                    assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/OperationOutcome")
    assert {"404", "202"} <= document["paths"]["/cds-services/{id}/feedback"]["post"]["responses"].keys()
    assert {"/cds-services", "/cds-services/{id}/feedback", "/health"} <= document["paths"].keys()


def validator(document: Json, model: str) -> jsonschema_rs.Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{model}", "components": document["components"]}
    return jsonschema_rs.Draft202012Validator(schema)


def test_every_golden_request_and_response_fits_its_model(document: Json) -> None:
    files: dict[str, Json] = {name: msgspec.json.decode(text) for name, text in kept().items()}
    refused = {Path(name).name for name, body in files.items() if name.startswith("responses/") and "issue" in body}
    for name, body in files.items():
        if name.startswith("responses/"):
            assert validator(document, "OperationOutcome" if "issue" in body else "Cards").is_valid(body), name
        elif Path(name).name not in {*refused, "no-draft-orders.json"}:  # not as CDS Hooks has it, and answered: not checked
            assert validator(document, HOOKS[body["hook"]]).is_valid(body), name


async def test_what_discovery_feedback_and_examples_hold_fits_too(tmp_path: Path, document: Json) -> None:
    services: httpx2.Response = await fetched(tmp_path, "/cds-services")
    assert validator(document, "Services").is_valid(services.json())
    feedback = document["paths"]["/cds-services/{id}/feedback"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert validator(document, "Feedback").is_valid(feedback["feedback"]["value"])


async def test_an_example_that_is_sent_is_answered_as_described(tmp_path: Path, document: Json) -> None:
    async with client_of(tmp_path) as client:
        for service in knowledge().services:
            path = f"/cds-services/{service.id}"
            (example,) = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"].values()
            answer = await client.post(path, json=example["value"])
            assert answer.status_code == 200
            assert validator(document, "Cards").is_valid(answer.json())


# The page


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name == "href"]


async def test_the_page_runs_nothing_and_asks_no_other_host(tmp_path: Path) -> None:
    answer: httpx2.Response = await fetched(tmp_path, "/docs")
    page = Page(answer.text)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self';")
    assert page.tags.isdisjoint({"script", "img", "iframe", "object", "embed", "style"})
    assert not any(name.startswith("on") or name in ("src", "style") for name in page.attributes)
    assert all(link.startswith(("#", "/")) for link in page.links)
    style: httpx2.Response = await fetched(tmp_path, "/docs/style.css")
    assert style.headers["content-type"].startswith("text/css")
    assert "prefers-color-scheme: dark" in style.text
    assert not re.search(r"url\(|@import", style.text)


async def test_the_page_shows_every_operation_and_model_and_its_links_lead_somewhere(tmp_path: Path, document: Json) -> None:
    answer: httpx2.Response = await fetched(tmp_path, "/docs")
    page = Page(answer.text)
    assert len(set(page.ids)) == len(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert path in answer.text
            assert operation["summary"] in answer.text
    assert {f"model-{name}" for name in document["components"]["schemas"]} <= set(page.ids)
    assert DEV_BANNER in answer.text
    assert "{{" not in re.sub(r"<(pre|textarea).*?</(pre|textarea)>", "", answer.text, flags=re.DOTALL)


async def test_each_service_has_a_request_of_today_to_try_which_gets_cards(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        page = (await client.get("/docs")).text
        requests = [unescape(text) for text in re.findall(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)]
        assert [json.loads(text)["hook"] for text in requests] == list(HOOKS)
        for text in requests:
            answered = await client.post("/", data={"what": "request", "request": text})
            response = await client.get(f"{answered.headers['location']}/response.json")
            assert response.json()["cards"], json.loads(text)["hook"]
        assert len(re.findall('<form method="post" action="/" ', page)) == len(requests)


async def test_production_has_no_documentation(tmp_path: Path) -> None:
    app, _ = new_test_app(tmp_path, Stub(), callers=UnverifiedCallers(), profile="production", hash_secret="x" * 32)
    async with running(app) as client:
        for path in ("/docs", "/docs/style.css", "/openapi.json", "/redoc"):
            assert (await client.get(path)).status_code == 404
