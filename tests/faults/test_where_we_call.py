"""Attacks on where this service calls, over real sockets: a victim listens beside the FHIR server and must never be sent a byte.

CDS_FETCHES sets how many questions are asked (10,000 in a long run), CDS_SSRF_URLS how many tricks are tried.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpcore2
import msgspec
import pytest

import cds_service
from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.criteria.facts import SourceState
from cds_service.fhir.gathered import Gathered
from cds_service.gather.fhir_client import FhirClient
from cds_service.gather.fhir_outcome import FhirError
from cds_service.gather.fhir_requests import MAX_PAGES
from cds_service.gather.gather import gather
from cds_service.outbound.base_urls import FhirBase
from cds_service.outbound.http_client import HttpClient
from cds_service.trust import Caller
from cds_service.wire.hook_request import decode_request
from tests.alert_log_samples import rows
from tests.core import NOW, a_runtime
from tests.faults.ssrf import LOCAL_NAMES, urls
from tests.http_side import SameCaller, call_body, encoded, running
from tests.sockets import Loopback, http, loopback, saying

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

REPOSITORY = Path(cds_service.__file__).resolve().parent.parent
FETCHES = int(os.environ.get("CDS_FETCHES", "1000"))
SSRF_URLS = int(os.environ.get("CDS_SSRF_URLS", "3000"))
TEMPLATES = {"labs": "Observation?patient={{context.patientId}}"}
LAB = {"resourceType": "Observation", "id": "o1", "status": "final"}


async def resolved(host: str, port: int) -> Sequence[str]:
    """Names of the attacker's are 127.0.0.1, and numbers are what the C library takes them for; nothing asks a name server."""
    if host in LOCAL_NAMES or host == "ehr.example":
        return ["127.0.0.1"]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [str(address[0]) for _, _, _, _, address in found]


async def labs_of(client: FhirClient, patient: str = "1", deadline_ms: int = 3000) -> Gathered:
    request = decode_request(encoded(call_body(context={"userId": "Practitioner/1", "patientId": patient})), "patient-view")
    return (await gather(request, TEMPLATES, client, deadline_ms))["labs"]


async def test_tricks_with_urls_reach_nobody() -> None:
    async with loopback(saying(http(b"{}"))) as victim:
        tricks = random.Random(7).sample(list(urls(victim.port)), SSRF_URLS)
        registered = Caller(
            "a-hospital", fhir_bases=(FhirBase("https://ehr.example/fhir"), FhirBase("http://10.9.9.9/fhir", True))
        )
        anonymous = Caller("anonymous")
        way_out = HttpClient(resolved)
        good = FhirClient(way_out, FhirBase("http://ehr.example/fhir"), "T0KEN")
        refused = addresses = 0
        for trick in tricks:
            assert registered.base_of(trick) is None, trick
            addresses += anonymous.base_of(trick) is not None  # plain enough for the dev profile
            with suppress(FhirError):  # as the next link of a page: refused, or taken for a path under the base
                assert str(good.target(trick)).startswith("http://ehr.example/fhir/"), trick
            labs = await labs_of(FhirClient(way_out, FhirBase(trick), "T0KEN"))  # even where a site registers it as public
            refused += labs.source.state is SourceState.ERROR
        assert (refused, victim.connections, victim.received) == (len(tricks), 0, [])
        await labs_of(FhirClient(way_out, FhirBase(f"http://localhost:{victim.port}", private=True), "T0KEN"))
        assert victim.connections == 1, "the victim could not be reached at all"
        await way_out.aclose()
    print(f"{len(tricks)} URLs: {refused} refused, 0 connections; {addresses} of them are plain addresses")


async def test_a_name_that_changes_its_address_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[str] = []

    async def connect(_: object, host: str, *__: object, **___: object) -> httpcore2.AsyncNetworkStream:
        connected.append(host)
        raise httpcore2.ConnectError

    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", connect)
    answers = iter([["203.0.114.7"], ["127.0.0.1"], ["203.0.114.7", "10.0.0.1"], ["::ffff:127.0.0.1"], ["::1"]] * 100)

    async def flip_flop(_: str, __: int) -> Sequence[str]:
        return next(answers)

    way_out = HttpClient(flip_flop)
    for number in range(500):
        labs = await labs_of(FhirClient(way_out, FhirBase(f"https://ehr.example/{number}"), "T0KEN"))
        assert labs.source.state is SourceState.ERROR
    assert connected == ["203.0.114.7"] * 100


