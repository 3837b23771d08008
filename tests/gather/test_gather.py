from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h11
import httpcore2
import httpx
import pytest
import respx

from cds_service.criteria.facts import Source, SourceState
from cds_service.fhir.gathered import Gathered
from cds_service.gather.fhir_client import MAX_RESPONSE_BYTES, FhirClient
from cds_service.gather.fhir_outcome import FhirError, Outcome
from cds_service.gather.fhir_requests import MAX_PAGES
from cds_service.gather.gather import AbandonedError, gather, require, resolve
from cds_service.outbound.base_urls import FhirBase
from cds_service.outbound.checked_network import Fault, RequestError
from cds_service.outbound.circuit_breaker import FAILURES, PAUSE_SECONDS
from cds_service.outbound.http_client import HttpClient
from cds_service.telemetry.metrics import FHIR_FETCHES
from cds_service.wire.errors import PreconditionFailed
from cds_service.wire.hook_request import Context, decode_request
from tests.http_side import call_body, encoded

BASE = "https://ehr.example/fhir/tenant"
TEMPLATES = {
    "patient": "Patient/{{context.patientId}}",
    "labs": "Observation?patient={{context.patientId}}&code=http://loinc.org|2823-3",
    "problems": "Condition?patient={{context.patientId}}",
}
TOKEN = "T0KEN"
PATIENT = {"resourceType": "Patient", "id": "123"}
PRESENT, EMPTY, PARTIAL, ERROR, ABSENT = SourceState

Handler = Callable[[httpx.Request], Any]


def lab(number: int) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": f"o{number}", "status": "final"}


def bundle(*resources: dict[str, Any], next_url: str | None = None) -> dict[str, Any]:
    links = [{"relation": "next", "url": next_url}] if next_url is not None else []
    entries = [{"resource": resource} for resource in resources]
    return {"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries}


class Server:
    """A FHIR server made of answers: the first path (with query) that a rule is part of decides. Remembers what it was asked."""

    def __init__(self, rules: dict[str, Any] | None = None) -> None:
        self.rules = rules or {}
        self.requests: list[httpx.Request] = []
        self.running = 0
        self.busy = asyncio.Event()  # set once as many requests run as there are keys

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        default = PATIENT if "/Patient/" in request.url.path else bundle()
        answer = next((answer for rule, answer in self.rules.items() if rule in str(request.url)), default)
        self.running += 1
        if self.running == len(TEMPLATES):
            self.busy.set()
        try:
            if answer == "never":
                await asyncio.Event().wait()
        finally:
            self.running -= 1
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    @property
    def urls(self) -> list[str]:
        return [str(request.url) for request in self.requests]


@contextmanager
def answered_by(server: Handler) -> Iterator[Callable[[str | None], FhirClient]]:
    """Makes clients (of a token) of the FHIR server at BASE, for which `server` answers. They share what is known of it."""
    with respx.mock(assert_all_called=False) as router:
        router.route().mock(side_effect=server)
        http_client = HttpClient()
        yield lambda token: FhirClient(http_client, FhirBase(BASE), token)


async def gathered_from(
    server: Server | None, prefetch: dict[str, Any] | None = None, deadline_ms: int = 2000, token: str | None = TOKEN
) -> dict[str, Gathered]:
    request = decode_request(encoded(call_body(prefetch=prefetch)), "patient-view")
    if server is None:
        return await gather(request, TEMPLATES, None, deadline_ms)
    with answered_by(server) as ehr:
        result = await gather(request, TEMPLATES, ehr(token), deadline_ms)
    assert server.running == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return result


def states(result: dict[str, Gathered]) -> dict[str, tuple[SourceState, str]]:
    return {key: (value.source.state, value.source.origin) for key, value in result.items()}


async def test_the_five_states_of_a_prefetched_key_are_five_different_things() -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}
    sent: dict[str, tuple[Any, SourceState]] = {
        "present": (bundle(lab(1)), PRESENT),
        "null": (None, EMPTY),
        "empty": (bundle(), EMPTY),
        "error": (outcome, ERROR),
        "partial": (bundle(lab(1), next_url=f"{BASE}?page=2"), PARTIAL),
    }
    for value, state in sent.values():
        result = await gathered_from(None, {"labs": value})
        assert states(result)["labs"] == (state, "prefetch")
        assert states(result)["patient"] == (ABSENT, "none")


