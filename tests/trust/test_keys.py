"""T4 and T5: where keys come from, how they are kept, and what a key server that fails can't do."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import h11
import httpcore2
import httpx
import pytest
import respx

from cds_service.outbound.http_client import HttpClient
from cds_service.telemetry.metrics import AUTH_REFUSED, KEY_FETCHES
from cds_service.trust.caller import Endpoint
from cds_service.trust.key_sets import read_key_set
from cds_service.trust.keys import MAX_BYTES, Fetched, FetchError, fetch_keys
from cds_service.trust.refusal import CallerRefusedError
from cds_service.trust.registry import presets, published_keys
from tests.http_side import call_body, running
from tests.tokens import JKU, SERVICE, a_client, bearer, encoded, key_set, public_jwk, signed
from tests.trusting import NOW, Clock, KeyServer, app_with, callers

ORDER_SIGN = Endpoint("/cramps-order-sign", "order-sign")
HOUR = 3600.0


class World:
    """Callers whose one client has its keys at JKU, and everything around them."""

    def __init__(self, folder: Path, **client: Any) -> None:
        self.clock = Clock()
        self.server = KeyServer(**{JKU: key_set()})
        self.callers = callers(folder, a_client(jwks=None, jku=JKU, **client), clock=self.clock, server=self.server)

    async def accepted(self, kid: str = "k1", **changes: Any) -> bool:
        """Whether a good token signed with the key `kid` is accepted now."""
        token = signed(SERVICE, kid=kid, now=self.clock.now(), **changes)
        try:
            await self.callers.identify([(b"authorization", f"Bearer {token}".encode())], ORDER_SIGN)
        except CallerRefusedError as error:
            if error.reason != "key":
                raise
            return False
        return True

    async def pass_time(self, seconds: float) -> None:
        """As much time, with what is done every second done every second (every 10 s in long times)."""
        step = 1.0 if seconds <= 120 else 10.0
        for _ in range(int(seconds / step)):
            self.clock.passed += step
            await self.callers.tick()
            await asyncio.sleep(0)
            await asyncio.sleep(0)


@asynccontextmanager
async def world(folder: Path, **client: Any) -> AsyncIterator[World]:
    made = World(folder, **client)
    await made.callers.start()
    yield made
    await made.callers.close()


# The cache


async def test_keys_are_there_before_the_first_call(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        assert one.server.asked == [JKU]
        assert await one.accepted()
        assert one.server.asked == [JKU]


async def test_without_a_start_the_first_call_fetches_them(tmp_path: Path) -> None:
    one = World(tmp_path)
    assert await one.accepted()
    assert one.server.asked == [JKU]
    await one.callers.close()


async def test_a_new_key_works_within_30_seconds_and_the_old_one_as_long_as_it_is_published(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.pass_time(1)
        one.server.sets[JKU] = key_set(public_jwk("k1"), public_jwk("k2"))
        waited = 0
        while not await one.accepted("k2"):
            await one.pass_time(1)
            waited += 1
        assert waited <= 30
        assert await one.accepted("k1")
        one.server.sets[JKU] = key_set(public_jwk("k2"))
        await one.pass_time(HOUR)
        assert not await one.accepted("k1")
        assert await one.accepted("k2")


async def test_a_thousand_unknown_kids_in_30_seconds_cost_one_fetch_and_known_keys_go_on(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.pass_time(60)
        before = len(one.server.asked)
        good = 0
        for number in range(1000):
            one.clock.passed += 0.0299
            made_up = signed(SERVICE, now=one.clock.now(), header={"kid": f"made-up-{number}"})
            with pytest.raises(CallerRefusedError):
                await one.callers.identify([(b"authorization", f"Bearer {made_up}".encode())], ORDER_SIGN)
            if number % 20 == 0:
                good += await one.accepted()
        assert good == 50
        assert len(one.server.asked) - before == 1


async def test_unknown_kids_at_once_wait_for_one_fetch(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.pass_time(60)
        one.server.sets[JKU] = key_set(public_jwk("k1"), public_jwk("k2"))
        assert all(await asyncio.gather(*(one.accepted("k2") for _ in range(50))))
        assert len(one.server.asked) == 2


async def test_a_key_server_that_is_down_for_an_hour_keeps_nobody_out(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        one.server.sets.clear()
        refused = 0
        for _ in range(120):
            await one.pass_time(60)
            refused += not await one.accepted()
        assert refused == 0
        assert one.callers.health() | {"keys_stale": 1, "keys_missing": 0} == one.callers.health()
        assert not await one.accepted("k2")
        one.server.sets[JKU] = key_set(public_jwk("k1"), public_jwk("k2"))
        await one.pass_time(60)
        assert await one.accepted("k2")
        assert one.callers.health()["keys_stale"] == 0


async def test_known_keys_work_for_a_day_without_an_answer_and_no_longer(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        one.server.sets.clear()
        await one.pass_time(24 * HOUR - 10)
        assert await one.accepted()
        await one.pass_time(20)
        assert not await one.accepted()
        assert one.callers.health()["keys_missing"] == 1


async def test_a_start_without_the_key_server_recovers_by_itself(tmp_path: Path) -> None:
    one = World(tmp_path)
    one.server.sets.clear()
    await one.callers.start()
    assert not await one.accepted()
    one.server.sets[JKU] = key_set()
    await one.pass_time(11)
    assert await one.accepted()
    await one.callers.close()


@pytest.mark.parametrize(
    ("max_age", "asked_after"),
    [(None, 2880), (86400.0, 2880), (3600.0, 2880), (600.0, 480), (60.0, 48), (5.0, 30), (0.0, 30)],
)
async def test_keys_are_fetched_again_before_they_are_too_old(tmp_path: Path, max_age: float | None, asked_after: int) -> None:
    """After 80 % of what Cache-Control allows, an hour at most; a server that forbids caching is asked every 30 seconds."""
    one = World(tmp_path)
    one.server.max_age = max_age
    await one.callers.start()
    one.clock.passed = asked_after - 1
    await one.callers.tick()
    await asyncio.sleep(0)
    assert len(one.server.asked) == 1
    one.clock.passed = asked_after
    await one.callers.tick()
    await asyncio.sleep(0)
    assert len(one.server.asked) == 2
    await one.callers.close()


async def test_a_refresh_keeps_nobody_waiting(tmp_path: Path) -> None:
    class Hanging(KeyServer):
        async def __call__(self, http: HttpClient, url: str, *, private: bool) -> Fetched:
            if self.asked:
                self.asked.append(url)
                await asyncio.Event().wait()
            return await super().__call__(http, url, private=private)

    clock, server = Clock(), Hanging(**{JKU: key_set()})
    known = callers(tmp_path, a_client(jwks=None, jku=JKU), clock=clock, server=server)
    await known.start()
    clock.passed = HOUR
    for _ in range(3):
        token = f"Bearer {signed(now=clock.now())}".encode()
        assert (await known.identify([(b"authorization", token)], ORDER_SIGN)).client == "ehr"
        await asyncio.sleep(0)  # a fetch may begin
    assert len(server.asked) == 2
    await known.close()


async def test_pinned_keys_are_never_fetched(tmp_path: Path) -> None:
    server = KeyServer(**{JKU: key_set(public_jwk("k2"))})
    known = callers(tmp_path, a_client(jku=JKU), server=server)
    await known.start()
    for kid, good in (("k1", True), ("k2", False)):
        try:
            await known.identify([(b"authorization", f"Bearer {signed(kid=kid, now=NOW)}".encode())], ORDER_SIGN)
            assert good
        except CallerRefusedError:
            assert not good
    assert server.asked == []
    await known.close()


@pytest.mark.parametrize(
    "answer", ["", "[]", "{}", '{"keys": 5}', '{"keys": []}', "<html>", '{"keys": [], "keys": []}', "\ud800"]
)
async def test_an_answer_that_is_no_key_set_leaves_the_known_keys(tmp_path: Path, answer: str) -> None:
    async with world(tmp_path) as one:
        one.server.sets[JKU] = answer.encode("utf-8", "replace").decode()
        await one.pass_time(2 * HOUR)
        assert len(one.server.asked) > 2
        assert await one.accepted()


# Key sets


@pytest.mark.parametrize(
    ("jwk", "problem"),
    [
        ({}, "has no `kid`"),
        (5, "has no `kid`"),
        (public_jwk() | {"kid": 5}, "has no `kid`"),
        ({"kid": "a", "kty": "oct", "k": "c2VjcmV0"}, "neither an EC nor an RSA key"),
        ({"kid": "a", "kty": "OKP", "crv": "Ed25519", "x": "AA"}, "neither an EC nor an RSA key"),
        (public_jwk(use="enc"), "not for signatures"),
        (public_jwk(key_ops=["sign"]), "not for signatures"),
        (public_jwk(key_ops=None), "not for signatures"),
        (public_jwk(key_ops=5), "not for signatures"),
        (public_jwk(use=["sig"]), "not for signatures"),
        (public_jwk(alg=["ES384"]), "an algorithm that is not accepted"),
        (public_jwk(alg={"is": "ES384"}), "an algorithm that is not accepted"),
        (public_jwk(alg=None), "an algorithm that is not accepted"),
        (public_jwk(crv=["P-384"]), "numbers that make no key"),
        ({"kid": "a", "kty": ["EC"]}, "neither an EC nor an RSA key"),
        (public_jwk(alg="RS384"), "an algorithm that is not accepted"),
        (public_jwk(alg="none"), "an algorithm that is not accepted"),
        (public_jwk(crv="secp256k1"), "a curve that is not accepted"),
        (public_jwk(crv="P-256"), "numbers that make no key"),
        (public_jwk(x="AA"), "numbers that make no key"),
        (public_jwk(y=public_jwk("k2")["y"]), "numbers that make no key"),
        (public_jwk(x=5), "numbers that make no key"),
        (public_jwk(algorithm="RS384", n="AA"), "has 0 bits"),
        (public_jwk(algorithm="RS384", e="AQ"), "numbers that make no key"),
        (public_jwk(algorithm="RS384", n=None), "numbers that make no key"),
        (public_jwk(algorithm="RS384", n=encoded(b"\xff" * 128).decode()), "has 1024 bits"),
        (public_jwk(algorithm="RS384", n="f" * 20_000), "numbers that make no key"),
    ],
)
def test_a_key_that_is_not_usable_is_left_out_and_said(jwk: Any, problem: str) -> None:
    found = read_key_set(json.dumps({"keys": [jwk, public_jwk("good")]}).encode())
    assert [key.kid for key in found.keys] == ["good"]
    assert problem in found.problems[0]
    assert found.problems[0].startswith("key 1 ")


async def test_the_log_says_why_a_key_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = World(tmp_path)
    one.server.sets[JKU] = key_set({}, public_jwk("old", use="enc"), public_jwk(), public_jwk())
    await one.callers.start()
    await one.callers.close()
    why = [line.partition(" why=")[2] for line in caplog.text.splitlines() if "key_unusable client=ehr" in line]
    assert why == [
        "key 1 has no `kid`",
        "key 2 is not for signatures (`use`, `key_ops`)",
        "key 4 has the `kid` of another: tokens that name it are refused",
    ]


def test_two_keys_with_one_kid_verify_nothing_unless_their_types_differ() -> None:
    same = read_key_set(key_set(public_jwk("a"), public_jwk("b") | {"kid": "a"}).encode())
    assert same.find("a", "ES384") is None
    assert "`kid` of another" in same.problems[0]
    other = read_key_set(key_set(public_jwk("a"), public_jwk("a", "RS384")).encode())
    assert (other.find("a", "ES384"), other.find("a", "RS384")) == (other.keys[0], other.keys[1])


def test_more_keys_than_anybody_has_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 50"):
        read_key_set(key_set(*[public_jwk()] * 51).encode())


async def test_production_refuses_the_published_key_wherever_it_comes_from(tmp_path: Path) -> None:
    server = KeyServer(**{JKU: presets()["sandbox"]["jwks"]})
    known = callers(tmp_path, a_client(jwks=None, jku=JKU), server=server, profile="production", public_url="https://cds.example")
    await known.start()
    assert known.health()["keys_missing"] == 1
    await known.close()
    assert len(published_keys()) == 1


# Fetching


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    http_client = HttpClient()
    yield http_client
    await http_client.aclose()


@respx.mock
async def test_what_is_fetched_and_for_how_long(http: HttpClient) -> None:
    for said, age in (
        *(("max-age=600", 600.0), ("public, max-age=60, must-revalidate", 60.0), ("Max-Age = 5", 5.0), ("s-maxage=9", None)),
        *(("no-store", 0.0), ("no-cache, max-age=600", 0.0), ("", None), ("max-age=x", None), ("max-age=-1", None)),
    ):
        respx.get(JKU).respond(200, text=key_set(), headers={"cache-control": said})
        assert await fetch_keys(http, JKU, private=False) == Fetched(key_set().encode(), age), said


@respx.mock
@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (httpx.Response(301, headers={"location": "https://attacker.example/jwks.json"}), "status"),
        (httpx.Response(302, headers={"location": JKU}), "status"),
        (httpx.Response(204), "status"),
        (httpx.Response(404), "status"),
        (httpx.Response(500), "status"),
        (httpx.Response(200, content=b" " * (MAX_BYTES + 1)), "too_long"),
        (httpcore2.ConnectError("no"), "not_reached"),
        (httpcore2.ReadError("ended"), "reset"),
        (httpcore2.RemoteProtocolError(h11.RemoteProtocolError("half")), "garbled"),
        (TimeoutError(), "timeout"),
    ],
)
async def test_anything_but_a_short_200_is_no_answer(http: HttpClient, reply: Any, why: str) -> None:
    route = respx.get(JKU)
    if isinstance(reply, httpx.Response):
        route.return_value = reply
    else:
        route.side_effect = reply
    with pytest.raises(FetchError, match=why):
        await fetch_keys(http, JKU, private=False)
    assert len(respx.calls) == 1  # no redirect is followed


@respx.mock
async def test_an_endless_answer_is_given_up_after_64_kib(http: HttpClient) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 4096
            yield b" " * 4096

    respx.get(JKU).respond(200, stream=endless())  # type: ignore[arg-type]
    with pytest.raises(FetchError, match="too_long"):
        await fetch_keys(http, JKU, private=False)
    assert taken <= MAX_BYTES + 2 * 4096


def test_outcomes_and_reasons_are_counted_under_closed_lists() -> None:
    for metric, label in ((AUTH_REFUSED, "reason"), (KEY_FETCHES, "outcome")):
        for family in metric.collect():
            assert all(set(sample.labels) == {label} for sample in family.samples)


# T4: a `jku` in a token leads nowhere


def jku_tricks(registered: str, sentinel: str) -> Iterator[str]:
    """2,000 and more URLs that look like the registered one, or lead to `sentinel` (host:port), or both."""
    scheme, _, rest = registered.partition("://")
    host, _, path = rest.partition("/")
    port = sentinel.rpartition(":")[2]
    hosts = [
        *(
            sentinel,
            f"{host}@{sentinel}",
            f"{host}:80@{sentinel}",
            f"{sentinel}#{host}",
            f"{sentinel}?{host}",
            f"{sentinel}\\@{host}",
        ),
        *(
            f"{sentinel}%2f{host}",
            f"{sentinel}\t",
            f" {sentinel}",
            f"{sentinel}.",
            f"[::ffff:127.0.0.1]:{port}",
            f"2130706433:{port}",
        ),
        *(f"0x7f.1:{port}", f"0177.0.0.1:{port}", f"127.1:{port}", f"0:{port}", f"localhost:{port}", f"LOCALHOST:{port}"),
        *(
            f"{host}.{sentinel}",
            f"{host}%00.{sentinel}",
            f"{host}%0d%0a.{sentinel}",
            f"{host}\uff0e{sentinel}",
            f"{host}/@{sentinel}",
        ),
        *(host, host.upper(), f"{host}.", f"{host}:443", f"{host}:0", f"{host}:65536", f"{host}%20", f"xn--{host}"),
    ]
    paths = [
        *(
            path,
            f"/{path}",
            f"./{path}",
            f"x/../{path}",
            f"%2e%2e/{path}",
            f"{path}/",
            f"{path}?",
            f"{path}?x=1",
            f"{path}#",
            f"{path}#x",
        ),
        *(
            f"{path}%00",
            f"{path};x",
            path.upper(),
            f"{path}%2f..",
            f"..%2f{path}",
            f"redirect?to=http://{sentinel}/",
            "",
            "%6awks.json",
        ),
    ]
    schemes = [
        scheme,
        scheme.upper(),
        "http" if scheme == "https" else "https",
        "file",
        "gopher",
        "ftp",
        "data",
        "javascript",
        "",
    ]
    for one, where, what in itertools.product(schemes, hosts, paths):
        trick = f"{one}:{'//' if one != 'data' else ''}{where}/{what}" if one else f"//{where}/{what}"
        if trick != registered:
            yield trick


def test_there_are_enough_tricks() -> None:
    assert len(set(jku_tricks(JKU, "127.0.0.1:9"))) >= 2000


@pytest.mark.loopback
@pytest.mark.usefixtures("socket_enabled")
async def test_2000_hostile_jkus_lead_to_no_connection(tmp_path: Path) -> None:
    """A sentinel and the registered key server listen; tokens name the sentinel in 2,000 ways. The real client fetches."""
    connections = {"sentinel": 0, "registered": 0}

    async def sentinel(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections["sentinel"] += 1
        writer.close()

    async def key_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections["registered"] += 1
        await reader.readuntil(b"\r\n\r\n")
        body = key_set().encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    async with (
        await asyncio.start_server(sentinel, "127.0.0.1", 0) as trap,
        await asyncio.start_server(key_server, "127.0.0.1", 0) as keys,
    ):
        trap_port, port = (one.sockets[0].getsockname()[1] for one in (trap, keys))
        jku = f"http://127.0.0.1:{port}/jwks.json"
        clock = Clock()
        known = callers(tmp_path, a_client(jwks=None, jku=jku, jku_private=True), clock=clock, server=fetch_keys)
        statuses: dict[int, int] = {}
        async with running(app_with(tmp_path, known)) as client:
            for number, trick in enumerate(jku_tricks(jku, f"127.0.0.1:{trap_port}")):
                if number == 2000:
                    break
                headers = bearer(now=NOW, header={"jku": trick, "kid": "k1" if number % 2 else f"new-{number}"})
                answer = await client.post("/cds-services/cramps-order-sign", json=call_body("order-sign"), headers=headers)
                statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            good = bearer(now=NOW, header={"jku": jku})
            assert (await client.post("/cds-services/cramps-order-sign", json=call_body("order-sign"), headers=good)).is_success
    assert statuses == {401: 2000}
    assert connections == {"sentinel": 0, "registered": 1}