REDIRECTS = ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent", "300 Choices", "305 Use Proxy")


class OwnServer:
    """The FHIR server of the call, as wicked as can be: sends on to the victim in every way. Sees which token asked for whom."""

    server: Loopback  # that it talks for

    def __init__(self, victim: Loopback) -> None:
        self.victim = victim
        self.random = random.Random(11)
        self.pairs: set[tuple[str, str]] = set()
        self.questions = 0

    async def __call__(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = self.server.received.pop().decode()
        self.questions += 1
        patient, token = (head.partition(mark)[2].split()[0] for mark in ("patient=", "Bearer "))
        self.pairs.add((patient, token))
        writer.write(self.answer())
        await writer.drain()

    def answer(self) -> bytes:
        port = self.victim.port
        there = self.random.choice([f"http://127.0.0.1:{port}/fhir", f"//127.0.0.1:{port}/x", f"http://localhost:{port}"])
        match self.random.randrange(4):
            case 0:
                return http(b"", f"location: {there}", f"refresh: 0; url={there}", status=self.random.choice(REDIRECTS))
            case 1:
                return http(msgspec.json.encode(a_bundle(there)), f"link: <{there}>; rel=next", f"set-cookie: to={there}")
            case 2:
                return http(
                    msgspec.json.encode(a_bundle(f"http://127.0.0.1:{self.server.port}@127.0.0.1:{self.victim.port}/fhir"))
                )
            case _:
                return http(msgspec.json.encode(a_bundle()), f"content-location: {there}", f'alt-svc: h2=":{self.victim.port}"')


def a_bundle(next_url: Any = None) -> dict[str, Any]:
    links = [{"relation": "next", "url": next_url}] if next_url is not None else []
    return {"resourceType": "Bundle", "type": "searchset", "link": links, "entry": [{"resource": LAB}]}


async def test_tokens_go_to_the_server_that_they_are_for_and_to_no_other() -> None:
    async with loopback(saying(http(b"{}"))) as victim:
        own = OwnServer(victim)
        async with loopback(own) as server:
            own.server = server
            way_out = HttpClient(resolved)
            base = FhirBase(f"http://127.0.0.1:{server.port}/fhir", private=True)

            async def ask(numbers: range) -> None:
                for number in numbers:
                    await labs_of(FhirClient(way_out, base, f"T0KEN-{number}"), str(number))

            await asyncio.gather(*(ask(range(start, FETCHES, 8)) for start in range(8)))
            await way_out.aclose()
    print(f"{own.questions} questions, {server.connections} connections; to the victim: {victim.connections}")
    assert (victim.connections, victim.received) == (0, [])
    assert own.questions == FETCHES
    assert own.pairs == {(str(number), f"T0KEN-{number}") for number in range(FETCHES)}


def crafted(victim: int, own: int, count: int) -> list[dict[str, Any]]:
    """Bundles whose next page is elsewhere, or nowhere, or without end."""
    choose = random.Random(13)
    places = [url for url in urls(victim) if "://" in url]
    bundles = []
    for number in range(count):
        url: Any = choose.choice(places)
        link: Any = [
            [{"relation": "next", "url": url}],
            [{"relation": "self", "url": f"http://127.0.0.1:{own}/fhir/Observation"}, {"relation": "next", "url": url}],
            {"relation": "next", "url": url},
            [{"relation": "next", "url": f"http://127.0.0.1:{own}/fhir/Observation?page=1"}, {"relation": "next", "url": url}],
            [{"relation": "next", "url": f"http://127.0.0.1:{own}/fhir/../other?page=1"}],
            [{"relation": "next", "url": f"http://127.0.0.1:{own}/fhirs/Observation?page=1"}],
            [{"relation": "next", "url": [url]}],
            [{"relation": "next", "url": f"http://127.0.0.1:{own}/fhir/Observation?patient={number}"}],  # itself
            [{"relation": "next", "url": f"Observation?endless={number}"}],
            [{"relation": "next"}],
        ][number % 10]
        bundles.append({"resourceType": "Bundle", "type": "searchset", "link": link, "entry": [{"resource": LAB}]})
    return bundles


async def test_bundles_that_lead_elsewhere_are_read_so_far_and_marked_as_incomplete() -> None:
    count = 500
    bundles: list[bytes] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = server.received[-1].decode()
        name, value = head.partition("?")[2].split()[0].partition("&")[0].split("=")
        if name == "endless":
            value = str(int(value) + 1_000_000)
            writer.write(http(msgspec.json.encode(a_bundle(f"Observation?endless={value}"))))
        else:
            writer.write(http(bundles[int(value)]))
        await writer.drain()

    async with loopback(saying(http(b"{}"))) as victim, loopback(answer) as server:
        bundles = [msgspec.json.encode(bundle) for bundle in crafted(victim.port, server.port, count)]
        way_out = HttpClient(resolved)
        base = FhirBase(f"http://127.0.0.1:{server.port}/fhir", private=True)
        most = 0
        for number in range(count):
            before = len(server.received)
            labs = await labs_of(FhirClient(way_out, base, "T0KEN"), str(number))
            assert labs.source.state is SourceState.PARTIAL, bundles[number]
            assert labs.resources, bundles[number]
            most = max(most, len(server.received) - before)
        await way_out.aclose()
    print(f"{count} Bundles: all partial, at most {most} pages; to the victim: {victim.connections} connections")
    assert most == MAX_PAGES
    assert (victim.connections, victim.received) == (0, [])


@pytest.mark.parametrize("bomb", ["gzip", "length", "chunks", "close", "keys", "header", "continue"])
def test_an_answer_without_end_is_given_up_soon_and_costs_no_memory(bomb: str) -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.faults.bomb", bomb]
    output = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True, timeout=60, text=True).stdout
    outcome, milliseconds, grown_mb = output.split()
    print(f"{bomb}: {outcome} after {milliseconds} ms, memory grew by {grown_mb} MB at most")
    assert outcome in {"encoded", "too_long", "garbled", "timeout"}
    assert float(grown_mb) < 50
    assert float(milliseconds) < 30_000  # it ends; about 1 s on a machine that does nothing else


