"""Golden responses: `fixtures/requests/*.json`, and what each kind of EHR receives for them, in `fixtures/responses/<dialect>/`.

`make golden` writes all of them anew; a test compares. They are made by the whole application, at a fixed clock, each request
with an empty log of its own, so that a reviewer sees in a diff exactly what an EHR would see.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec

from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.criteria.facts import SOURCES
from cds_service.files.paths import fixtures_dir
from cds_service.knowledge.dialects import PLAIN
from cds_service.respond import respond
from cds_service.runtime import Runtime
from cds_service.trust import Caller
from tests.core import NOW, PATIENTS, Json, a_runtime, knowledge
from tests.http_side import SameCaller, running

FORMAT = 2  # spaces of an indent
CRAMP = "ICD10#R25.2 Cramp and spasm"
# Cards about cramps that no patient of `tests.core` gets, because others have more to say about them.
MORE: dict[str, tuple[str, list[str]]] = {
    "new cramp": ("patient-view", ["LOINC#2823-3 Potassium 4.0 mmol/L", f"{CRAMP}, onset 2025-11-20"]),
    "pregnancy": ("patient-view", ["patient: female, 29 years", "LOINC#82810-3 Pregnancy status SNOMED#77386006", CRAMP]),
    "heat cramp": (
        "patient-view",
        ["patient: male, 24 years", 'ICD10#T67.2XXA "Heat cramp, initial encounter", onset 2025-11-30'],
    ),
    "culprits": ("patient-view", ["RXNORM#310798 hydrochlorothiazide 25 MG Oral Tablet", f"{CRAMP}, onset 2023-01-01"]),
    "restless legs": ("order-sign", ["ICD10#G25.81 Restless legs syndrome", "order: magnesium oxide 400 mg, for leg cramps"]),
}


class Golden(NamedTuple):
    """One request, and the status that it is answered with."""

    name: str
    request: Json
    status: int = 200


def requests() -> Iterator[Golden]:
    """Every card, each kind of suggestion, the notice, no card, and the ways in which a call is refused."""
    for name, (hook, given) in {**PATIENTS, **MORE}.items():
        yield Golden(name.replace(" ", "-"), request_from_case(given, hook, NOW))
    yield Golden("nothing-to-say", request_from_case([], "patient-view", NOW))
    yield Golden("labs-failed", request_from_case([CRAMP, "source labs: error"], "patient-view", NOW))
    yield Golden("labs-not-sent", request_from_case(["source labs: absent"], "patient-view", NOW), 412)
    absent = [f"source {name}: absent" for name in SOURCES]
    yield Golden("nothing-sent", request_from_case(absent, "order-sign", NOW), 412)
    signed = request_from_case(["order: quinine sulfate 324 mg"], "order-sign", NOW)
    yield Golden("no-draft-orders", {**signed, "context": _without(signed["context"], "draftOrders")})
    yield Golden("no-patient", {**signed, "context": _without(signed["context"], "patientId")}, 400)
    yield Golden("order-of-another-patient", {**signed, "context": {**signed["context"], "patientId": "patient-2"}}, 400)
    selected = request_from_case(["order: quinine sulfate 324 mg"], "order-select", NOW)
    yield Golden("no-selections", {**selected, "context": _without(selected["context"], "selections")}, 400)


def _without(data: Json, name: str) -> Json:
    return {key: value for key, value in data.items() if key != name}


def dialects_for(golden: Golden) -> list[str]:
    """The dialects in which a response is kept: those whose EHRs call at this hook; an error is the same in all."""
    if golden.status != 200:
        return [PLAIN]
    return [name for name, dialect in knowledge().dialects.items() if golden.request["hook"] in dialect.hooks]


async def response(golden: Golden, dialect: str) -> tuple[int, Json]:
    """(status, body) of a request as an EHR of this dialect sends it to the application."""
    with TemporaryDirectory() as folder:
        runtime = _called_by(Caller(client="golden", dialect=dialect), a_runtime(Path(folder)))
        service = next(one for one in knowledge().services if one.hook == golden.request["hook"])
        async with running(create_app(runtime.settings, runtime=runtime, respond=respond)) as client:
            answer = await client.post(f"/cds-services/{service.id}", json=golden.request)
    body: Json = answer.json()
    return answer.status_code, body


def _called_by(caller: Caller, runtime: Runtime) -> Runtime:
    return msgspec.structs.replace(runtime, callers=SameCaller(caller))


def canonical(data: Json) -> str:
    """Pretty JSON in the order of the members as sent; the random trace of an error is put to zeros."""
    text = msgspec.json.format(msgspec.json.encode(data), indent=FORMAT).decode() + "\n"
    return re.sub(r"\btrace [0-9a-f]{16}\b", f"trace {'0' * 16}", text)


def generated() -> dict[str, str]:
    """All golden files: path under fixtures/ → text."""
    return asyncio.run(_generated())


async def _generated() -> dict[str, str]:
    files: dict[str, str] = {}
    for golden in requests():
        files[f"requests/{golden.name}.json"] = canonical(golden.request)
        for dialect in dialects_for(golden):
            status, body = await response(golden, dialect)
            if status != golden.status:
                raise AssertionError(f"{golden.name}: status {status}, expected {golden.status}")
            files[f"responses/{dialect}/{golden.name}.json"] = canonical(body)
    return files


def kept() -> dict[str, str]:
    """The golden files as they are in the repository."""
    folder = fixtures_dir()
    paths = sorted([*folder.glob("requests/*.json"), *folder.glob("responses/*/*.json")])
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def main() -> int:
    """Writes all golden files anew."""
    files = generated()
    for name in kept().keys() - files.keys():  # and nothing else: recordings stand beside them
        (fixtures_dir() / name).unlink()
    for name, text in files.items():
        path = fixtures_dir() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"{len(files)} files in {fixtures_dir()}; look at their diff")
    return 0


if __name__ == "__main__":
    sys.exit(main())
