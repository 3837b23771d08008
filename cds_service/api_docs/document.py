"""Complete FastAPI's OpenAPI document: parameters and bodies, with golden fixtures as examples.

No function of a route names them: for a single one, FastAPI would import all of Pydantic's first version at each start.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from cds_service.api_docs.schemas import HOOKS, REF, SCHEMAS
from cds_service.files.paths import fixtures_dir
from cds_service.knowledge.services import ServiceDefinition

Json = dict[str, Any]
_EXAMPLES = {"patient-view": "severe-potassium", "order-select": "quinine-for-malaria", "order-sign": "baclofen-to-change"}
_SILENT = "nothing-to-say"
_IN_PATH = re.compile("{([a-z]+)}")

_DESCRIPTION = (
    "CDS Hooks 2.0 services for patients with muscle cramps. Responses are JSON; every unsuccessful one is an "
    "OperationOutcome. Unknown members of a request are ignored. In production every call carries `Authorization: Bearer` "
    'and a token signed by the EHR (CDS Hooks, "Trusting CDS Clients"); the dev profile accepts calls without one.'
)
_REFUSALS = {
    400: "The body is not JSON, or lacks what CDS Hooks requires; the text names the field.",
    401: "The caller was not accepted. The body is empty.",
    404: "There is no service with this id.",
    405: "The path does not support this method.",
    408: "The body did not arrive in time; the connection is closed.",
    412: "Required data was not sent and could not be fetched; the text names the keys.",
    413: "The body is too long.",
    415: "The body is compressed.",
    429: "This client has sent too many calls in this minute; Retry-After says when the minute is over.",
    500: "No card could be evaluated, or the service failed: nothing was checked or stored.",
    503: "It could not be accepted now; send it again later.",
}
FEEDBACK_EXAMPLE = {
    "feedback": [
        {
            "card": "4e0a3a1e-3283-4575-ab82-028d55fe2719",
            "outcome": "overridden",
            "overrideReason": {"reason": {"system": "urn:cramp-cds:override-reason", "code": "known-chronic"}},
            "outcomeTimestamp": "2026-03-01T10:05:31Z",
        }
    ]
}


def describe_api(app: FastAPI, services: Iterable[ServiceDefinition]) -> None:
    """Make `app.openapi()` the complete document, built at the first request."""
    all_services = tuple(services)

    @cache
    def complete() -> Json:
        return _document(app, all_services)

    app.openapi = complete  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _document(app: FastAPI, services: tuple[ServiceDefinition, ...]) -> Json:
    document = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes)
    paths = document["paths"]
    for path, operations in paths.items():
        for operation in operations.values():
            if names := _IN_PATH.findall(path):
                operation["parameters"] = [_parameter("path", name) for name in names]
    discovery, feedback, health = paths.pop("/cds-services"), paths["/cds-services/{id}/feedback"]["post"], paths["/health"]
    discovery["get"]["parameters"] = [_parameter("header", "if-none-match")]
    discovery["get"]["responses"] = {
        "200": _body("The services.", "Services"),
        "304": {"description": "The document has not changed since the one that `If-None-Match` names."},
        **_refused(401),
    }
    for parameter in feedback["parameters"]:
        parameter["schema"] |= {"enum": [service.id for service in services]}
    feedback["requestBody"] = {"required": True, **_content("Feedback", feedback=FEEDBACK_EXAMPLE)}
    feedback["responses"] = {
        "200": _body("It is stored.", "Received"),
        "202": _body("It is kept in memory until the log can be written again.", "Received"),
        **_refused(400, 401, 404, 408, 413, 415, 500, 503),
    }
    health["get"]["responses"] = {
        "200": _body("The state of the service. Always 200, also when degraded, because cards are still sent.", "Health")
    }
    calls = {f"/cds-services/{service.id}": {"post": _call(service)} for service in services}
    document["paths"] = {"/cds-services": discovery, **calls, **paths}
    document["components"] = {"schemas": SCHEMAS}
    return document


def _call(service: ServiceDefinition) -> Json:
    name = _EXAMPLES[service.hook]
    cards = {one: _fixture(f"responses/plain/{one}.json") for one in (name, _SILENT)}
    return {
        "tags": ["CDS Hooks"],
        "operationId": f"call_{service.hook.replace('-', '_')}",
        "summary": service.title,
        "description": service.description,
        "requestBody": {"required": True, **_content(HOOKS[service.hook], **{name: _fixture(f"requests/{name}.json")})},
        "responses": {
            "200": {"description": "The cards.", **_content("Cards", **cards)},
            **_refused(400, 401, 405, 408, 412, 413, 415, 429, 500, 503),
        },
    }


def _parameter(place: str, name: str) -> Json:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}


def _fixture(name: str) -> Any:
    return msgspec.json.decode(Path(fixtures_dir() / name).read_bytes())


def _refused(*statuses: int) -> Json:
    return {
        str(status): {"description": _REFUSALS[status]} if status == 401 else _body(_REFUSALS[status], "OperationOutcome")
        for status in statuses
    }


def _body(description: str, schema: str) -> Json:
    return {"description": description, **_content(schema)}


def _content(schema: str, **examples: Any) -> Json:
    """Describe a JSON body; the names of `examples` are their summaries."""
    shown = {"examples": {name: {"summary": name.replace("-", " "), "value": one} for name, one in examples.items()}}
    return {"content": {"application/json": {"schema": {"$ref": f"{REF}{schema}"}, **(shown if examples else {})}}}
