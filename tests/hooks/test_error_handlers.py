"""Every error as an HTTP response: foreseen, of the framework, and unexpected."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from fastapi import FastAPI

from cds_service.wire.errors import CdsError
from tests.http_side import Stub, call_body, new_test_app, running

ORIGIN = {"origin": "http://sandbox.example"}


async def outcome_of(app: FastAPI, method: str, path: str, **request: object) -> tuple[int, str, str]:
    """(status, issue code, text) of an answer, after checking that it is an OperationOutcome that a browser may read."""
    async with running(app) as client:
        answer = await client.request(method, path, headers=ORIGIN, **request)  # type: ignore[arg-type]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    outcome = answer.json()
    assert outcome["resourceType"] == "OperationOutcome"
    [issue] = outcome["issue"]
    assert issue["severity"] == "error"
    assert re.fullmatch("trace [0-9a-f]{16}", issue["diagnostics"])
    return answer.status_code, issue["code"], issue["details"]["text"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/cds-services/nobody", 404, "not-found"),
        ("POST", "/cds-services/nobody/feedback", 404, "not-found"),
        ("POST", "/cds-services//nobody", 404, "not-found"),
        ("POST", "/cds-services/cramps-order-sign/", 404, "not-found"),
        ("GET", "/cds-services/cramps-order-sign/more", 404, "not-found"),
        ("GET", "/cds-services/cramps-order-sign", 405, "not-supported"),
        ("GET", "/cds-services/cramps-order-sign/feedback", 405, "not-supported"),
        ("POST", "/cds-services", 405, "not-supported"),
        ("DELETE", "/cds-services/", 405, "not-supported"),
    ],
)
async def test_what_is_not_there_is_an_operation_outcome(tmp_path: Path, method: str, path: str, status: int, code: str) -> None:
    app, _ = new_test_app(tmp_path, Stub())
    assert (await outcome_of(app, method, path, json=call_body("order-sign")))[:2] == (status, code)


@pytest.mark.parametrize(("method", "service"), [("POST", "nobody"), ("GET", "cramps-order-sign"), ("DELETE", "nobody")])
async def test_a_service_call_and_a_route_of_the_framework_answer_an_error_alike(
    tmp_path: Path, method: str, service: str
) -> None:
    app, _ = new_test_app(tmp_path, Stub())
    async with running(app) as client:
        call, feedback = [
            await client.request(method, f"/cds-services/{service}{tail}", headers=ORIGIN) for tail in ("", "/feedback")
        ]
    assert (call.status_code, call.headers.multi_items()) == (feedback.status_code, feedback.headers.multi_items())
    without_trace = [re.sub("trace [0-9a-f]{16}", "", answer.text) for answer in (call, feedback)]
    assert without_trace[0] == without_trace[1]


async def test_a_wrong_method_is_told_the_right_one(tmp_path: Path) -> None:
    app, _ = new_test_app(tmp_path, Stub())
    async with running(app) as client:
        assert (await client.get("/cds-services/cramps-order-sign")).headers["allow"] == "POST"
        assert (await client.post("/cds-services")).headers["allow"] == "GET"


async def test_a_path_elsewhere_is_answered_with_an_outcome_too(tmp_path: Path) -> None:
    app, _ = new_test_app(tmp_path, Stub())
    async with running(app) as client:
        answer = await client.get("/cds-servicesandmore")
    assert (answer.status_code, answer.json()["resourceType"]) == (404, "OperationOutcome")


async def test_a_parameter_that_the_framework_refuses_is_named_and_not_repeated(tmp_path: Path) -> None:
    app, _ = new_test_app(tmp_path, Stub())

    @app.get("/cds-services/example/page")
    async def page(number: int) -> int:
        return number

    assert await outcome_of(app, "GET", "/cds-services/example/page?number=SECRET") == (
        400,
        "invalid",
        "Missing or of the wrong type: query.number",
    )


async def test_an_unforeseen_exception_is_answered_counted_and_logged_without_its_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    app, _ = new_test_app(tmp_path, Stub(ValueError("SECRET of patient 123")))
    async with running(app) as client:
        answer = await client.post("/cds-services/cramps-patient-view", json=call_body(), headers=ORIGIN)
        health = (await client.get("/health")).json()
    assert answer.status_code == 500
    assert answer.headers["access-control-allow-origin"] == "*"
    [issue] = answer.json()["issue"]
    assert issue["code"] == "exception"
    assert health["unexpected_errors"] == 1
    assert "SECRET" not in answer.text
    assert "SECRET" not in caplog.text
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "ValueError" in line
    assert "http_side.py" in line, "the place is logged"
    assert issue["diagnostics"].removeprefix("trace ") in line


async def test_a_group_of_exceptions_is_logged_with_the_place_of_its_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise LookupError("SECRET")

    try:
        fail()
    except LookupError as error:
        group = ExceptionGroup("SECRET", [error])
    app, _ = new_test_app(tmp_path, Stub(group))
    status, _, _ = await outcome_of(app, "POST", "/cds-services/cramps-patient-view", json=call_body())
    assert status == 500
    assert re.search(
        r"unexpected_error error=ExceptionGroup place=test_error_handlers.py:\d+ fail < .* \(LookupError\)", caplog.text
    )
    assert "SECRET" not in caplog.text


async def test_an_error_of_the_service_is_answered_as_it_says(tmp_path: Path) -> None:
    app, _ = new_test_app(tmp_path, Stub(CdsError("Words for the integrator")))
    answer = await outcome_of(app, "POST", "/cds-services/cramps-patient-view", json=call_body())
    assert answer == (500, "exception", "Words for the integrator")
