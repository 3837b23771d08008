"""Faults of a FHIR server that only a socket can have: each is a defined state of its key, with words, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cds_service.criteria.facts import Source, SourceState
from cds_service.gather import gather as gather_module
from cds_service.gather.fhir_client import FhirClient
from cds_service.gather.fhir_outcome import FhirError, Outcome
from cds_service.gather.gather import gather
from cds_service.outbound.base_urls import FhirBase
from cds_service.outbound.http_client import HttpClient
from cds_service.telemetry.metrics import FHIR_FETCHES
from cds_service.wire.hook_request import decode_request
from tests.http_side import call_body, encoded
from tests.outbound.test_http_client import SOCKET_FAULTS
from tests.sockets import Names, Talk, certificates, http, loopback, saying

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

TEMPLATES = {"labs": "Observation?patient={{context.patientId}}"}
BUNDLE = b'{"resourceType":"Bundle","type":"searchset","total":0}'


async def _slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def _slow_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in http(BUNDLE):
        writer.write(bytes([byte]))
        await asyncio.sleep(0.05)


async def _slow_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    answer = http(BUNDLE)
    writer.write(answer[:-20])
    await asyncio.sleep(30)


FAULTS: dict[str, tuple[Talk, Outcome]] = {
    **{name: (talk, Outcome(fault)) for name, (talk, fault) in SOCKET_FAULTS.items() if name != "body without end"},
    "slow": (_slow, Outcome.TIMEOUT),
    "slow head": (_slow_head, Outcome.TIMEOUT),
    "slow body": (_slow_body, Outcome.TIMEOUT),
    "length too short": (saying(http(BUNDLE).replace(b"content-length: 54", b"content-length: 50")), Outcome.NOT_JSON),
    "length too long": (saying(http(BUNDLE).replace(b"content-length: 54", b"content-length: 58")), Outcome.INCOMPLETE),
    "length that is none": (saying(http(BUNDLE).replace(b"content-length: 54", b"content-length: x")), Outcome.GARBLED),
    "empty": (saying(http(b"")), Outcome.EMPTY),
    "no content": (saying(b"HTTP/1.1 204 No Content\r\n\r\n"), Outcome.EMPTY),
    "not UTF-8": (saying(http(b'{"resourceType":"Bundle","id":"\xff"}')), Outcome.NOT_JSON),
    "redirect": (saying(http(b"", "location: /elsewhere", status="302 Found")), Outcome.REDIRECT),
}


SOON = 30.0  # seconds: what a machine may take that is busy with other things
RUNS_OUT = 0.45  # seconds, for a server that does not answer in any time


@pytest.fixture(autouse=True)
def _much_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather_module, "FHIR_SHARE_MS", SOON * 1000)


async def labs_from(http_client: HttpClient, base: str, seconds: float = SOON) -> Source:
    request = decode_request(encoded(call_body()), "patient-view")
    client = FhirClient(http_client, FhirBase(base, private=True), "T")
    async with asyncio.timeout(2 * SOON):
        return (await gather(request, TEMPLATES, client, seconds * 1000))["labs"].source


async def checked(ask: Callable[[], Awaitable[Source]], outcome: Outcome, status: int = 0) -> None:
    before = FHIR_FETCHES.labels(outcome)._value.get()
    source = await ask()
    assert (source.state, source.origin, source.note) == (SourceState.ERROR, "fhir", str(FhirError(outcome, status)))
    assert FHIR_FETCHES.labels(outcome)._value.get() - before == (2 if outcome is Outcome.RESET else 1)


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_a_state_of_its_key_with_words_and_counted(name: str) -> None:
    talk, outcome = FAULTS[name]
    if name == "too long by its own word":  # for FHIR that is more than for the test of the http_client
        talk = saying(b"HTTP/1.1 200 OK\r\ncontent-length: 5242881\r\n\r\n{")
    async with loopback(talk) as server:
        http_client = HttpClient()
        seconds = RUNS_OUT if outcome is Outcome.TIMEOUT else SOON
        await checked(lambda: labs_from(http_client, f"http://127.0.0.1:{server.port}/fhir", seconds), outcome, 302)
        await http_client.aclose()


async def test_a_name_without_address_and_a_server_without_listener_are_states() -> None:
    async with loopback(_slow) as server:
        port = server.port
    http_client = HttpClient(Names(ehr_example=[[]]))
    await checked(lambda: labs_from(http_client, "http://ehr.example/fhir"), Outcome.NOT_RESOLVED)
    await checked(lambda: labs_from(http_client, f"http://127.0.0.1:{port}/fhir"), Outcome.NOT_REACHED)


async def test_a_certificate_of_another_name_is_a_state(tmp_path: Path) -> None:
    serving, trusting = certificates(tmp_path, "ehr.example")
    async with loopback(saying(http(BUNDLE)), serving) as server:
        http_client = HttpClient(Names(ehr_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]]), trusting)
        await checked(lambda: labs_from(http_client, f"https://other.example:{server.port}/fhir"), Outcome.TLS)
        assert (await labs_from(http_client, f"https://ehr.example:{server.port}/fhir")).state is SourceState.EMPTY
        await http_client.aclose()


async def test_what_is_left_over_of_an_answer_is_not_taken_for_the_next_one() -> None:
    """A server that says too short a length over a connection that stays: the rest is no answer to another question."""
    smuggled = http(b'{"resourceType":"Bundle","type":"searchset","total":0,"id":"smuggled"}')
    async with loopback(saying(http(BUNDLE) + smuggled, close=False)) as server:
        http_client = HttpClient()
        first = await labs_from(http_client, f"http://127.0.0.1:{server.port}/fhir")
        second = await labs_from(http_client, f"http://127.0.0.1:{server.port}/fhir")
        await http_client.aclose()
    assert (first.state, second.note) == (SourceState.EMPTY, str(FhirError(Outcome.GARBLED)))


async def test_a_connection_that_the_server_closed_while_it_was_idle_costs_nothing() -> None:
    async with loopback(saying(http(BUNDLE))) as server:
        http_client = HttpClient()
        for _ in range(3):
            assert (await labs_from(http_client, f"http://127.0.0.1:{server.port}/fhir")).state is SourceState.EMPTY
        await http_client.aclose()


async def test_a_refusal_is_read_and_a_long_search_goes_by_form_over_one_connection() -> None:
    refusal = b'{"resourceType":"OperationOutcome","issue":[{"code":"not-supported","diagnostics":"_sort is not supported"}]}'
    forms: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = server.received[-1]
        if head.startswith(b"POST"):
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            forms.append(await reader.readexactly(length))
            answer = http(BUNDLE)
        elif b"_sort" in head:
            answer = http(refusal, status="400 Bad Request")
        else:
            answer = http(b"", status="414 URI Too Long") if b"long" in head else http(BUNDLE)
        writer.write(answer)
        await writer.drain()

    async with loopback(talk) as server:
        http_client = HttpClient()
        base = FhirBase(f"http://127.0.0.1:{server.port}/fhir", private=True)
        for query, quirks in (
            ("Condition?patient=1&_sort=-date", ["Condition without _sort"]),
            ("Observation?patient=1&code=long", ["Observation by POST _search"]),
        ):
            client = FhirClient(http_client, base, "T")
            with client.session(5):
                assert await client.search(query) == BUNDLE
                assert await client.search(query) == BUNDLE
            assert [str(quirk) for quirk in client.quirks] == quirks
        await http_client.aclose()
    heads = [head.split(b" HTTP")[0] for head in server.received]
    assert heads == [
        *(b"GET /fhir/Condition?patient=1&_sort=-date", b"GET /fhir/Condition?patient=1", b"GET /fhir/Condition?patient=1"),
        *(b"GET /fhir/Observation?patient=1&code=long", b"POST /fhir/Observation/_search", b"POST /fhir/Observation/_search"),
    ]
    assert forms == [b"patient=1&code=long"] * 2
    assert all(b"Authorization: Bearer T\r\n" in head for head in server.received)
    assert server.connections == 2, "only an answer whose body was left unread costs a connection"


@pytest.mark.parametrize("body", [b'{"x":"' + b"y" * 20_000 + b'"}', b"{", b"[" * 5000])
async def test_an_error_that_says_too_much_or_too_little_is_the_same_error(body: bytes) -> None:
    async with loopback(saying(http(body, status="400 Bad Request"))) as server:
        http_client = HttpClient()
        await checked(lambda: labs_from(http_client, f"http://127.0.0.1:{server.port}/fhir"), Outcome.REFUSED, 400)
        await http_client.aclose()