async def test_keys_that_nobody_asked_for_are_left_alone() -> None:
    assert set(await gathered_from(None, {"coverage": bundle(), "item1": 5})) == set(TEMPLATES)


@pytest.mark.parametrize("value", ["123", 5, ["x"], {"resource": 7}, {"resourceType": "Bundle", "entry": "?"}, {"entry": 5}])
async def test_a_broken_key_is_an_error_or_partial_and_harms_no_other(value: Any) -> None:
    result = await gathered_from(None, {"labs": value, "patient": PATIENT, "problems": None})
    assert result["labs"].source.state in (ERROR, PARTIAL)
    assert (states(result)["patient"], states(result)["problems"]) == ((PRESENT, "prefetch"), (EMPTY, "prefetch"))


async def test_a_byte_order_mark_before_the_json_of_a_fhir_server_is_skipped() -> None:
    marked = httpx.Response(200, content=b"\xef\xbb\xbf" + encoded(bundle(lab(1))))
    result = await gathered_from(Server({"Observation": marked}), {"patient": PATIENT, "problems": None})
    assert (result["labs"].source.state, [one.id for one in result["labs"].resources]) == (PRESENT, ["o1"])


async def test_one_bad_entry_costs_only_itself() -> None:
    bad = {"resourceType": "Observation", "id": "o2", "status": {"not": "a code"}}
    labs = (await gathered_from(None, {"labs": bundle(lab(1), bad)}))["labs"]
    assert (labs.source.state, [resource.id for resource in labs.resources], len(labs.quarantined)) == (PARTIAL, ["o1"], 1)


async def test_nothing_is_asked_when_everything_was_sent() -> None:
    server = Server()
    result = await gathered_from(server, {"patient": PATIENT, "labs": bundle(lab(1)), "problems": None})
    assert server.requests == []
    assert states(result) == {"patient": (PRESENT, "prefetch"), "labs": (PRESENT, "prefetch"), "problems": (EMPTY, "prefetch")}


async def test_absent_keys_are_asked_for_with_the_token() -> None:
    server = Server({"Observation": bundle(lab(1), lab(2))})
    result = await gathered_from(server, {"problems": None})
    assert states(result) == {"patient": (PRESENT, "fhir"), "labs": (PRESENT, "fhir"), "problems": (EMPTY, "prefetch")}
    assert [resource.id for resource in result["labs"].resources] == ["o1", "o2"]
    assert sorted(server.urls) == [f"{BASE}/Observation?patient=123&code=http://loinc.org%7C2823-3", f"{BASE}/Patient/123"]
    for request in server.requests:
        assert (request.method, request.headers["authorization"]) == ("GET", "Bearer T0KEN")
        assert (request.headers["accept"], request.headers["accept-encoding"]) == ("application/fhir+json", "identity")


async def test_without_a_token_the_server_is_asked_without_one() -> None:
    server = Server()
    await gathered_from(server, token=None)
    assert [request.headers.get("authorization") for request in server.requests] == [None] * 3


async def test_absent_keys_are_asked_for_at_the_same_time() -> None:
    together = asyncio.Barrier(len(TEMPLATES))

    async def answer(_: httpx.Request) -> httpx.Response:
        await together.wait()
        return httpx.Response(200, json=PATIENT)

    request = decode_request(encoded(call_body()), "patient-view")
    with answered_by(answer) as ehr:
        result = await gather(request, TEMPLATES, ehr(None), 2000)
    assert states(result)["patient"] == (PRESENT, "fhir")


