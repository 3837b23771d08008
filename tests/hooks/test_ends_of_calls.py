"""What the log learns of a call after its record was made, and of requests that never became a call."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import httpx
import msgspec
import pytest
import respx

from cds_service.alert_log.reading import bodies_of, open_for_reading
from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.outbound.base_urls import FhirBase
from cds_service.runtime import Runtime
from cds_service.trust import Caller
from cds_service.trust.refusal import CallerRefusedError
from tests.alert_log_samples import rows
from tests.core import NOW, Json, a_runtime
from tests.http_side import SameCaller, running

PATH = "/cds-services/cramp-care-patient-view"
BASE = "https://ehr.example/fhir"


async def post(runtime: Runtime, *requests: Json | bytes) -> list[int]:
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        answers = [await client.post(PATH, content=one if isinstance(one, bytes) else json.dumps(one)) for one in requests]
    return [one.status_code for one in answers]


def of(*lines: str) -> Json:
    return request_from_case(lines, "patient-view", NOW)


async def test_each_recorded_call_has_its_delivery_once_the_log_is_closed(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path)
    absent = of("source labs: absent")

    assert await post(runtime, of("prescribed: quinine 300 mg"), absent) == [200, 412]

    path = runtime.settings.log_path
    calls = rows(path, "SELECT id, took_us FROM call ORDER BY seq")
    ends = rows(path, "SELECT call_id, log_us, total_us, delivered FROM delivery ORDER BY seq")
    assert [one[0] for one in ends] == [one[0] for one in calls]
    for (_, took_us), (_, log_us, total_us, delivered) in zip(calls, ends, strict=True):
        assert 0 < took_us <= total_us
        assert 0 < log_us <= total_us
        assert delivered == 1
    assert rows(path, "SELECT count(*) FROM refusal") == [0]


async def test_the_delivery_of_the_last_call_is_written_without_another_call(tmp_path: Path) -> None:
    import asyncio

    runtime = a_runtime(tmp_path)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        assert (await client.post(PATH, json=of())).status_code == 200
        async with asyncio.timeout(20):
            while rows(runtime.settings.log_path, "SELECT count(*) FROM delivery") != [1]:  # noqa: ASYNC110 (a thread writes it)
                await asyncio.sleep(0.05)


async def test_what_never_became_a_call_is_counted_by_its_minute_and_reason(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path, max_body_bytes=2000)

    assert await post(runtime, b"{", b"{", b'{"hook":"patient-view"}', b" " * 3000) == [400, 400, 400, 413]

    path = runtime.settings.log_path
    assert rows(path, "SELECT count(*) FROM call") == [0]
    counted = rows(path, "SELECT minute, client, hook, status, reason, n FROM refusal ORDER BY status, n DESC")
    minute = NOW.replace(second=0, microsecond=0).isoformat(timespec="microseconds")
    assert [(one[0], one[1], one[2], one[3], one[5]) for one in counted] == [
        (minute, "", "patient-view", 400, 2),
        (minute, "", "patient-view", 400, 1),
        (minute, "", "patient-view", 413, 1),
    ]
    assert all(one[4] for one in counted)


class Refusing(SameCaller):
    """Callers of whom none is known."""

    async def identify(self, *_: object) -> Caller:
        raise CallerRefusedError("signature")


async def test_a_caller_that_is_refused_is_counted_without_a_name(tmp_path: Path) -> None:
    runtime = msgspec.structs.replace(a_runtime(tmp_path), callers=Refusing(Caller("ehr")))

    assert await post(runtime, of(), of()) == [401, 401]

    assert rows(runtime.settings.log_path, "SELECT client, status, reason, n FROM refusal") == [("", 401, "signature", 2)]


@pytest.fixture
def asking(tmp_path: Path) -> Runtime:
    caller = Caller("ehr", fhir_bases=(FhirBase(BASE),), dialect="epic", clock_offset_ms=-1200)
    return msgspec.structs.replace(a_runtime(tmp_path), callers=SameCaller(caller))


@respx.mock
async def test_each_request_to_the_fhir_server_is_in_the_record_and_a_failure_marks_it(asking: Runtime) -> None:
    respx.get(url__startswith=f"{BASE}/Observation").mock(return_value=httpx.Response(404, json={"resourceType": "Patient"}))
    respx.get(url__startswith=f"{BASE}/Condition").mock(
        return_value=httpx.Response(200, json={"resourceType": "Bundle", "type": "searchset", "total": 0})
    )
    request = of("prescribed: quinine 300 mg", "source labs: absent", "source problems: absent")
    request |= {"fhirServer": BASE, "fhirAuthorization": {"access_token": "t", "token_type": "Bearer"}}

    assert await post(asking, request) == [200]

    path = asking.settings.log_path
    assert rows(path, "SELECT dialect, clock_offset_ms, degraded FROM call") == [("epic", -1200, "fhir_down")]
    with closing(open_for_reading(path)) as connection:
        body = bodies_of(connection)(1)
    assert body is not None
    queries = {one["key"]: one for one in body.sources["queries"]}
    assert (queries["labs"]["outcome"], queries["labs"]["status"]) == ("not_found", 404)
    assert (queries["problems"]["outcome"], queries["problems"]["status"]) == ("ok", 200)
    assert queries["problems"]["bytes"] > 20
    assert all(one["ms"] > 0 for one in queries.values())
