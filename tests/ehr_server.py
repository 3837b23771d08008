"""A FHIR server in the process, with the quirks of an EHR: what it refuses, requires, lacks. It answers for one base URL."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote

import httpx2
import msgspec

from cds_service.evaluate import Engine, Evaluation, Sources, evaluate_request
from cds_service.gather.fhir_client import FhirClient
from cds_service.outbound.base_urls import FhirBase
from cds_service.outbound.http_client import HttpClient
from cds_service.trust import Caller
from cds_service.wire.hook_request import decode_request
from tests.core import NOW, knowledge, presenter
from tests.http_side import TransportClient

Json = dict[str, Any]
BASE = "https://ehr.example/fhir"


class EhrServer:
    """Holds `resources`; searches look at `_id` and the type only, because it holds one patient's data.

    `refuses`: parameters that are answered with 400; `requires`: (type, parameter) without which a search is; `lacks`: types that
    it does not have; `longest`: characters of an address, else 414; `ids`: what it makes of `_id=a,b`: a "list", "refuse" it, or
    take it for "one" id; `quiet`: errors without a word.
    """

    def __init__(self, *resources: Json, **quirks: Any) -> None:
        self.resources = list(resources)
        self.refuses: set[str] = set(quirks.pop("refuses", ()))
        self.requires: set[tuple[str, str]] = set(quirks.pop("requires", ()))
        self.lacks: set[str] = set(quirks.pop("lacks", ()))
        self.longest: int = quirks.pop("longest", 10_000)
        self.ids: str = quirks.pop("ids", "list")
        self.quiet: bool = quirks.pop("quiet", False)
        assert not quirks
        self.asked: list[str] = []  # "GET Observation?…", "POST Observation/_search?…", unquoted
        self.transport = httpx2.MockTransport(self.answer)

    def http_client(self) -> HttpClient:
        return TransportClient(self.transport)

    def questions(self, part: str) -> list[str]:
        """The questions that `part` stands in, which are forgotten with all others."""
        found, self.asked = [one for one in self.asked if part in one], []
        return found

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        assert str(request.url).startswith(f"{BASE}/"), "asked outside of the base"
        path, _, query = str(request.url).removeprefix(f"{BASE}/").partition("?")
        form = request.content.decode()
        self.asked.append(unquote(f"{request.method} {path}{'?' if query or form else ''}{query}{form}"))
        if len(str(request.url)) > self.longest:
            return httpx2.Response(414, text="URI Too Long")
        kind, _, key = path.removesuffix("/_search").partition("/")
        if kind in self.lacks:
            return self._error(404, "not-supported", f"Resource type {kind} is not supported")
        if key:
            found = [one for one in self.resources if (one["resourceType"], one["id"]) == (kind, unquote(key))]
            return httpx2.Response(200, json=found[0]) if found else self._error(404, "not-found", f"{kind} is not known")
        return self._search(kind, dict(parse_qsl(query or form)))

    def _search(self, kind: str, parameters: dict[str, str]) -> httpx2.Response:
        if refused := sorted(self.refuses & parameters.keys()):
            return self._error(400, "not-supported", f"The search parameter '{refused[0]}' is not supported")
        if missing := sorted(name for of, name in self.requires if of == kind and name not in parameters):
            return self._error(400, "required", f"A required element is missing: {missing[0]}")
        wanted = parameters.get("_id", "").split(",")
        if "_id" in parameters and len(wanted) > 1 and self.ids == "refuse":
            return self._error(400, "invalid", "_id takes one value")
        if self.ids == "one":
            wanted = [",".join(wanted)]
        found = [
            one for one in self.resources if one["resourceType"] == kind and ("_id" not in parameters or one["id"] in wanted)
        ]
        entries = [{"resource": one} for one in found]
        return httpx2.Response(200, json={"resourceType": "Bundle", "type": "searchset", "entry": entries})

    def _error(self, status: int, code: str, text: str) -> httpx2.Response:
        if self.quiet:
            return httpx2.Response(status)
        issue = {"severity": "error", "code": code, "diagnostics": text}
        return httpx2.Response(status, json={"resourceType": "OperationOutcome", "issue": [issue]})


def patient() -> Json:
    return {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1960-03-04"}


def call_of(hook: str = "patient-view", *drafts: Json, prefetch: Json | None = None, **context: Any) -> Json:
    """A service call about the patient that names the server and sends no more than `prefetch`."""
    about: Json = {"userId": "Practitioner/7", "patientId": "p1"} | context
    if drafts:
        about["draftOrders"] = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in drafts]}
    return {
        "hook": hook,
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "fhirServer": BASE,
        "fhirAuthorization": {"access_token": "T0KEN", "token_type": "Bearer"},
        "context": about,
        "prefetch": prefetch or {},
    }


class Asked(msgspec.Struct):
    """A call that was answered at NOW."""

    answer: Evaluation
    gathered: Sources
    quirks: dict[str, bool]  # that were used; True: learned now

    @property
    def cards(self) -> list[Json]:
        found: list[Json] = msgspec.json.decode(self.answer.body)["cards"]
        return found

    @property
    def topics(self) -> list[str]:
        return [card["source"]["topic"]["code"] for card in self.cards]

    def state(self, key: str) -> str:
        return str(self.gathered[key].source.state)


async def asked(http_client: HttpClient, call: Json, *, include: bool = False, deadline_ms: int = 2000) -> Asked:
    """The whole way of a call but for HTTP and the log, at NOW; `http_client` keeps what was learned of the server."""
    known = knowledge()
    request = decode_request(msgspec.json.encode(call), call["hook"], Caller("ehr", include=include))
    client = FhirClient(http_client, FhirBase(BASE), "T0KEN")
    engine = Engine(known, presenter(known))
    answer = await evaluate_request(request, engine, NOW, client=client, remaining_ms=deadline_ms)
    assert not any(decision.error for decision in answer.decisions)
    return Asked(answer, answer.sources, {str(quirk): learned for quirk, learned in client.quirks.items()})
