"""Spans: one per call and one per phase, below the caller's, with nothing in them that was sent; none where none are wanted."""

from __future__ import annotations

import builtins
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.settings import Settings, SettingsError
from cds_service.telemetry.traces import Traces, open_traces
from tests.core import NOW, Json, a_runtime
from tests.http_side import running

SIGN = "cramp-care-order-sign"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def spans(tmp_path: Path, request: Json, service: str = SIGN, **headers: str) -> list[ReadableSpan]:
    """What is exported for one call, in the order in which the spans ended."""
    exporter = InMemorySpanExporter()
    runtime = msgspec.structs.replace(a_runtime(tmp_path), traces=Traces(exporter, at_once=True))
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        await client.post(f"/cds-services/{service}", json=request, headers=headers)
    return list(exporter.get_finished_spans())


def quinine(**changes: Any) -> Json:
    return request_from_case(["order: quinine 300 mg, for leg cramps"], "order-sign", NOW) | changes


async def test_a_call_has_a_span_and_one_for_each_phase_within_it(tmp_path: Path) -> None:
    *phases, call = await spans(tmp_path, quinine())
    assert [span.name for span in phases] == [
        "trust",
        "receive",
        "decode",
        "gather",
        "read",
        "judge",
        "draw",
        "shown_before",
        "choose",
        "log",
    ]
    assert call.attributes == {"cds.service": SIGN, "http.response.status_code": 200, "cds.cards": 1}
    assert call.parent is None
    assert all(span.parent is not None and span.parent.span_id == call.context.span_id for span in phases)
    times = [(span.start_time or 0, span.end_time or 0) for span in phases]
    assert all(start <= end for start, end in times)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(times))
    assert (call.start_time or 0) == times[0][0]
    assert times[-1][1] <= (call.end_time or 0)


async def test_the_callers_trace_is_continued(tmp_path: Path) -> None:
    call = (await spans(tmp_path, quinine(), traceparent=PARENT))[-1]
    assert f"{call.context.trace_id:x}".zfill(32) == PARENT.split("-")[1]
    assert call.parent is not None
    assert f"{call.parent.span_id:x}" == PARENT.split("-")[2]


@pytest.mark.parametrize("header", ["SECRET", "00-SECRET-b7ad6b7169203331-01", "00-" + "0" * 32 + "-b7ad6b7169203331-01", ""])
async def test_a_traceparent_that_is_none_begins_a_trace_of_our_own(tmp_path: Path, header: str) -> None:
    exported = await spans(tmp_path, quinine(), traceparent=header)
    assert exported[-1].parent is None
    assert "SECRET" not in "".join(span.to_json() for span in exported)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 200),
        ({"context": {"patientId": ["SECRET"]}}, 400),
        ({"prefetch": {}}, 412),
        ({"prefetch": {"SECRET": {"resourceType": "SECRET"}}, "fhirServer": "http://127.0.0.1:1/SECRET"}, None),
    ],
)
async def test_nothing_that_was_sent_is_in_a_span(tmp_path: Path, change: Json, status: int | None) -> None:
    request = quinine(hookInstance="SECRET", fhirAuthorization={"access_token": "SECRET"}) | change
    headers = {"authorization": "Bearer SECRET", "tracestate": "vendor=SECRET", "baggage": "SECRET=SECRET", "traceparent": PARENT}
    exported = await spans(tmp_path, request, **headers)
    assert "SECRET" not in "".join(span.to_json() for span in exported)
    assert status is None or (exported[-1].attributes or {})["http.response.status_code"] == status


async def test_a_failure_is_marked_and_its_message_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("SECRET")

    monkeypatch.setattr("cds_service.evaluate.gather", broken)
    exported = await spans(tmp_path, quinine())
    assert exported[-1].status.status_code is StatusCode.ERROR
    assert exported[-1].status.description is None
    assert "SECRET" not in "".join(span.to_json() for span in exported)


async def test_the_frameworks_own_telemetry_is_off_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would tell paths, query strings and messages of exceptions."""
    exporter = InMemorySpanExporter()
    traces = Traces(exporter, at_once=True)
    traces.start()
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: traces.provider)
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    runtime = a_runtime(tmp_path)
    app = create_app(runtime.settings, runtime=runtime)
    async with running(app) as client:
        await client.get("/health?SECRET=SECRET")
    assert exporter.get_finished_spans() == ()
    assert not app._native_telemetry.enabled()


def test_without_an_endpoint_the_sdk_is_not_even_imported(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from cds_service.runtime import new_runtime
from cds_service.settings import Settings
import cds_service.app
assert new_runtime(Settings(log_path=Path(sys.argv[1]) / "a.sqlite3")).traces is None
assert not [name for name in sys.modules if name.startswith("opentelemetry.sdk")]
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)


def test_without_the_extra_the_setting_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError, match=r"CDS_OTLP_ENDPOINT needs the extra `otel`: pip install 'cramp-cds\[otel\]'"):
        open_traces("https://collector.example/v1/traces")
    assert open_traces(Settings().otlp_endpoint) is None