class Broken(httpx.AsyncByteStream):
    """The body of an answer that breaks off after its first bytes."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'{"resourceType":'
        raise httpcore2.ReadError("SECRET")


HTML = b"<!DOCTYPE html><p>SECRET"
OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "fatal"}]}
# What the server does, what that counts as, and the words for it. What only a socket can do is in test_fhir_sockets.py.
FAULTS: dict[str, tuple[Any, Outcome, str]] = {
    "name without address": (RequestError(Fault.NOT_RESOLVED), Outcome.NOT_RESOLVED, "the FHIR server could not be found"),
    "not public": (RequestError(Fault.NOT_PUBLIC), Outcome.NOT_PUBLIC, "the FHIR server is at an address that may not be asked"),
    "connection refused": (httpcore2.ConnectError("SECRET"), Outcome.NOT_REACHED, "the FHIR server could not be reached"),
    "reset": (httpcore2.ReadError("SECRET"), Outcome.RESET, "the FHIR server broke off the connection"),
    "garbage": (
        httpcore2.RemoteProtocolError(h11.RemoteProtocolError("SECRET")),
        Outcome.GARBLED,
        "the FHIR server's answer could not be understood",
    ),
    "half a body": (httpx.Response(200, stream=Broken()), Outcome.INCOMPLETE, "the FHIR server's answer broke off"),
    "no content": (httpx.Response(204), Outcome.EMPTY, "the FHIR server's answer is empty"),
    "nothing": (httpx.Response(200), Outcome.EMPTY, "the FHIR server's answer is empty"),
    "a space": (httpx.Response(200, content=b" \n"), Outcome.EMPTY, "the FHIR server's answer is empty"),
    "a part": (httpx.Response(206, json=bundle()), Outcome.REFUSED, "the FHIR server answered with status 206"),
    "redirect": (
        httpx.Response(302, headers={"location": f"{BASE}/other"}),
        Outcome.REDIRECT,
        "the FHIR server pointed to another address, which is not followed (status 302)",
    ),
    "bad request": (httpx.Response(400, json=OUTCOME), Outcome.REFUSED, "the FHIR server answered with status 400"),
    "no access": (
        httpx.Response(401, text="SECRET"),
        Outcome.UNAUTHORIZED,
        "the FHIR server did not accept the access that this call was given (status 401)",
    ),
    "not allowed": (
        httpx.Response(403, text="SECRET"),
        Outcome.FORBIDDEN,
        "the FHIR server does not let this service read it (status 403)",
    ),
    "not found": (httpx.Response(404, json=OUTCOME), Outcome.NOT_FOUND, "the FHIR server does not have it (status 404)"),
    "gone": (httpx.Response(410), Outcome.GONE, "the FHIR server does not have it any more (status 410)"),
    "too often": (
        httpx.Response(429, headers={"retry-after": "120"}),
        Outcome.TOO_MANY,
        "the FHIR server was asked too often (status 429)",
    ),
    "too often, until nobody knows": (
        httpx.Response(429, headers=[(b"retry-after", b"\xb2")]),
        Outcome.TOO_MANY,
        "the FHIR server was asked too often (status 429)",
    ),
    "broken": (httpx.Response(500, html="SECRET"), Outcome.FAILED, "the FHIR server failed (status 500)"),
    "broken gateway": (httpx.Response(502, html="SECRET"), Outcome.FAILED, "the FHIR server failed (status 502)"),
    "down": (httpx.Response(503), Outcome.UNAVAILABLE, "the FHIR server is not available at the moment (status 503)"),
    "HTML": (httpx.Response(200, html="<p>SECRET"), Outcome.WEB_PAGE, "the FHIR server sent a web page in place of data"),
    "unnamed HTML": (httpx.Response(200, content=HTML), Outcome.WEB_PAGE, "the FHIR server sent a web page in place of data"),
    "XML": (httpx.Response(200, content=b"<Bundle/>"), Outcome.NOT_JSON, "the FHIR server's answer is not FHIR JSON"),
    "not UTF-8": (
        httpx.Response(200, content=b'{"resourceType":"\xff"}'),
        Outcome.NOT_JSON,
        "the FHIR server's answer is not FHIR JSON",
    ),
    "deep": (
        httpx.Response(200, content=b'{"x":' + b"[" * 100_000),
        Outcome.NOT_JSON,
        "the FHIR server's answer is not FHIR JSON",
    ),
    "cut": (httpx.Response(200, content=b'{"resourceType":'), Outcome.NOT_JSON, "the FHIR server's answer is not FHIR JSON"),
    "endless": (
        httpx.Response(200, content=b" " * (MAX_RESPONSE_BYTES + 1)),
        Outcome.TOO_LONG,
        "the FHIR server's answer is too long",
    ),
    "compressed": (
        httpx.Response(200, stream=Broken(), headers={"content-encoding": "gzip"}),
        Outcome.ENCODED,
        "the FHIR server's answer is compressed, which was not asked for",
    ),
    "TLS": (RequestError(Fault.TLS), Outcome.TLS, "no secure connection to the FHIR server was possible"),
    "outcome": (OUTCOME, Outcome.UNUSABLE, "the EHR reported an error"),
    "a list": ([], Outcome.UNUSABLE, "was sent as something that is not a FHIR resource"),
}


def counted(outcome: Outcome) -> float:
    return float(FHIR_FETCHES.labels(outcome)._value.get())


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("key", ["patient", "labs"])
async def test_a_fault_of_the_server_is_an_error_of_that_key_with_a_reason_in_words(fault: str, key: str) -> None:
    answer, outcome, note = FAULTS[fault]
    before = counted(outcome)
    server = Server({TEMPLATES[key].partition("{{")[0].rstrip("/"): answer})
    result = await gathered_from(server)
    assert result[key].source == Source(ERROR, "fhir", note)
    others = {name: state for name, (state, _) in states(result).items() if name != key}
    assert set(others.values()) <= {PRESENT, EMPTY}
    require({name: value.source for name, value in result.items()})  # a failed query is no reason for a 412
    tries = 2 if fault in ("reset", "down") else 1
    assert (len(server.requests), counted(outcome) - before) == (2 + tries, tries)


async def test_a_resource_of_another_type_is_an_error() -> None:
    condition = {"resourceType": "Condition", "id": "c1"}
    for rules, key, note in [
        ({"Patient": condition}, "patient", "no Patient was found where it was expected"),
        ({"Observation": bundle(condition)}, "labs", "no Observation was found where it was expected"),
    ]:
        assert (await gathered_from(Server(rules)))[key].source == Source(ERROR, "fhir", note)


def test_every_outcome_but_success_has_words_for_a_clinician() -> None:
    for outcome in set(Outcome) - {Outcome.OK, Outcome.UNUSABLE}:
        assert str(FhirError(outcome, 499)).startswith(("the ", "no "))


async def test_a_server_that_does_not_answer_costs_its_keys_and_no_more_than_the_deadline() -> None:
    started = time.monotonic()
    result = await gathered_from(Server({"Observation": "never"}), deadline_ms=200)
    assert time.monotonic() - started < 30  # the server never answers
    assert result["labs"].source == Source(ERROR, "fhir", "the FHIR server did not answer in time")
    assert states(result)["patient"] == (PRESENT, "fhir")


async def test_cancelling_a_call_cancels_its_queries() -> None:
    server = Server({"": "never"})
    task = asyncio.create_task(gathered_from(server))
    await server.busy.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.running == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_key_with_an_error_is_asked_for_once() -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}
    server = Server({"Observation": bundle(lab(1))})
    result = await gathered_from(server, {"labs": outcome, "patient": PATIENT, "problems": None})
    assert (states(result)["labs"], len(server.requests)) == ((PRESENT, "fhir"), 1)
    still = Server({"Observation": outcome})
    result = await gathered_from(still, {"labs": outcome, "patient": PATIENT, "problems": None})
    assert (states(result)["labs"], len(still.requests)) == ((ERROR, "fhir"), 1)


# Pages


def pages(count: int, base: str = BASE) -> dict[str, Any]:
    """Rules for `count` pages of labs, the first at Observation, with one lab on each."""
    rules = {f"page={n}": bundle(lab(n), next_url=f"{base}?page={n + 1}" if n < count else None) for n in range(2, count + 1)}
    return rules | {"Observation": bundle(lab(1), next_url=f"{base}?page=2" if count > 1 else None)}


@pytest.mark.parametrize("count", [1, 2, MAX_PAGES])
async def test_all_pages_are_read(count: int) -> None:
    labs = (await gathered_from(Server(pages(count))))["labs"]
    assert labs.source == Source(PRESENT, "fhir")
    assert [resource.id for resource in labs.resources] == [f"o{n}" for n in range(1, count + 1)]


async def test_after_five_pages_the_search_is_partial_and_says_so() -> None:
    server = Server(pages(MAX_PAGES + 1))
    labs = (await gathered_from(server))["labs"]
    assert labs.source == Source(PARTIAL, "fhir", "there are more pages than were read", more=True)
    assert len(labs.resources) == MAX_PAGES
    assert not any("page=6" in url for url in server.urls)


async def test_a_prefetched_bundle_is_continued_on_the_server() -> None:
    sent = {"labs": bundle(lab(1), next_url=f"{BASE}?page=2"), "patient": PATIENT, "problems": None}
    server = Server({"page=2": bundle(lab(2))})
    labs = (await gathered_from(server, sent))["labs"]
    assert labs.source == Source(PRESENT, "prefetch")
    assert [resource.id for resource in labs.resources] == ["o1", "o2"]
    assert server.requests[0].headers["authorization"] == "Bearer T0KEN"


@pytest.mark.parametrize("relative", ["Observation?page=2", "/fhir/tenant?page=2", "?page=2"])
async def test_a_relative_next_link_is_followed(relative: str) -> None:
    rules = {"page=2": bundle(lab(2)), "Observation": bundle(lab(1), next_url=relative)}
    assert len((await gathered_from(Server(rules)))["labs"].resources) == 2


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/fhir/tenant?page=2",
        "http://ehr.example/fhir/tenant?page=2",
        "https://ehr.example:444/fhir/tenant?page=2",
        "https://ehr.example/fhir/tenant2?page=2",
        "https://ehr.example/fhir?page=2",
        "https://ehr.example/fhir/tenant/../other?page=2",
        "https://ehr.example/fhir/tenant/%2e%2e/other?page=2",
        "https://ehr.example@evil.example/fhir/tenant?page=2",
        "https://user@ehr.example/fhir/tenant?page=2",
        "https://ehr.example.evil.example/fhir/tenant?page=2",
        "//evil.example/fhir/tenant?page=2",
        "https://[::1?page=2",
        "file:///etc/passwd?page=2",
        "http:\\\\evil.example/fhir?page=2",
    ],
)
async def test_a_next_link_to_another_place_is_not_followed_and_the_search_is_partial(elsewhere: str) -> None:
    server = Server({"page=2": bundle(lab(2)), "Observation": bundle(lab(1), next_url=elsewhere)})
    labs = (await gathered_from(server))["labs"]
    assert (labs.source.state, [resource.id for resource in labs.resources]) == (PARTIAL, ["o1"])
    assert {request.url.host for request in server.requests} == {"ehr.example"}
    assert not any("page=2" in url for url in server.urls)


@pytest.mark.parametrize("fault", FAULTS)
async def test_when_a_later_page_fails_the_earlier_ones_are_kept(fault: str) -> None:
    answer, _, note = FAULTS[fault]
    labs = (await gathered_from(Server({"page=2": answer, "Observation": bundle(lab(1), next_url=f"{BASE}?page=2")})))["labs"]
    assert (labs.source.state, [resource.id for resource in labs.resources]) == (PARTIAL, ["o1"])
    assert note in labs.source.note


@pytest.mark.parametrize("second", [f"{BASE}/Observation", "Observation?page=2"])
async def test_pages_that_go_round_in_a_circle_are_read_once(second: str) -> None:
    rules = {"page=2": bundle(lab(2), next_url=f"{BASE}/Observation"), "Observation": bundle(lab(1), next_url=second)}
    labs = (await gathered_from(Server(rules | {"code": rules["Observation"]}), {"patient": PATIENT, "problems": None}))["labs"]
    assert (labs.source.state, labs.source.more) == (PARTIAL, True)
    assert labs.source.note == "there are more pages than were read; the pages of the search go round in a circle"


# Templates


@pytest.mark.parametrize(
    ("template", "query"),
    [
        ("Patient/{{context.patientId}}", "Patient/1%2F%3F%26"),
        ("Condition?patient={{ context.patientId }}", "Condition?patient=1%2F%3F%26"),
        ("Encounter/{{context.encounterId}}", "Encounter/e1"),
        ("{{context.userId}}", "PractitionerRole/r%3F7"),
        ("PractitionerRole/{{userPractitionerRoleId}}", "PractitionerRole/r%3F7"),
        ("Practitioner/{{userPractitionerId}}", None),
        ("Patient/{{userPatientId}}", None),
        ("Patient/{{context.draftOrders}}", None),
        ("Observation?code=a|b", "Observation?code=a%7Cb"),
    ],
)
def test_a_template_is_filled_with_encoded_values_or_not_at_all(template: str, query: str | None) -> None:
    assert resolve(template, Context(userId="PractitionerRole/r?7", patientId="1/?&", encounterId="e1")) == query


async def test_a_key_whose_template_can_not_be_filled_stays_absent() -> None:
    request = decode_request(encoded(call_body()), "patient-view")
    server = Server()
    with answered_by(server) as ehr:
        result = await gather(request, {"labs": "Observation?encounter={{context.encounterId}}"}, ehr(None), 2000)
    assert (states(result)["labs"], server.requests) == ((ABSENT, "none"), [])


# What is required


async def test_keys_that_are_not_to_be_had_are_named() -> None:
    result = await gathered_from(None, {"patient": PATIENT})
    with pytest.raises(PreconditionFailed) as caught:
        require({key: value.source for key, value in result.items()})
    assert "`labs`, `problems`" in str(caught.value)
    assert "`patient`" not in str(caught.value)


def test_only_absence_is_a_reason_for_a_412() -> None:
    require({state.value: Source(state) for state in SourceState if state is not ABSENT})


# How long, how often and whether at all


async def test_there_is_one_more_try_where_most_of_the_time_is_left() -> None:
    late = 0.0

    async def answer(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(late)
        calls.append(request)
        return httpx.Response(503)

    request = decode_request(encoded(call_body(prefetch={"patient": PATIENT, "problems": None})), "patient-view")
    for late, tries in [(0.0, 2), (0.15, 1)]:  # noqa: B007 (read by the server)
        calls: list[httpx.Request] = []
        with answered_by(answer) as ehr:
            await gather(request, TEMPLATES, ehr(None), 150 + 300)
        assert len(calls) == tries


async def test_without_time_nothing_is_asked() -> None:
    server = Server()
    result = await gathered_from(server, deadline_ms=150)
    assert {value.source for value in result.values()} == {Source(ERROR, "fhir", "no time was left to ask the FHIR server")}
    assert server.requests == []


async def test_a_server_that_fails_is_left_alone_until_one_call_finds_it_well(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server({"": httpx.Response(500)})
    request = decode_request(encoded(call_body()), "patient-view")
    note = "the FHIR server failed shortly before and is not asked for some seconds"
    with answered_by(server) as ehr:

        async def notes() -> set[str]:
            server.requests.clear()
            return {value.source.note for value in (await gather(request, TEMPLATES, ehr(None), 2000)).values()}

        for _ in range(FAILURES):
            assert await notes() == {"the FHIR server failed (status 500)"}
        assert (await notes(), server.requests) == ({note}, [])
        now = time.monotonic()
        monkeypatch.setattr("cds_service.outbound.circuit_breaker.time.monotonic", lambda: now + PAUSE_SECONDS + 1)
        ehr(None)._http_client.server(BASE).breaker._clock = time.monotonic
        server.rules = {}
        assert (await notes(), len(server.requests)) == ({""}, len(TEMPLATES))


async def test_a_server_asks_to_be_left_alone() -> None:
    server = Server({"Observation": httpx.Response(429, headers={"retry-after": "2"})})
    request = decode_request(encoded(call_body()), "patient-view")
    with answered_by(server) as ehr:
        await gather(request, TEMPLATES, ehr(None), 2000)
        await gather(request, TEMPLATES, ehr(None), 2000)
    assert len(server.requests) == len(TEMPLATES)


async def test_one_server_is_asked_so_many_questions_at_once_and_no_more() -> None:
    most = running = 0

    async def answer(_: httpx.Request) -> httpx.Response:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return httpx.Response(200, json=PATIENT)

    request = decode_request(encoded(call_body()), "patient-view")
    with answered_by(answer) as ehr:
        await asyncio.gather(*(gather(request, TEMPLATES, ehr(None), 2000) for _ in range(20)))
    assert most == 24


async def test_a_question_that_never_got_its_turn_says_so() -> None:
    request = decode_request(encoded(call_body()), "patient-view")
    with answered_by(server := Server({"": "never"})) as ehr:
        first = [asyncio.create_task(gather(request, TEMPLATES, ehr(None), 60_000)) for _ in range(8)]
        while server.running < 8 * len(TEMPLATES):  # noqa: ASYNC110 - as many as may be asked at a time
            await asyncio.sleep(0)
        late = await gather(request, TEMPLATES, ehr(None), 250)
        early = await asyncio.gather(*first)
    assert {value.source.note for value in late.values()} == {"the FHIR server was too busy with other questions"}
    assert {value.source.note for one in early for value in one.values()} == {"the FHIR server did not answer in time"}


async def test_when_the_client_has_gone_nothing_is_asked_any_more_and_what_was_known_is_kept() -> None:
    server = Server({"Observation": "never"})
    request = decode_request(encoded(call_body()), "patient-view")

    async def gone() -> None:
        await asyncio.sleep(0.1)

    with answered_by(server) as ehr:
        with pytest.raises(AbandonedError) as caught:
            await gather(request, TEMPLATES, ehr(None), 60_000, gone)
        assert ehr(None)._http_client.server(BASE).breaker._failures == 0
    assert states(caught.value.gathered) == {"patient": (PRESENT, "fhir"), "labs": (ABSENT, "none"), "problems": (EMPTY, "fhir")}
    assert server.running == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_whether_the_client_has_gone_is_asked_only_while_the_server_is() -> None:
    def never() -> Any:
        raise AssertionError

    request = decode_request(encoded(call_body(prefetch={"patient": PATIENT, "labs": None, "problems": None})), "patient-view")
    with answered_by(Server()) as ehr:
        assert set(await gather(request, TEMPLATES, ehr(None), 2000, never)) == set(TEMPLATES)


# Who is asked


async def errors_of(address: str) -> set[tuple[SourceState, str]]:
    """State and note of all keys when the FHIR server is at `address`, over real connections."""
    request = decode_request(encoded(call_body()), "patient-view")
    http_client = HttpClient()
    result = await gather(request, TEMPLATES, FhirClient(http_client, FhirBase(address, private=True), None), 2000)
    await http_client.aclose()
    return {(value.source.state, value.source.note) for value in result.values()}


@pytest.mark.parametrize(
    ("address", "note"),
    [
        ("http://", "is on another server"),
        ("http://[::1", "can't be used"),
        ("http://ehr.example:99999", "is on another server"),
        ("http://ehr.example/a\nb", "can't be used"),
        ("http://user@ehr.example", "is on another server"),
    ],
)
async def test_an_address_that_can_not_be_used_is_an_error_and_not_a_crash(address: str, note: str) -> None:
    [(state, text)] = await errors_of(address)
    assert state is ERROR
    assert note in text


@pytest.mark.parametrize("token", ["tökén", "two words", "line\r\nx-evil: 1", "nul\0"])
async def test_a_token_that_can_not_be_sent_is_an_error_and_nothing_is_sent(token: str) -> None:
    server = Server()
    result = await gathered_from(server, token=token)
    assert {value.source for value in result.values()} == {
        Source(ERROR, "fhir", "the access that this call was given can't be used")
    }
    assert server.requests == []


async def test_addresses_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    await HttpClient().aclose()
    caplog.set_level(logging.DEBUG)
    await gathered_from(Server())
    assert "Patient/123" not in caplog.text


async def test_what_one_server_sets_is_not_sent_to_it_again() -> None:
    server = Server({"": httpx.Response(200, json=PATIENT, headers={"set-cookie": "session=1"})})
    request = decode_request(encoded(call_body()), "patient-view")
    with answered_by(server) as ehr:
        for _ in range(2):
            await gather(request, TEMPLATES, ehr(None), 2000)
    assert not any("cookie" in request.headers for request in server.requests)
