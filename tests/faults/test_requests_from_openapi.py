"""Requests that Schemathesis makes from the OpenAPI document, right ones and wrong ones: none is answered with a server error.

2,000 cases in CI; `CDS_API_CASES=100000` makes more of them. Run with -s to see how they were answered.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from cds_service.app import create_app
from cds_service.respond import respond
from tests.core import a_runtime
from tests.http_side import running

CASES = int(os.environ.get("CDS_API_CASES", "2000"))
SHARES = {
    "call": 0.28,
    "feedback": 0.16,
    "other": 0.01,
}  # of CASES: there are three calls, and little can be varied in the others
OPERATIONS = [
    ("POST", "/cds-services/cramp-care-patient-view", "call"),
    ("POST", "/cds-services/cramp-care-order-select", "call"),
    ("POST", "/cds-services/cramp-care-order-sign", "call"),
    ("POST", "/cds-services/{id}/feedback", "feedback"),
    ("GET", "/cds-services", "other"),
    ("GET", "/health", "other"),
]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


Send = Callable[..., httpx2.Response]


@pytest.fixture(scope="module")
def send(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Send]:
    """Sends a request to one application that lives as long as this module."""
    # A call that lacks data is answered with a card that says so: with 412, the default, hardly any call would be evaluated.
    runtime = a_runtime(tmp_path_factory.mktemp("log"), on_unavailable="card")
    app = running(create_app(runtime.settings, runtime=runtime, respond=respond))
    with asyncio.Runner() as runner:
        client = runner.run(app.__aenter__())
        yield lambda *request, **options: runner.run(client.request(*request, **options))
        runner.run(app.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def schema(send: Send) -> Any:
    return schemathesis.openapi.from_dict(send("GET", "/openapi.json").json())


def answered(send: Send, case: Case[Any]) -> httpx2.Response:
    """The answer to a case, which is also held against what the document says of it."""
    options = case.as_transport_kwargs(base_url="http://cds.example")
    known = {name: options[name] for name in ("headers", "params", "json") if options.get(name) is not None}
    if (body := options.get("data")) is not None:
        known["content"] = body
    answer = send(options["method"], options["url"], **known)
    case.validate_response(answer, checks=CHECKS)
    return answer


@pytest.mark.parametrize(("method", "path", "kind"), OPERATIONS, ids=[f"{method} {path}" for method, path, _ in OPERATIONS])
def test_no_request_is_answered_with_a_server_error(send: Send, schema: Any, method: str, path: str, kind: str) -> None:
    statuses: Counter[int] = Counter()
    operation = schema[path][method]
    right, wrong = (operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))

    @settings(max_examples=int(CASES * SHARES[kind]), suppress_health_check=list(HealthCheck), database=None)
    @given(case=st.one_of(right, wrong))
    def run(case: Case[Any]) -> None:
        statuses[answered(send, case).status_code] += 1

    run()
    print(f"{method} {path}: {sum(statuses.values())} cases, {dict(sorted(statuses.items()))}")
    assert sum(statuses.values()) > 0
    assert max(statuses) < 500
