"""No name, note, id, token or address of a request is in anything that the service writes, whatever becomes of the request."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from cds_service.authoring.shorthand import request_from_case
from tests.canaries import canary, feedback_with_canaries, found, headers_with_canaries, with_canaries
from tests.core import NOW, Json
from tests.real_server import RealServer

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

GIVEN = {
    "patient-view": ["ICD10#R25.2 Cramp and spasm", "LOINC#2823-3 Potassium 2.4 mmol/L", "prescribed: quinine 300 mg"],
    "order-select": ["ICD10#R25.2 Cramp and spasm", "order: quinine 300 mg, for leg cramps"],
    "order-sign": ["LOINC#98979-8 eGFR 18 mL/min/{1.73_m2}", "order: baclofen 10 mg", "order: quinine 300 mg, for leg cramps"],
}
HOOKS = list(GIVEN)


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """(address, what was sent there) of an OpenTelemetry collector."""
    bodies: list[bytes] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name in the library)
            pass

    with HTTPServer(("127.0.0.1", 0), Taker) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", bodies
        server.shutdown()
        thread.join()


def calls(hook: str) -> Iterator[tuple[str, int, Any]]:
    """(what it is, status expected, body) of requests that end in every way there is."""

    def made(**changes: Any) -> Json:
        request = with_canaries(request_from_case(GIVEN[hook], hook, NOW))
        return request | {name: value for name, value in changes.items() if name != "user"}

    def by(user: str) -> Json:
        request = made()
        request["context"]["userId"] = f"Practitioner/{canary('user')}-{user}"
        return request

    yield "answered", 200, made()
    yield "no patient", 400, made(context={"patientId": [canary("patient")]})
    yield "another hook", 400, made(hook=canary("hook"))
    yield "no JSON", 400, f'{{"hook": "{canary("json")}'.encode()
    yield "nothing prefetched", 412, {name: value for name, value in made().items() if name not in ("prefetch", "fhirServer")}
    unreachable = made(prefetch={canary("key"): None})
    yield "no FHIR server there", 0, unreachable | {"fhirServer": f"http://127.0.0.1:1/{canary('server')}"}
    yield "too long", 413, made(extension={"long": canary("long") * 20_000})
    yield "a broken part", 500, by("breaks-gather")
    yield "a broken engine", 500, by("breaks-evaluate")
    wrong = made()
    if hook == "patient-view":
        wrong["prefetch"]["labs"]["entry"][0]["resource"]["subject"] = {"reference": f"Patient/{canary('other')}"}
    else:
        wrong["context"]["draftOrders"]["entry"][0]["resource"]["subject"] = {"reference": f"Patient/{canary('other')}"}
    yield "another patient", 200 if hook == "patient-view" else 400, wrong
    odd = made()
    odd["prefetch"]["problems"] = {"resourceType": "Bundle", "entry": [{"resource": canary("odd")}, canary("entry")]}
    yield "what can't be read", 200, odd


def test_no_canary_is_in_anything_that_the_service_writes(tmp_path: Path) -> None:
    outputs: dict[str, bytes] = {}
    with (
        collector() as (endpoint, exported),
        RealServer(tmp_path, "tests.faulty_server", otlp_endpoint=endpoint, max_body_bytes="100000") as server,
    ):
        seen: set[int] = set()
        for hook in HOOKS:
            path = f"/cds-services/cramp-care-{hook}"
            for what, expected, body in calls(hook):
                content = {"content": body} if isinstance(body, bytes) else {"json": body}
                answer = server.client.post(path, headers=headers_with_canaries(), params={"q": canary("query")}, **content)
                assert expected in (0, answer.status_code), f"{hook}, {what}: {answer.text}"
                seen.add(answer.status_code)
                if answer.status_code != 200:
                    outputs[f"error body of {hook}, {what}"] = answer.content
                else:  # a card about an order or a patient names them to the EHR; its texts don't
                    texts = [card["summary"] + card["detail"] for card in answer.json()["cards"]]
                    outputs[f"words of {hook}, {what}"] = "".join(texts).encode()
                    for card in answer.json()["cards"]:
                        told = feedback_with_canaries(card["uuid"])
                        assert server.client.post(f"{path}/feedback", json=told).status_code == 200
            refused = server.client.post(
                f"{path}/feedback", json=feedback_with_canaries(canary("card")) | {"feedback": canary("all")}
            )
            outputs[f"error body of feedback, {hook}"] = refused.content
        for method, path in (("POST", "/cds-services/"), ("GET", "/"), ("GET", "/health/"), ("DELETE", "/cds-services/")):
            missing = server.client.request(method, f"{path}{canary('path')}", params={canary("name"): canary("value")})
            seen.add(missing.status_code)
            outputs[f"{method} {path}"] = missing.content
        for path in (
            "/metrics",
            "/health",
            "/health/live",
            "/health/ready",
            "/health/checking",
            "/cds-services",
            "/openapi.json",
        ):
            outputs[path] = server.client.get(path).content
        alert_log = [path for path in tmp_path.iterdir() if path.name.startswith("alerts.sqlite3")]
        outputs |= {f"alert log: {path.name}": path.read_bytes() for path in alert_log}
    outputs |= {name: server.output(name).encode() for name in ("stdout", "stderr")}
    outputs["spans"] = b"".join(exported)

    assert found(outputs) == {}
    assert {200, 400, 404, 405, 412, 413, 500} <= seen
    assert b"cramp-care-order-sign" in outputs["spans"], "spans were collected"
    events = [line["event"] for line in server.events()]
    assert {"unexpected_error", "engine_failed", "security", "refused", "feedback", "started", "stopped"} <= set(events)
    assert any(output.startswith(b"SQLite format 3") for output in outputs.values()), "the alert log was looked at"


def fired(server: RealServer, outputs: dict[str, bytes]) -> None:
    """Fires requests in the playground, which shows a developer what he sent and got; nothing else may."""
    for hook in HOOKS:
        for what, _, body in calls(hook):
            text = body.decode() if isinstance(body, bytes) else json.dumps(body)
            form = {"what": "request", "request": text, "hook": hook}
            answer = server.client.post("/", data=form, headers=headers_with_canaries(), params={"q": canary("query")})
            if answer.status_code != 303:
                assert answer.status_code in (400, 413), f"{hook}, {what}: {answer.text}"
                continue
            run = answer.headers["location"]
            page = server.client.get(run)
            assert page.status_code == 200, f"{hook}, {what}"
            assert answer.headers["cache-control"] == page.headers["cache-control"] == "no-store"
            assert not found({f"where {hook}, {what} leads": run.encode()})
            response = server.client.get(f"{run}/response.json")
            if not response.content.startswith(b'{"cards"'):
                outputs[f"error body of {hook}, {what}, in the playground"] = response.content
            for uuid in dict.fromkeys(re.findall(r'name="card" value="([^"]+)"', page.text)):
                dismissal = {"card": uuid, "reason": canary("reason")}
                server.client.post(f"{run}/feedback", data=dismissal, headers=headers_with_canaries())
    outputs["a page of a run that is gone"] = server.client.get(f"/playground/calls/{canary('run')}").content


def test_no_canary_of_the_playground_is_in_anything_but_its_own_pages(tmp_path: Path) -> None:
    outputs: dict[str, bytes] = {}
    with RealServer(tmp_path, "tests.faulty_server", max_body_bytes="100000") as server:
        fired(server, outputs)
        outputs["home"] = server.client.get("/").content
        for path in (f"/fhir/{canary('kind')}", f"/fhir/Patient/{canary('patient')}", f"/fhir/Patient?{canary('name')}=1"):
            refused = server.client.get(path, headers=headers_with_canaries())
            outputs[f"error body of {path[:13]}"] = refused.content
            assert refused.status_code in (400, 404)
        form = {"patient": canary("patient"), canary("parameter"): canary("value")}
        outputs["error body of a search"] = server.client.post("/fhir/Observation/_search", data=form).content
        for path in ("/metrics", "/health", "/health/checking"):
            outputs[path] = server.client.get(path).content
        outputs |= {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name.startswith("alerts.sqlite3")}
    outputs |= {name: server.output(name).encode() for name in ("stdout", "stderr")}
    assert found(outputs) == {}
    assert sum(name.startswith("error body of order-sign") for name in outputs) >= 5
    assert {"unexpected_error", "engine_failed", "security", "refused"} <= {line["event"] for line in server.events()}


def test_canaries_are_where_they_should_be_and_are_found() -> None:
    """The test above can fail."""
    request = with_canaries(request_from_case(GIVEN["order-sign"], "order-sign", NOW), "https://ehr.example")
    for text in (request["fhirAuthorization"]["access_token"], request["context"]["patientId"], request["fhirServer"]):
        assert found({"output": f"a line with {text} in it".encode()})
    assert str(request).count("Kanarie") > 30
    assert found({"output": b"a line"}) == {}
