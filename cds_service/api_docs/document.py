"""The OpenAPI document: FastAPI's own, completed by what plain routes take and give, with golden fixtures as examples."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from cds_service.api_docs import models
from cds_service.paths import fixtures_dir
from cds_service.prefetch import ServiceDefinition

Json = dict[str, Any]
_REF = "#/components/schemas/"
_CALLS: dict[str, type[models.Call]] = {
    "patient-view": models.PatientViewCall,
    "order-select": models.OrderSelectCall,
    "order-sign": models.OrderSignCall,
}
_EXAMPLES = {"patient-view": "severe-potassium", "order-select": "quinine-for-malaria", "order-sign": "baclofen-to-change"}
_MODELS = (
    *_CALLS.values(),
    models.Cards,
    models.Services,
    models.Feedback,
    models.Received,
    models.Health,
    models.OperationOutcome,
)
_SILENT = "nothing-to-say"

_DESCRIPTION = (
    "CDS Hooks 2.0 services for patients with muscle cramps. Answers are JSON; every answer that is no success is an "
    "OperationOutcome, and unknown members of a request are ignored. In production every call carries `Authorization: Bearer` "
    'and a token that the EHR has signed (CDS Hooks, "Trusting CDS Clients"); the dev profile takes calls without one.'
)
_REFUSALS = {
    400: "The body is not JSON, or lacks what CDS Hooks requires; the text names the field.",
    401: "The caller was not accepted. The body is empty.",
    404: "There is no service with this id.",
    405: "The path does not take this method.",
    412: "Required data was neither sent nor could it be asked for; the text names the keys.",
    413: "The body is too long.",
    415: "The body is compressed.",
    503: "It could not be taken now; send it again later.",
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
    """Make `app.openapi()` the complete document, built when it is first asked for."""
    known = tuple(services)

    @cache
    def complete() -> Json:
        return _document(app, known)

    app.openapi = complete  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _document(app: FastAPI, services: tuple[ServiceDefinition, ...]) -> Json:
    document = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes)
    _, schemas = msgspec.json.schema_components(_MODELS, ref_template=f"{_REF}{{name}}")
    schemas["Cards"]["examples"] = [{"cards": []}]
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # FastAPI's own; here a wrong parameter is answered with 400
    paths = document["paths"]
    paths["/cds-services"]["get"]["responses"] = {
        "200": _json("The services.", "Services"),
        "304": {"description": "The document is still what `If-None-Match` names."},
        **_refused(401),
    }
    feedback = paths["/cds-services/{id}/feedback"]["post"]
    for parameter in feedback["parameters"]:
        parameter["schema"] |= {"enum": [service.id for service in services]}
    feedback["requestBody"] = {"required": True, **_content("Feedback", {"feedback": {"value": FEEDBACK_EXAMPLE}})}
    feedback["responses"] = {
        "200": _json("It is stored.", "Received"),
        "202": _json("It is held in memory until the log can be written again.", "Received"),
        **_refused(400, 401, 404, 413, 415, 503),
    }
    if "/health" in paths:
        paths["/health"]["get"]["responses"] = {"200": _json("Always, as cards go out even then.", "Health")}
    calls = {f"/cds-services/{service.id}": {"post": _call(service)} for service in services}
    document["paths"] = {"/cds-services": paths.pop("/cds-services"), **calls, **paths}
    components = document.setdefault("components", {})
    own = {
        name: one for name, one in components.get("schemas", {}).items() if name not in ("HTTPValidationError", "ValidationError")
    }
    components["schemas"] = {**own, **schemas}
    return document


def _call(service: ServiceDefinition) -> Json:
    name = _EXAMPLES[service.hook]
    return {
        "tags": ["CDS Hooks"],
        "operationId": f"call_{service.hook.replace('-', '_')}",
        "summary": service.title,
        "description": service.description,
        "requestBody": {
            "required": True,
            **_content(_CALLS[service.hook].__name__, {name: {"value": _fixture(f"requests/{name}.json")}}),
        },
        "responses": {
            "200": {
                "description": "The cards.",
                **_content(
                    "Cards",
                    {
                        name: {"summary": "The answer to the example", "value": _fixture(f"responses/plain/{name}.json")},
                        _SILENT: {"summary": "Nothing to say", "value": _fixture(f"responses/plain/{_SILENT}.json")},
                    },
                ),
            },
            **_refused(400, 401, 405, 412, 413, 415, 503),
        },
    }


def _fixture(name: str) -> Any:
    return msgspec.json.decode(Path(fixtures_dir() / name).read_bytes())


def _refused(*statuses: int) -> Json:
    return {
        str(status): (
            {"description": _REFUSALS[status]}
            if status == HTTPStatus.UNAUTHORIZED
            else _json(_REFUSALS[status], "OperationOutcome")
        )
        for status in statuses
    }


def _json(description: str, model: str) -> Json:
    return {"description": description, **_content(model, {})}


def _content(model: str, examples: Json) -> Json:
    body: Json = {"schema": {"$ref": f"{_REF}{model}"}, **({"examples": examples} if examples else {})}
    return {"content": {"application/json": body}}
