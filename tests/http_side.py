"""What the tests of the HTTP side share: an application with small services, a stub for the decisions, a temporary log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import msgspec
from fastapi import FastAPI

from cds_service.alert_log import AlertLog
from cds_service.app import create_app
from cds_service.evaluate import Evaluation
from cds_service.hooks.service_calls import Respond
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.services import ServiceDefinition
from cds_service.outbound.checked_network import Fault, RequestError
from cds_service.outbound.http_client import HttpClient, Response
from cds_service.present.cards import Presenter
from cds_service.runtime import Runtime
from cds_service.settings import Settings
from cds_service.trust import Caller
from cds_service.trust.caller import Callers, Endpoint, Headers
from cds_service.trust.callers import UnverifiedCallers, new_callers
from cds_service.wire.hook_request import HookRequest
from tests.core import NOW, Json, an_evaluation

REASONS = "urn:cramp-cds:override-reason"
SERVICES = tuple(
    ServiceDefinition(
        id=f"cramps-{hook}",
        hook=hook,
        title=f"Cramps at {hook}",
        description="A service for tests.",
        prefetch={"patient": "Patient/{{context.patientId}}"},
        usage_requirements="",
    )
    for hook in ("patient-view", "order-select", "order-sign")
)


class Stub:
    """Stands in for `respond`: remembers the calls, answers without cards, or raises `error`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[HookRequest] = []
        self.error = error

    async def __call__(self, call: HookRequest, *_: object) -> Evaluation:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        return an_evaluation()


class TransportClient(HttpClient):
    """Whatever address is asked, `transport` answers; no name is resolved."""

    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        super().__init__()
        self._client = httpx2.AsyncClient(transport=transport)

    async def get(self, url: httpx2.URL, headers: Sequence[tuple[bytes, bytes]], *, private: bool, limit: int) -> Response:
        try:
            answer = await self._client.get(url, headers=list(headers))
        except httpx2.ReadError:
            raise RequestError(Fault.RESET) from None
        return Response(answer.status_code, dict(answer.headers), answer.content)

    async def search(
        self, url: httpx2.URL, form: bytes, headers: Sequence[tuple[bytes, bytes]], *, private: bool, limit: int
    ) -> Response:
        sent = [*headers, (b"Content-Type", b"application/x-www-form-urlencoded")]
        answer = await self._client.post(url, content=form, headers=list(sent))
        return Response(answer.status_code, dict(answer.headers), answer.content)


class SameCaller(UnverifiedCallers):
    """Every request is of `caller`."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller

    async def identify(self, headers: Headers, endpoint: Endpoint) -> Caller:
        return self.caller


def new_test_app(folder: Path, respond: Respond, *, callers: Callers | None = None, **settings: Any) -> tuple[FastAPI, Runtime]:
    """`callers`: instead of those that the settings mean."""
    chosen = Settings(log_path=folder / "alerts.sqlite3", **{"checking_seconds": 0} | settings)
    runtime = Runtime(
        settings=chosen,
        callers=callers or new_callers(chosen, lambda: NOW),
        knowledge=cast(
            "Knowledge",
            SimpleNamespace(services=SERVICES, cards=(), hash="", overrides={}, labels=SimpleNamespace(override_system=REASONS)),
        ),
        presenter=cast("Presenter", None),  # the stub presents nothing
        alert_log=AlertLog(chosen.log_path),
        http=HttpClient(),
        hash_secret=bytes(32),
        clock=lambda: NOW,
    )
    return create_app(chosen, runtime=runtime, respond=respond), runtime


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of `app` between its start and its end."""
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://cds.example") as client,
    ):
        yield client


def call_body(hook: str = "patient-view", /, **changes: Any) -> dict[str, Any]:
    """A service call as JSON data; a change of None removes the field."""
    context: dict[str, Any] = {"userId": "Practitioner/7", "patientId": "123"}
    if hook != "patient-view":
        context["draftOrders"] = {"resourceType": "Bundle", "entry": []}
    if hook == "order-select":
        context["selections"] = ["MedicationRequest/1"]
    body = {"hook": hook, "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea", "context": context} | changes
    return {name: value for name, value in body.items() if value is not None}


def encoded(data: Any) -> bytes:
    return msgspec.json.encode(data)


async def got(runtime: Runtime, path: str) -> tuple[int, Json]:
    """(status, body) of this path of a process whose first self-check has run."""
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        await asyncio.sleep(0)  # the first check
        await asyncio.sleep(0)
        answer = await client.get(path)
        return answer.status_code, answer.json()
