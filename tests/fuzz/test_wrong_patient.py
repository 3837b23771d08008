"""One reference of a sound request is swapped for another patient's: nothing of that resource decides, and it is always noticed.

`CDS_SWAPS=50000` for the long form, `CDS_SEED=7` for other swaps.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cds_service.app import create_app
from cds_service.criteria.facts import FOREIGN_NOTE, SourceState
from cds_service.evaluate import Evaluation
from cds_service.fhir.gathered import EXPECTED
from cds_service.telemetry.metrics import SECURITY_EVENTS, counts
from cds_service.wire.refusal import RequestRefusedError
from tests import proofs
from tests.alert_log_samples import rows
from tests.core import Json, a_runtime, all_requests, answer_to
from tests.fuzz.drive import post

SWAPS = proofs.examples("CDS_SWAPS", 300, 2000)
SEED = int(os.environ.get("CDS_SEED", "1"))
TOKENS = min(500, SWAPS // 4)
OTHER = "somebody-else"
SERVER = "https://ehr.example/fhir"
MARK = "Zarquon"  # every text of the resource that is swapped becomes this


def swappable(request: Json) -> list[tuple[str, Json]]:
    """(source, resource) of all resources that some reader looks at."""
    found: list[tuple[str, Json]] = []
    for key, value in request.get("prefetch", {}).items():
        entries = [value] if key == "patient" else (value or {}).get("entry") or []
        found += [
            (key, resource)
            for entry in entries
            if (resource := (entry or {}).get("resource", entry)) and resource.get("resourceType") in EXPECTED.get(key, ())
        ]
    orders = request["context"].get("draftOrders", {}).get("entry", [])
    return found + [("orders", entry["resource"]) for entry in orders if "subject" in entry.get("resource", {})]


def forms(chance: random.Random, patient: str) -> str:
    """A reference to another patient: another id, or the same id on another server."""
    base = chance.choice(("", "", f"{SERVER}/", "https://other.example/fhir/"))
    version = chance.choice(("", "", "/_history/3"))
    if base.startswith("https://other"):
        return f"{base}Patient/{chance.choice((patient, OTHER))}{version}"
    return chance.choice((f"{base}Patient/{OTHER}{version}", OTHER, f"/Patient/{OTHER}/", f"Patient/{patient}0"))


def swapped(chance: random.Random, resource: Json, patient: str) -> None:
    if resource["resourceType"] == "Patient":
        resource["id"] = OTHER
        return
    name = "patient" if "patient" in resource else "subject"
    resource[name] = {"reference": forms(chance, patient)}
    mark(resource)


def mark(value: Any) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in {"text", "display"} and isinstance(inner, str):
                value[name] = f"{inner} {MARK}"
            else:
                mark(inner)
    elif isinstance(value, list):
        for inner in value:
            mark(inner)


def evidence_from(answer: Evaluation) -> Iterator[str]:
    """The sources of all evidence of all decisions."""
    for decision in answer.decisions:
        for _, finding in decision.findings.own():
            for item in finding.evidence:
                yield getattr(item, "source", "") or ""


@pytest.fixture(scope="module")
def requests() -> list[tuple[str, bytes]]:
    found = []
    for name, request in all_requests():
        request["fhirServer"] = SERVER
        if swappable(request):
            found.append((name, msgspec.json.encode(request)))
    return found


@pytest.mark.proof
def test_a_swapped_reference_is_always_noticed_and_never_decides(requests: list[tuple[str, bytes]]) -> None:
    chance = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    for _ in range(SWAPS):
        name, body = chance.choice(requests)
        request = msgspec.json.decode(body)
        source, resource = chance.choice(swappable(request))
        swapped(chance, resource, request["context"]["patientId"])
        try:
            answer = answer_to(request)
        except RequestRefusedError as refused:
            if (source, refused.outcome) != ("orders", "wrong_patient"):
                raise
            outcomes["refused"] += 1
            continue
        noticed = answer.facts.sources[source]
        assert (noticed.state, noticed.note) == (SourceState.ERROR, FOREIGN_NOTE), (name, source, resource)
        assert MARK.encode() not in answer.body, name
        assert source not in set(evidence_from(answer)), name
        assert all(lab.source != source for one in answer.facts.labs.values() for lab in one.results), name
        outcomes[f"{source} not used"] += 1
    print(f"of {SWAPS} swaps: {dict(outcomes)}")
    assert outcomes["refused"] > SWAPS / 20
    assert len(outcomes) > 3


def test_the_same_requests_without_a_swap_are_not_noticed(requests: list[tuple[str, bytes]]) -> None:
    """What the test above relies on."""
    for name, body in random.Random(SEED).sample(requests, 100):
        notes = {source.note for source in answer_to(msgspec.json.decode(body)).facts.sources.values()}
        assert FOREIGN_NOTE not in notes, name


@pytest.mark.proof
async def test_a_token_for_another_patient_is_refused_however_it_names_that_patient(
    requests: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    runtime = a_runtime(tmp_path)
    app = create_app(runtime.settings, runtime=runtime)
    before = counts(SECURITY_EVENTS).get("wrong_patient_token", 0)
    async with app.router.lifespan_context(app):
        for number in range(TOKENS):
            request = msgspec.json.decode(chance.choice(requests)[1]) | {"hookInstance": f"token-{number}"}
            patient = forms(chance, request["context"]["patientId"])
            request["fhirAuthorization"] = {"access_token": "t", "token_type": "Bearer", "patient": patient}
            answer = await post(app, f"/cds-services/cramp-care-{request['hook']}", msgspec.json.encode(request))
            assert answer.status == 400, patient
            assert b"`fhirAuthorization.patient` is another patient" in answer.body
    assert counts(SECURITY_EVENTS)["wrong_patient_token"] == before + TOKENS
    assert rows(runtime.settings.log_path, "SELECT outcome, count(*) FROM call GROUP BY outcome") == [("wrong_patient", TOKENS)]
