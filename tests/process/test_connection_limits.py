"""Half-sent and oversized requests, on a real server that listens on a Unix socket."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from cds_service.evaluate import Evaluation
from cds_service.hooks import body
from cds_service.process import connection_limits
from cds_service.process.connection_limits import MAX_HEAD_BYTES, MAX_HEADERS, LimitedConnection
from cds_service.telemetry import metrics
from tests.core import an_evaluation
from tests.http_side import Stub, call_body, encoded, new_test_app
from tests.tokens import bearer
from tests.trusting import NOW, app_with, callers

PATH = b"/cds-services/cramps-order-sign"
CALL = encoded(call_body("order-sign"))
SOON = 30.0  # seconds, for what a busy machine may take
SHORT = 0.1  # seconds, of a limit that is to run out


@pytest.fixture(autouse=True)
def _long_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No limit runs out unless a test asks for it, so that no stall of the machine closes a connection that is to be served."""
    shorten(monkeypatch, SOON)


def shorten(monkeypatch: pytest.MonkeyPatch, seconds: float = SHORT) -> None:
    """Set the limits of heads and bodies that begin from here on."""
    monkeypatch.setattr(connection_limits, "HEAD_SECONDS", seconds)
    monkeypatch.setattr(body, "BODY_SECONDS", seconds)


@asynccontextmanager
async def serving(app: FastAPI, folder: Path) -> AsyncIterator[str]:
    """The path of the Unix socket of a server."""
    path = str(folder / "s")
    server = uvicorn.Server(uvicorn.Config(app, uds=path, http=LimitedConnection, log_config=None))
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 (uvicorn tells nobody)
        await asyncio.sleep(0.01)
    yield path
    server.should_exit = True
    await task


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    async with serving(new_test_app(tmp_path, Stub(), max_body_bytes=1024 * 1024)[0], tmp_path) as path:
        yield path


def head(length: int, *more: bytes, path: bytes = PATH) -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"host: cds.example", b"content-length: %d" % length, *more]
    return b"\r\n".join(lines) + b"\r\n\r\n"


