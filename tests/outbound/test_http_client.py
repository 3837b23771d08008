"""The way out: which addresses, which connections, how much. With real sockets where only a socket can tell."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest

from cds_service.outbound.checked_network import Fault, RequestError, is_public
from cds_service.outbound.http_client import HttpClient, Response
from tests.sockets import Names, Talk, certificates, http, loopback, saying

LIMIT = 100_000


@pytest.mark.parametrize("address", ["8.8.8.8", "192.0.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.1", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.255", "169.254.169.254", "172.16.0.1", "172.31.255.255"),
        *("192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
        *("240.0.0.1", "255.255.255.255", "::1", "::7f00:1", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "64:ff9b::7f00:1"),
        *("64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "5f00::1", "fc00::1", "fd12::1"),
        *("fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2606:4700::1%1", "", "localhost", "0x7f.1", "2130706433"),
    ],
)
def test_all_others_are_not(address: str) -> None:
    assert not is_public(address)


async def asked(http_client: HttpClient, url: str, private: bool = True, limit: int = LIMIT) -> Response | Fault:
    try:
        async with asyncio.timeout(5):
            return await http_client.get(httpx2.URL(url), [(b"Authorization", b"Bearer T")], private=private, limit=limit)
    except RequestError as error:
        return error.fault


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::ffff:8.8.8.8"], ["169.254.169.254"], ["fe80::1%eth0"], ["no address"]],
)
async def test_a_name_with_an_address_that_is_not_public_is_not_connected_to(addresses: list[str]) -> None:
    names = Names(ehr_example=[addresses])
    http_client = HttpClient(names)  # sockets are off in this test: connecting would raise
    assert await asked(http_client, "https://ehr.example/x", private=False) is Fault.NOT_PUBLIC
    assert names.asked == ["ehr.example"]


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "http://[::1]/x", "http://169.254.169.254/latest"])
async def test_an_address_in_place_of_a_name_is_looked_at_too(url: str) -> None:
    assert await asked(HttpClient(Names()), url, private=False) is Fault.NOT_PUBLIC


async def test_a_name_without_an_address_is_a_fault() -> None:
    async def no_name(_: str, __: int) -> list[str]:
        raise OSError

    assert await asked(HttpClient(Names(ehr_example=[[]])), "https://ehr.example/x") is Fault.NOT_RESOLVED
    assert await asked(HttpClient(no_name), "https://ehr.example/x") is Fault.NOT_RESOLVED


@pytest.mark.loopback
@pytest.mark.enable_socket
async def test_a_name_is_resolved_once_and_connected_to_where_it_pointed_then() -> None:
    names = Names(ehr_example=[["127.0.0.1"], ["127.9.9.9"]])
    async with loopback(saying(http(b"{}"), close=False)) as server:
        http_client = HttpClient(names)
        for _ in range(3):  # over one connection
            assert await asked(http_client, f"http://ehr.example:{server.port}/x") == Response(
                200, {"content-length": "2", "content-type": "application/fhir+json"}, b"{}"
            )
        await http_client.aclose()
    assert (names.asked, server.connections) == (["ehr.example"], 1)
    assert f"Host: ehr.example:{server.port}\r\n".encode() in server.received[0]
    assert b"Accept-Encoding: identity\r\n" in server.received[0]


@pytest.mark.loopback
@pytest.mark.enable_socket
async def test_a_connection_to_a_private_place_serves_no_public_one() -> None:
    async with loopback(saying(http(b"{}"), close=False)) as server:
        http_client = HttpClient(Names(ehr_example=[["127.0.0.1"]]))
        assert isinstance(await asked(http_client, f"http://ehr.example:{server.port}/x"), Response)
        assert await asked(http_client, f"http://ehr.example:{server.port}/x", private=False) is Fault.NOT_PUBLIC
        await http_client.aclose()
    assert len(server.received) == 1


@pytest.mark.loopback
@pytest.mark.enable_socket
async def test_of_several_addresses_the_next_is_tried() -> None:
    async with loopback(saying(http(b"{}"))) as server:
        http_client = HttpClient(Names(ehr_example=[["127.0.0.2", "127.0.0.3", "127.0.0.1"]]))
        assert isinstance(await asked(http_client, f"http://ehr.example:{server.port}/x"), Response)
        await http_client.aclose()


@pytest.mark.loopback
@pytest.mark.enable_socket
async def test_tls_is_for_the_name_and_not_for_the_address(tmp_path: Path) -> None:
    serving, trusting = certificates(tmp_path, "ehr.example")
    names = Names(ehr_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])
    async with loopback(saying(http(b"{}")), serving) as server:
        http_client = HttpClient(names, trusting)
        assert isinstance(await asked(http_client, f"https://ehr.example:{server.port}/x"), Response)
        assert server.server_names == ["ehr.example"]
        assert await asked(http_client, f"https://other.example:{server.port}/x") is Fault.TLS
        # An authority that this machine does not trust:
        assert await asked(HttpClient(names), f"https://ehr.example:{server.port}/x") is Fault.TLS
        await http_client.aclose()
    assert len(server.received) == 1


@pytest.mark.loopback
@pytest.mark.enable_socket
async def test_a_server_that_speaks_no_tls_is_a_fault() -> None:
    def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"{}"))
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await asked(HttpClient(Names()), f"https://127.0.0.1:{port}/x") is Fault.TLS


@pytest.mark.loopback
@pytest.mark.enable_socket
@pytest.mark.parametrize(("said", "fault"), [(b"", Fault.TLS), (b"HTTP/1.1 200 OK\r\n\r\n{", Fault.INCOMPLETE)])
async def test_tls_that_breaks_after_the_handshake_is_a_fault(tmp_path: Path, said: bytes, fault: Fault) -> None:
    serving, trusting = certificates(tmp_path, "ehr.example")

    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        plain = writer.transport
        await writer.start_tls(serving)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        plain.write(b"\x17\x03\x03\x00\x20" + b"x" * 32)  # a record that nobody enciphered
        plain.close()

    async with await asyncio.start_server(broken, "127.0.0.1", 0) as server:
        http_client = HttpClient(Names(ehr_example=[["127.0.0.1"]]), trusting)
        assert await asked(http_client, f"https://ehr.example:{server.sockets[0].getsockname()[1]}/x") is fault
        await http_client.aclose()


async def _hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _headers_without_end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-more: " + b"x" * 10_000 + b"\r\n")
        await writer.drain()


async def _body_without_end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b" " * 10_000)
        await writer.drain()


SOCKET_FAULTS: dict[str, tuple[Talk, Fault]] = {
    "hangs up": (_hang_up, Fault.RESET),
    "resets": (_reset, Fault.RESET),
    "garbage": (saying(b"garbage\r\n\r\n"), Fault.GARBLED),
    "half a head": (saying(b"HTTP/1.1 200 OK\r\ncontent-"), Fault.RESET),
    "two lengths": (saying(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}"), Fault.GARBLED),
    "head without end": (_headers_without_end, Fault.GARBLED),
    "half a body": (saying(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"), Fault.INCOMPLETE),
    "half a chunk": (saying(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{"), Fault.INCOMPLETE),
    "no chunk": (saying(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{"), Fault.INCOMPLETE),
    "too long by its own word": (saying(b"HTTP/1.1 200 OK\r\ncontent-length: 100001\r\n\r\n{"), Fault.TOO_LONG),
    "body without end": (_body_without_end, Fault.TOO_LONG),
    "compressed": (saying(http(b"{}", "content-encoding: gzip")), Fault.ENCODED),
}


@pytest.mark.loopback
@pytest.mark.enable_socket
@pytest.mark.parametrize("name", SOCKET_FAULTS)
async def test_what_is_wrong_with_an_answer_has_a_name(name: str) -> None:
    talk, fault = SOCKET_FAULTS[name]
    async with loopback(talk) as server:
        http_client = HttpClient(Names(ehr_example=[["127.0.0.1"]]))
        assert await asked(http_client, f"http://ehr.example:{server.port}/x") is fault
        await http_client.aclose()


@pytest.mark.loopback
@pytest.mark.enable_socket
async def test_a_redirect_is_an_answer_and_its_body_is_not_read() -> None:
    async with loopback(saying(http(b"x", "location: http://127.0.0.1/other", status="302 Found"))) as server:
        http_client = HttpClient(Names(ehr_example=[["127.0.0.1"]]))
        reply = await asked(http_client, f"http://ehr.example:{server.port}/x")
        await http_client.aclose()
    assert isinstance(reply, Response)
    assert (reply.status, reply.body, len(server.received)) == (302, b"", 1)


@pytest.mark.loopback
@pytest.mark.enable_socket
async def test_a_place_where_nobody_listens_is_not_reached() -> None:
    async with loopback(saying(b"")) as server:
        port = server.port
    assert await asked(HttpClient(Names()), f"http://127.0.0.1:{port}/x") is Fault.NOT_REACHED


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://proxy.example:1")
    names = Names(ehr_example=[["127.0.0.1"]])
    assert await asked(HttpClient(names), "http://ehr.example/x", private=False) is Fault.NOT_PUBLIC
    assert names.asked == ["ehr.example"]


CANCELLED: dict[str, Talk] = {
    "read to its end": saying(http(b"{}"), close=False),
    "not read": saying(http(b"x" * 200, status="302 Found"), close=False),
    "too long": _body_without_end,
}


@pytest.mark.loopback
@pytest.mark.enable_socket
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("talk", CANCELLED)
async def test_a_request_that_is_cancelled_at_whatever_moment_leaves_no_connection(
    tmp_path: Path, secure: bool, talk: str
) -> None:
    serving, trusting = certificates(tmp_path, "ehr.example")
    async with loopback(CANCELLED[talk], serving if secure else None) as server:
        http_client = HttpClient(Names(ehr_example=[["127.0.0.1"]]), trusting)
        url = f"{'https' if secure else 'http'}://ehr.example:{server.port}/x"
        finished = 0
        for steps in range(80):
            await http_client.aclose()  # so that each question makes a connection
            question = asyncio.create_task(asked(http_client, url))
            for _ in range(steps):
                await asyncio.sleep(0)
            finished += question.done()
            question.cancel()
            await asyncio.wait((question,))
            assert all(one.http.is_idle() for idle in http_client._idle.values() for one in idle)
        last = await asked(http_client, url)
        assert isinstance(last, Response) or (talk, last) == ("too long", Fault.TOO_LONG)
        await http_client.aclose()
        async with asyncio.timeout(2):
            while server.open:  # noqa: ASYNC110 (the server has yet to see that the connections were closed)
                await asyncio.sleep(0.01)
    assert 0 < finished < 80
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.loopback
@pytest.mark.enable_socket
async def test_expired_connections_are_closed_even_where_that_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cds_service.outbound.http_client._IDLE_SECONDS", 0)
    for steps in range(8):
        async with loopback(saying(http(b"{}"), close=False)) as server:
            http_client = HttpClient(Names(ehr_example=[["127.0.0.1"]]))
            url = f"http://ehr.example:{server.port}/x"
            await asyncio.gather(*(asked(http_client, url) for _ in range(4)))
            question = asyncio.create_task(asked(http_client, url))
            for _ in range(steps):
                await asyncio.sleep(0)
            question.cancel()
            await asyncio.wait((question,))
            await http_client.aclose()
            async with asyncio.timeout(2):
                while server.open:  # noqa: ASYNC110 (the server has yet to see that the connections were closed)
                    await asyncio.sleep(0.01)


@pytest.mark.loopback
@pytest.mark.enable_socket
async def test_idle_connections_are_bounded() -> None:
    async with loopback(saying(http(b"{}"), close=False)) as server:
        http_client = HttpClient(lambda _, __: _local())
        for number in range(70):
            assert isinstance(await asked(http_client, f"http://ehr-{number}.example:{server.port}/x"), Response)
        assert sum(map(len, http_client._idle.values())) == 64
        await http_client.aclose()
        assert http_client._idle == {}


async def _local() -> list[str]:
    return ["127.0.0.1"]


def test_what_is_remembered_of_servers_is_bounded() -> None:
    http_client = HttpClient()
    first = http_client.server("http://0")
    for number in range(300):
        assert http_client.server("http://0") is first
        http_client.server(f"http://{number}")
    assert len(http_client._servers) == 256
    assert http_client.server("http://1") is not http_client.server("http://299")
