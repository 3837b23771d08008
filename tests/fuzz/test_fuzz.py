"""Whatever is sent, the service answers with less than 500, and what was planted comes out nowhere.

`CDS_FUZZ=100000` for the long form, `CDS_SEED=7` for other mutations. A failure names the number of its request; the same seed
makes the same requests.
"""

from __future__ import annotations

import copy
import logging
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest

from cds_service.app import create_app
from cds_service.authoring.samples import load_samples
from cds_service.files.paths import fixtures_dir
from cds_service.telemetry.metrics import REGISTRY
from tests import proofs
from tests.core import NOW, Json, a_runtime
from tests.fuzz.drive import Answer, post
from tests.fuzz.mutate import CANARY, Mutator
from tests.http_side import TransportClient

REQUESTS = proofs.examples("CDS_FUZZ", 200, 2000)
SEED = int(os.environ.get("CDS_SEED", "1"))
BASE = "https://ehr.example/fhir"


class Lines(logging.Handler):
    """All that is logged, as text."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def planted(request: Json) -> Json:
    """`request` with a token, and with canaries in names, notes and ids; the ids of one patient stay those of one patient."""
    text = msgspec.json.encode(request).decode()
    patient = request["context"]["patientId"]
    ids = {patient: f"{CANARY}-patient"} | {
        one["id"]: f"{CANARY}-{number}" for number, one in enumerate(_resources(request)) if "id" in one and one["id"] != patient
    }
    for old, new in ids.items():
        text = text.replace(f'/{old}"', f'/{new}"').replace(f'"id":"{old}"', f'"id":"{new}"').replace(f':{old}"', f':{new}"')
    changed: Json = msgspec.json.decode(text.replace(f'"patientId":"{patient}"', f'"patientId":"{CANARY}-patient"'))
    for one in _resources(changed):
        one["note"] = [{"text": f"{CANARY} note", "authorString": f"{CANARY} author"}]
        if one["resourceType"] == "Patient":
            one["name"] = [{"family": f"{CANARY} family", "given": [f"{CANARY}"]}]
        for name in ("subject", "patient"):
            if name in one:
                one[name]["display"] = f"{CANARY} name"
    changed["context"] |= {"userId": f"Practitioner/{CANARY}-user", "encounterId": f"{CANARY}-encounter"}
    changed["fhirServer"] = BASE
    changed["fhirAuthorization"] = {"access_token": f"{CANARY}-token", "token_type": "Bearer", "patient": f"{CANARY}-patient"}
    return changed


def _resources(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        if "resourceType" in value and value["resourceType"] != "Bundle":
            yield value
        for inner in value.values():
            yield from _resources(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _resources(inner)


def ehr(chance: random.Random, sound: list[Json]) -> httpx2.MockTransport:
    """A FHIR server that answers anything."""
    mutator = Mutator(chance.randrange(2**32))

    def answer(_: httpx2.Request) -> httpx2.Response:
        status = chance.choice((200, 200, 200, 301, 401, 404, 429, 500))
        value = chance.choice(list(chance.choice(sound)["prefetch"].values()))
        body, _headers = mutator.request({"prefetch": {"x": value}})
        if chance.random() < 0.1:
            raise httpx2.ReadError(f"{CANARY}")
        return httpx2.Response(status, content=body if chance.random() < 0.3 else msgspec.json.encode(value))

    return httpx2.MockTransport(answer)


def check(answer: Answer, body: bytes) -> None:
    assert 200 <= answer.status < 500, answer.body
    if answer.status == 200:
        for card in msgspec.json.decode(answer.body)["cards"]:
            assert len(card["summary"]) < 140
    else:
        outcome = msgspec.json.decode(answer.body)
        assert (outcome["resourceType"], len(outcome["issue"])) == ("OperationOutcome", 1)
        assert CANARY.encode() not in answer.body


def application(folder: Path, transport: httpx2.MockTransport) -> FastAPI:
    runtime = msgspec.structs.replace(a_runtime(folder), http=TransportClient(transport))
    return create_app(runtime.settings, runtime=runtime)


def files_with_canary(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if CANARY.encode() in file.read_bytes()]


@pytest.mark.proof
async def test_no_mutated_request_breaks_the_service_or_brings_out_what_was_planted(tmp_path: Path, lines: Lines) -> None:
    chance = random.Random(SEED)
    sound = [planted(sample.request(NOW)) for sample in load_samples(fixtures_dir()).values()]
    app = application(tmp_path, ehr(chance, sound))
    mutator = Mutator(SEED)
    statuses: Counter[int] = Counter()
    async with app.router.lifespan_context(app):
        for number in range(REQUESTS):
            request = copy.deepcopy(chance.choice(sound))
            if number % 10:  # most without a FHIR server, which costs time
                del request["fhirServer"]
            path = f"/cds-services/cramp-care-{request['hook']}"
            body, headers = mutator.request(request)
            answer = await post(app, path, body, [(b"authorization", f"Bearer {CANARY}".encode()), *headers], 1 + number % 3)
            try:
                check(answer, body)
            except Exception as error:
                error.add_note(f"request {number} of seed {SEED}: {body[:2000]!r}")
                raise
            statuses[answer.status] += 1
    print(f"statuses: {dict(statuses)}")
    assert statuses[200] > REQUESTS / 5
    assert statuses[400] > REQUESTS / 20
    outputs = "\n".join(lines.texts) + generate_latest(REGISTRY).decode()
    assert CANARY not in outputs
    assert files_with_canary(tmp_path) == []


FIELDS = st.sampled_from(["resourceType", "entry", "resource", "code", "coding", "id", "subject", "text"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["Bundle", "Observation"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(FIELDS, inner) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=25,
)
TOP = st.sampled_from(["hook", "hookInstance", "context", "fhirAuthorization", "prefetch"])


@pytest.fixture
async def app(tmp_path: Path) -> Any:
    made = application(tmp_path, ehr(random.Random(SEED), [{"prefetch": {"x": None}}]))
    async with made.router.lifespan_context(made):
        yield made


@pytest.mark.proof
@settings(max_examples=max(20, REQUESTS // 20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    hook=st.sampled_from(["patient-view", "order-select", "order-sign"]),
    top=st.dictionaries(
        st.sampled_from(["hook", "hookInstance", "context", "fhirAuthorization", "prefetch"]), ANYTHING, max_size=2
    ),
    context=st.dictionaries(st.sampled_from(["patientId", "userId", "selections", "draftOrders"]), ANYTHING, max_size=2),
    prefetch=st.dictionaries(st.sampled_from(["patient", "labs", "statements", "problems", "allergies"]), ANYTHING),
)
async def test_any_json_in_any_place_is_answered(app: FastAPI, hook: str, top: Json, context: Json, prefetch: Json) -> None:
    orders = {"resourceType": "Bundle", "entry": []}
    said = {"patientId": "p", "selections": ["MedicationRequest/1"], "draftOrders": orders} | context
    request = {"hook": hook, "hookInstance": "i", "context": said, "prefetch": prefetch} | top
    body = msgspec.json.encode(request)
    check(await post(app, f"/cds-services/cramp-care-{hook}", body), body)


@pytest.mark.proof
@settings(max_examples=max(20, REQUESTS // 20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=ANYTHING, raw=st.none() | st.binary(max_size=200))
async def test_any_feedback_is_answered(app: FastAPI, items: Any, raw: bytes | None) -> None:
    body = msgspec.json.encode({"feedback": items}) if raw is None else raw
    answer = await post(app, "/cds-services/cramp-care-order-sign/feedback", body)
    assert answer.status in {200, 400}