WHOLE = head(len(CALL)) + CALL


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of one answer."""
    top = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON)
    length = next(int(line.split(b":")[1]) for line in top.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return int(top.split()[1]), await reader.readexactly(length)


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes the connection."""
    try:
        return await asyncio.wait_for(reader.read(), SOON)
    except ConnectionError:  # it closed while more was being sent
        return b""


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def dripping(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """Sends `piece` again and again, a little at a time, for as long as somebody listens."""
    while not writer.is_closing():
        writer.write(piece)
        try:
            await writer.drain()
        except OSError:
            return
        await asyncio.sleep(0.02)


async def used(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection over which a call was answered: what is sent next in one piece is read in one, before its limits begin."""
    reader, writer = await asyncio.open_unix_connection(address)
    writer.write(WHOLE)
    assert (await answer_of(reader))[0] == 200
    return reader, writer


async def test_requests_on_one_connection_are_answered(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = await used(address)
    shorten(monkeypatch)
    for _ in range(3):
        await asyncio.sleep(2 * SHORT)  # longer than the head of one request may take
        writer.write(WHOLE)
        assert (await answer_of(reader))[0] == 200
    await closed(writer)


@pytest.mark.parametrize("connection", [b"Upgrade, HTTP2-Settings", b"upgrade", b"keep-alive, Upgrade"])
@pytest.mark.parametrize("cut", [0, 30, len(head(len(CALL))) + 60, len(WHOLE) + 50])
async def test_an_offer_of_another_protocol_is_left_alone(address: str, connection: bytes, cut: int) -> None:
    """As Java's HttpClient sends it, with the body behind the head; however the bytes are cut."""
    offer = (b"Connection: " + connection, b"Upgrade: h2c", b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA")
    request = head(len(CALL), *offer) + CALL
    reader, writer = await asyncio.open_unix_connection(address)
    for _ in range(2):  # the connection goes on
        writer.write(request[:cut])
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(request[cut:])
        assert await answer_of(reader) == (200, b'{"cards":[]}')
    chunked = request.replace(b"content-length: %d" % len(CALL), b"transfer-encoding: chunked")[: -len(CALL)]
    writer.write(chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(CALL), CALL) + WHOLE)
    assert (await answer_of(reader))[0] == (await answer_of(reader))[0] == 200
    await closed(writer)


async def test_offers_of_another_protocol_without_a_body_are_answered_in_their_order(address: str) -> None:
    reader, writer = await asyncio.open_unix_connection(address)
    offer = b"GET /cds-services HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    writer.write(offer * 2000 + head(len(CALL), b"connection: upgrade, close", b"upgrade: h2c") + CALL)
    answers = await rest_of(reader)
    assert answers.count(b"HTTP/1.1 200") == 2001
    assert answers.endswith(b'{"cards":[]}')
    await closed(writer)


UNFINISHED = {"half a line": b"POST", "headers": head(10)[:-2], "all but a byte": head(10)[:-1]}


@pytest.mark.parametrize("sent", [b"", b"\r\n", *UNFINISHED.values()], ids=["nothing", "an empty line", *UNFINISHED])
async def test_a_head_that_is_not_finished_in_time_is_closed(address: str, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    reader, writer = await asyncio.open_unix_connection(address)
    writer.write(sent)
    assert await rest_of(reader) == b""
    await closed(writer)


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED)  # with nothing, a connection may be idle for longer
async def test_a_second_head_that_is_not_finished_in_time_is_closed(
    address: str, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = await used(address)
    shorten(monkeypatch)
    writer.write(sent)
    assert await rest_of(reader) == b""
    await closed(writer)


async def test_headers_that_never_end_are_closed_however_often_something_comes(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch)
    reader, writer = await asyncio.open_unix_connection(address)
    writer.write(head(10)[:-2])
    sending = asyncio.create_task(dripping(writer, b"x: y\r\n"))
    assert await rest_of(reader) == b""
    await closed(writer)
    await sending


@pytest.mark.parametrize("sent", [b"", b"{", CALL[:-1]])
async def test_a_body_that_is_not_finished_in_time_is_answered_and_closed(
    address: str, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = await used(address)
    shorten(monkeypatch)
    writer.write(head(len(CALL)) + sent)
    rest = await rest_of(reader)
    assert rest.startswith(b"HTTP/1.1 408 ")
    assert b"The body did not arrive within" in rest
    await closed(writer)


async def test_a_slow_body_that_was_refused_before_it_was_read_is_closed_too(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = await used(address)
    shorten(monkeypatch)
    writer.write(head(100_000, path=b"/cds-services/unknown"))
    assert (await answer_of(reader))[0] == 404
    sending = asyncio.create_task(dripping(writer, b" "))
    assert await rest_of(reader) == b""
    await closed(writer)
    await sending


async def test_a_body_that_was_refused_before_it_was_read_may_end_and_the_next_request_is_answered(address: str) -> None:
    reader, writer = await asyncio.open_unix_connection(address)
    writer.write(head(300_000, path=b"/cds-services/unknown") + b" " * 300_000 + WHOLE)
    assert [(await answer_of(reader))[0] for _ in range(2)] == [404, 200]
    await closed(writer)


@pytest.mark.parametrize("extra", [b"content-length: 5000000", b"transfer-encoding: chunked"])
async def test_who_sends_too_much_and_listens_only_then_gets_the_answer(address: str, extra: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(address)
    body = b" " * 5_000_000
    writer.write(head(0).replace(b"content-length: 0", extra))
    writer.write(body if b"length" in extra else b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
    await writer.drain()
    assert (await answer_of(reader))[0] == 413
    writer.write(WHOLE)
    assert (await answer_of(reader))[0] == 200
    await closed(writer)


async def test_who_never_stops_sending_too_much_is_closed(address: str) -> None:
    reader, writer = await asyncio.open_unix_connection(address)
    writer.write(head(10**9))
    sending = asyncio.create_task(dripping(writer, b" " * 2_000_000))
    await rest_of(reader)
    await closed(writer)
    await sending


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"x" * 2 * MAX_HEAD_BYTES,
        head(0)[:-2] + b"x: " + b"y" * 2 * MAX_HEAD_BYTES,
        head(0)[:-2] + b"x: y\r\n" * MAX_HEAD_BYTES,
        head(0, *[b"x%d: y" % number for number in range(MAX_HEADERS)]),
    ],
    ids=["address", "header", "headers", "number of headers"],
)
async def test_a_head_that_is_too_large_is_refused(address: str, sent: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(address)
    writer.write(sent[:3])
    await asyncio.sleep(2 * SHORT)  # the bytes that came with the first of a request are not counted
    writer.write(sent[3:])
    rest = await rest_of(reader)
    assert rest.startswith(b"HTTP/1.1 431 ") or not rest, "closed; who still sends may not see the answer"
    await closed(writer)


async def test_a_refused_head_is_answered(address: str) -> None:
    reader, writer = await asyncio.open_unix_connection(address)
    writer.write(head(0, *[b"x%d: y" % number for number in range(MAX_HEADERS)]))
    rest = await rest_of(reader)
    assert rest.startswith(b"HTTP/1.1 431 ")
    assert rest.count(b"HTTP/1.1") == 1
    await closed(writer)


async def test_trailers_without_end_are_closed(address: str) -> None:
    reader, writer = await asyncio.open_unix_connection(address)
    writer.write(head(0).replace(b"content-length: 0", b"transfer-encoding: chunked") + b"1\r\n{\r\n0\r\n")
    sending = asyncio.create_task(dripping(writer, b"x: " + b"y" * 10_000 + b"\r\n"))
    assert (await rest_of(reader)).count(b"HTTP/1.1 200") == 0
    await closed(writer)
    await sending


async def test_trailers_are_no_headers(tmp_path: Path) -> None:
    token = bearer(now=NOW)["authorization"].encode()
    chunked = b"%x\r\n%b\r\n0\r\n" % (len(CALL), CALL)
    async with serving(app_with(tmp_path, callers(tmp_path)), tmp_path) as path:
        for first, trailer, status in (
            (b"x: y", b"authorization: " + token, 401),
            (b"authorization: " + token, b"content-encoding: gzip", 200),
        ):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(head(0, first).replace(b"content-length: 0", b"transfer-encoding: chunked") + chunked)
            writer.write(trailer + b"\r\n\r\n")
            assert (await answer_of(reader))[0] == status
            await closed(writer)


async def test_others_are_served_while_some_send_halves(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = await used(address)
    shorten(monkeypatch)
    half = [await asyncio.open_unix_connection(address) for _ in range(50)]
    for number, (_, sending) in enumerate(half):
        sending.write(head(10)[:20] if number % 2 else head(len(CALL)) + CALL[:5])
    writer.write(WHOLE)
    assert (await answer_of(reader))[0] == 200
    rests = await asyncio.gather(*(rest_of(one) for one, _ in half))
    assert {rest[:12] for rest in rests} <= {b"", b"HTTP/1.1 408"}
    for _, one in (*half, (reader, writer)):
        await closed(one)


async def test_calls_beyond_the_limit_are_turned_away_at_once_and_the_rest_of_the_service_answers(tmp_path: Path) -> None:
    go_on, started = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(*_: object) -> Evaluation:
        started.release()
        await go_on.wait()
        return an_evaluation()

    app, _ = new_test_app(tmp_path, slow, max_calls=3)
    async with serving(app, tmp_path) as address:
        streams = [await asyncio.open_unix_connection(address) for _ in range(5)]
        for _, writer in streams[:3]:
            writer.write(WHOLE)
            await started.acquire()
        for reader, writer in streams[3:]:
            writer.write(WHOLE)
            top = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON)).lower()
            assert top.startswith(b"http/1.1 503 ")
            assert b"\r\nretry-after: 1\r\n" in top
            assert b'"throttled"' in await reader.readuntil(b"}]}")
        reader, writer = streams[4]
        writer.write(b"GET /cds-services HTTP/1.1\r\nhost: x\r\n\r\nGET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert [(await answer_of(reader))[0] for _ in range(2)] == [200, 200]
        go_on.set()
        assert [(await answer_of(reader))[0] for reader, _ in streams[:3]] == [200] * 3
        writer.write(WHOLE)
        assert (await answer_of(reader))[0] == 200, "there is room again"
        for _, writer in streams:
            await closed(writer)


# Host


@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [
        (b"1.1", [], 400),
        (b"1.1", [b"host: cds.example", b"Host: cds.example"], 400),
        (b"1.0", [b"host: cds.example", b"host: other.example"], 400),
        (b"1.0", [], 200),  # allowed by RFC 9112; health checks of proxies send it
        (b"1.1", [b"host:"], 200),
    ],
)
async def test_a_request_has_one_host(address: str, version: bytes, hosts: list[bytes], status: int) -> None:
    reader, writer = await asyncio.open_unix_connection(address)
    writer.write(b"\r\n".join([b"GET /health/live HTTP/" + version, *hosts, b"connection: close", b"", b""]))
    assert (await asyncio.wait_for(reader.read(), SOON))[9:12] == b"%d" % status
    await closed(writer)


# Connections


async def test_connections_beyond_a_share_of_the_open_files_are_refused(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection_limits, "most_connections", lambda: 3)
    before = metrics.counts(metrics.SHED).get("connections", 0)
    streams = [await asyncio.open_unix_connection(address) for _ in range(5)]
    for reader, _ in streams[3:]:
        answer = (await asyncio.wait_for(reader.read(), SOON)).lower()
        assert answer.startswith(b"http/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in answer
    assert metrics.counts(metrics.SHED)["connections"] == before + 2
    assert caplog.text.count("connection_refused status=503 why=too many connections") == 2
    reader, writer = streams[0]
    writer.write(WHOLE)
    assert (await answer_of(reader))[0] == 200
    for _, writer in streams:
        await closed(writer)
    reader, writer = await asyncio.open_unix_connection(address)
    writer.write(WHOLE)
    assert (await answer_of(reader))[0] == 200, "there is room again"
    await closed(writer)


def test_the_share_leaves_files_for_the_log_and_the_fhir_servers() -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert files == resource.RLIM_INFINITY or 0 < connection_limits.most_connections() < files