async def test_a_server_of_another_client_is_refused_every_time(tmp_path: Path) -> None:
    count = 500
    owned = [f"https://ehr-{number}.example/fhir/{number % 7}" for number in range(25)]
    choose = random.Random(17)
    changes: list[Callable[[str], str]] = [
        lambda url: choose.choice([other for other in owned if other != url]),
        lambda url: url + "/more",
        lambda url: url.rpartition("/")[0],
        lambda url: url.replace("https://", "http://"),
        lambda url: url.replace(".example", ".example:8443"),
        lambda url: url.replace(".example", ".example.evil.example"),
        lambda url: url.replace("https://", "https://evil.example@"),
        lambda url: url.replace("/fhir/", "/fhir%2F"),
        lambda url: url.replace("/fhir/", "/FHIR/"),
        lambda url: url + "0",
    ]
    path = "/cds-services/cramp-care-patient-view"
    request = request_from_case(["prescribed: quinine 300 mg"], "patient-view", NOW)
    for start in range(0, count, 20):
        own = owned[start // 20]
        runtime = msgspec.structs.replace(
            a_runtime(tmp_path), callers=SameCaller(Caller(f"client-{start}", fhir_bases=(FhirBase(own),)))
        )
        async with running(create_app(runtime.settings, runtime=runtime)) as client:
            for number in range(20):
                named = changes[number % len(changes)](own)
                answer = await client.post(path, json=request | {"fhirServer": named})
                assert answer.status_code == 400, named
            assert (await client.post(path, json=request | {"fhirServer": own})).status_code == 200
    logged = rows(tmp_path / "alerts.sqlite3", "SELECT outcome, count(*) FROM call WHERE status = 400 GROUP BY 1")
    print(f"{count} mismatches: {logged}")
    assert logged == [("foreign_server", count)]
