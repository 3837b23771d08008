"""Discovery of the services: contents, preconditions and ETag."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI

from tests.http_side import SERVICES, Stub, running


@pytest.mark.parametrize("path", ["/cds-services", "/cds-services/"])
async def test_discovery_lists_every_service_without_empty_members(app: FastAPI, path: str) -> None:
    async with running(app) as client:
        answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["services"][0] == {
        "hook": "patient-view",
        "title": "Cramps at patient-view",
        "description": "A service for tests.",
        "id": "cramps-patient-view",
        "prefetch": {"patient": "Patient/{{context.patientId}}"},
    }
    assert [service["id"] for service in answer.json()["services"]] == [service.id for service in SERVICES]


async def test_usage_requirements_are_announced(tmp_path: Path, stub: Stub) -> None:
    import msgspec

    from cds_service.hooks.discovery import describe

    services = [msgspec.structs.replace(service, usage_requirements="Send labs.") for service in SERVICES]
    described = msgspec.json.decode(describe(services).body)["services"]
    assert {service["usageRequirements"] for service in described} == {"Send labs."}
